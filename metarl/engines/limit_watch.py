"""Notices a time limit inside an environment that is far shorter than the horizon of its family."""

import warnings
from typing import final

import numpy as np

ENOUGH = 10  # truncated episodes


@final
class LimitWatch:
    """Warns once where episodes are truncated before half of the horizon, and none lasts longer.

    An episode counts as long as the horizon on the clock of a trial, however early it ends, so such a horizon makes
    discounts and trials wrong, and learning slow.
    """

    def __init__(self, name: str, horizon: int, num_envs: int) -> None:
        self._name = name
        self._horizon = horizon
        self._age: np.ndarray = np.zeros(num_envs, np.int64)
        self._longest = 0
        self._truncated = 0
        self._watching = horizon > 1

    def begin(self, mask: np.ndarray) -> None:
        """Episodes begin in the slots of the mask [num_envs]."""
        self._age[mask] = 0

    def step(self, terminated: np.ndarray, truncated: np.ndarray) -> None:
        """One step of every slot, and which episodes it ended, [num_envs]."""
        if not self._watching:
            return
        self._age += 1
        self._longest = max(self._longest, int(self._age.max()))
        self._truncated += int(truncated.sum())
        self.begin(terminated | truncated)
        if 2 * self._longest > self._horizon:
            self._watching = False
        elif self._truncated >= ENOUGH:
            self._watching = False
            warnings.warn(
                f"{self._name}: the first {self._truncated} truncated episodes took at most {self._longest} of "
                f"{self._horizon} steps, and none took longer, so the environment has a time limit of its own; give "
                f"max_episode_steps={self._longest}, or every episode counts as {self._horizon} steps of a trial",
                stacklevel=3,
            )
