"""What a user writes to plug in: an environment that knows nothing of metarl, and a family in a few lines."""

import os
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from metarl.engines.gym_tasks import GymTasks


class Drift(gymnasium.Env[Any, Any]):
    """A point on a line: x moves by the action and an unseen drift; the reward is -|x|, beyond 3 the episode ends."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    drift = 0.0
    accident = 0  # at the third step 1, 2: a NaN reward or observation, 3: exception, 4: sudden death, 5: endless sleep

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        for name, value in (options or {}).get("task", {}).items():
            setattr(self, name, value)
        self.steps = 0
        self.x = self.np_random.uniform(-0.1, 0.1, 1)
        return self.x.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.x = self.x + action + self.drift
        accident = self.accident if self.steps == 3 else 0
        if accident == 3:
            raise KeyError("lost the drift")
        if accident == 4:
            os._exit(7)
        if accident == 5:
            time.sleep(3600)
        observation = self.x * (np.nan if accident == 2 else 1)
        reward = -abs(float(self.x[0])) * (np.nan if accident == 1 else 1)
        return observation, reward, bool(abs(self.x[0]) > 3), False, {"is_success": bool(abs(self.x[0]) < 0.5)}


drift = GymTasks("drift-v1", make=Drift, parameters={"drift": (-1, 1)}, ood={"drift": (1, 2)}, max_episode_steps=6)

fragile = GymTasks(
    "fragile-v1",
    make=Drift,
    parameters={"drift": (-1, 1), "accident": spaces.Box(0, 5, (), np.int64)},
    max_episode_steps=6,
    workers=2,
)
