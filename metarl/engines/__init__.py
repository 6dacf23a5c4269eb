"""How families of tasks are stepped: bases and adapters for families of one's own."""

from typing import TYPE_CHECKING

from metarl.imports import hand_on

if TYPE_CHECKING:
    from metarl.engines.changing_tasks import ChangingTasks
    from metarl.engines.gym_tasks import GymTasks, from_gym
    from metarl.engines.mujoco_tasks import MujocoTasks
    from metarl.engines.native import NativeDistribution
    from metarl.engines.seeded_levels import SeededLevels
    from metarl.engines.vector_tasks import VectorTasks

__all__ = [
    "ChangingTasks",
    "GymTasks",
    "MujocoTasks",
    "NativeDistribution",
    "SeededLevels",
    "VectorTasks",
    "from_gym",
]

__getattr__, __dir__ = hand_on(
    __name__,
    {
        "ChangingTasks": "metarl.engines.changing_tasks",
        "GymTasks": "metarl.engines.gym_tasks",
        "MujocoTasks": "metarl.engines.mujoco_tasks",
        "NativeDistribution": "metarl.engines.native",
        "SeededLevels": "metarl.engines.seeded_levels",
        "VectorTasks": "metarl.engines.vector_tasks",
        "from_gym": "metarl.engines.gym_tasks",
    },
)
