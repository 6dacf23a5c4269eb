"""A user's environment that looks like a point on a line, and is none: its power lowers the temperature."""

from typing import Any, final

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

import metarl
from metarl.engines.gym_tasks import GymTasks
from metarl.optima.experts import MemorylessExpert
from metarl.tasks.batch import Tasks


@final
class Cooler(gymnasium.Env[Any, Any]):
    """Observation: temperature (1,). Action: power (1,). Task: the wanted temperature `goal` (1,)."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self) -> None:
        self.goal = np.zeros(1, np.float32)
        self._temperature = np.zeros(1, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._temperature = np.zeros(1, np.float32)
        return self._temperature.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._temperature = self._temperature - 0.5 * np.asarray(action, np.float32)
        return self._temperature.copy(), -float(abs(self._temperature - self.goal)[0]), False, False, {}


@final
class Thermostat(MemorylessExpert):
    """Is told the wanted temperature. Right are a `sign` of -1, since power cools, and a `limit` of 1."""

    def __init__(
        self, num_tasks: int, device: torch.device | str = "cpu", sign: float = -1.0, limit: float = 1.0
    ) -> None:
        super().__init__(num_tasks, device)
        self._sign, self._limit = sign, limit
        self._goal = torch.zeros(num_tasks, 1, device=device)

    def set_tasks(self, tasks: Tasks) -> None:
        self._goal = tasks["goal"].to(self.device)

    def act(self, observation: Tensor) -> Tensor:
        return (self._sign * 2 * (self._goal - observation)).clamp(-self._limit, self._limit)

    def values(self, observation: Tensor) -> None:
        return None


def cooler(**options: Any) -> GymTasks:
    goal = spaces.Box(-2, 2, (1,), np.float32)
    return metarl.from_gym(Cooler, parameters={"goal": goal}, max_episode_steps=20, name="cooler-v1", **options)
