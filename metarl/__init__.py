"""Meta-reinforcement learning: train on families of tasks, measure adaptation to unseen ones."""

import importlib
from typing import TYPE_CHECKING, Any

from metarl import seeding
from metarl.agent import AdaptivePolicy, Agent, PrivilegedPolicy, load
from metarl.gym_tasks import from_gym
from metarl.registry import make, register_gymnasium
from metarl.tasks import OptimalReturn, TaskDistribution, Tasks
from metarl.vector import TaskVectorEnv

if TYPE_CHECKING:
    from metarl.evaluation import Evaluation, evaluate

__all__ = [
    "AdaptivePolicy",
    "Agent",
    "Evaluation",
    "OptimalReturn",
    "PrivilegedPolicy",
    "TaskDistribution",
    "TaskVectorEnv",
    "Tasks",
    "evaluate",
    "from_gym",
    "load",
    "make",
    "seeding",
]

register_gymnasium()


def __getattr__(name: str) -> Any:
    """`evaluate` and `Evaluation` on first use: their statistics are half of what takes time to import."""
    if name in ("evaluate", "Evaluation"):
        return getattr(importlib.import_module("metarl.evaluation"), name)
    raise AttributeError(f"module 'metarl' has no attribute {name!r}")
