"""Meta-reinforcement learning: train on families of tasks, measure adaptation to unseen ones."""

from metarl import seeding
from metarl.agent import AdaptivePolicy, Agent, PrivilegedPolicy, load
from metarl.evaluation import Evaluation, evaluate
from metarl.registry import make, register_gymnasium
from metarl.tasks import OptimalReturn, TaskDistribution, Tasks
from metarl.vector import TaskVectorEnv

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
    "load",
    "make",
    "seeding",
]

register_gymnasium()
