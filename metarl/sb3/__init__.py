"""Stable-Baselines3 on the tasks of a distribution: its vector environments."""

from typing import TYPE_CHECKING

from metarl.imports import hand_on

if TYPE_CHECKING:
    from metarl.sb3.spaces import SB3Spaces
    from metarl.sb3.task_vec_env import TaskVecEnv
    from metarl.sb3.trial_vec_env import TrialVecEnv

__all__ = ["SB3Spaces", "TaskVecEnv", "TrialVecEnv"]

__getattr__, __dir__ = hand_on(
    __name__,
    {
        "SB3Spaces": "metarl.sb3.spaces",
        "TaskVecEnv": "metarl.sb3.task_vec_env",
        "TrialVecEnv": "metarl.sb3.trial_vec_env",
    },
)
