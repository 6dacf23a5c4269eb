"""Meta-reinforcement learning: train on families of tasks, measure adaptation to unseen ones."""

import importlib
from typing import TYPE_CHECKING, Any

from metarl import seeding
from metarl.engines.gym_tasks import from_gym
from metarl.registry import make, register_gymnasium
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import OptimalReturn, TaskDistribution, TaskVectorEnv
from metarl.tasks.policies import AdaptivePolicy, PrivilegedPolicy
from metarl.training.agent import Agent

if TYPE_CHECKING:
    from metarl.evaluation.evaluator import evaluate
    from metarl.evaluation.results import Evaluation
    from metarl.runs.folder import load

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

LATER = {
    "evaluate": "metarl.evaluation.evaluator",
    "Evaluation": "metarl.evaluation.results",
    "load": "metarl.runs.folder",
}

register_gymnasium()


def __getattr__(name: str) -> Any:
    """Some names on first use: the statistics behind them are half of what takes time to import."""
    if name in LATER:
        return getattr(importlib.import_module(LATER[name]), name)
    raise AttributeError(f"module 'metarl' has no attribute {name!r}")
