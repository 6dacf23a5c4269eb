"""Meta-reinforcement learning: train on families of tasks, measure adaptation to unseen ones."""

from metarl import seeding
from metarl.registry import make, register_gymnasium
from metarl.tasks import OptimalReturn, TaskDistribution, Tasks
from metarl.vector import TaskVectorEnv

__all__ = ["OptimalReturn", "TaskDistribution", "TaskVectorEnv", "Tasks", "make", "seeding"]

register_gymnasium()
