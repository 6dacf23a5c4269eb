"""Meta-reinforcement learning: train on families of tasks, measure adaptation to unseen ones."""

import importlib
from typing import TYPE_CHECKING, Any

from metarl import seeding
from metarl.agent import AdaptivePolicy, Agent, PrivilegedPolicy
from metarl.gym_tasks import from_gym
from metarl.registry import make, register_gymnasium
from metarl.tasks import OptimalReturn, TaskDistribution, Tasks
from metarl.vector import TaskVectorEnv

if TYPE_CHECKING:
    from metarl.evaluation import Evaluation, evaluate
    from metarl.runs import load

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

LATER = {"evaluate": "metarl.evaluation", "Evaluation": "metarl.evaluation", "load": "metarl.runs"}

register_gymnasium()


def __getattr__(name: str) -> Any:
    """Some names on first use: the statistics behind them are half of what takes time to import."""
    if name in LATER:
        return getattr(importlib.import_module(LATER[name]), name)
    raise AttributeError(f"module 'metarl' has no attribute {name!r}")
