"""What a task is, and the contract of those who act in it."""

from typing import TYPE_CHECKING

from metarl.imports import hand_on

if TYPE_CHECKING:
    from metarl.tasks.batch import Tasks
    from metarl.tasks.distribution import OptimalReturn, TaskDistribution, TaskVectorEnv
    from metarl.tasks.policies import AdaptivePolicy, PrivilegedPolicy, Transition
    from metarl.tasks.prior_tasks import PriorTasks

__all__ = [
    "AdaptivePolicy",
    "OptimalReturn",
    "PriorTasks",
    "PrivilegedPolicy",
    "TaskDistribution",
    "TaskVectorEnv",
    "Tasks",
    "Transition",
]

__getattr__, __dir__ = hand_on(
    __name__,
    {
        "AdaptivePolicy": "metarl.tasks.policies",
        "OptimalReturn": "metarl.tasks.distribution",
        "PriorTasks": "metarl.tasks.prior_tasks",
        "PrivilegedPolicy": "metarl.tasks.policies",
        "TaskDistribution": "metarl.tasks.distribution",
        "TaskVectorEnv": "metarl.tasks.distribution",
        "Tasks": "metarl.tasks.batch",
        "Transition": "metarl.tasks.policies",
    },
)
