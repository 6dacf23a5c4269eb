"""One slot of a vector environment as an ordinary gymnasium environment."""

from typing import Any, final

import gymnasium
import torch
from gymnasium.utils import RecordConstructorArgs

from metarl import seeding
from metarl.engines.current_task import CurrentTask
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution


@final
class SlotEnv(gymnasium.Env[Any, Any], RecordConstructorArgs):
    """A batch of one; `reset(options={"task": ...})` chooses the task, which then stays."""

    def __init__(self, distribution: TaskDistribution, task: Tasks | None = None) -> None:
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, distribution=distribution, task=task)
        self.observation_space = distribution.observation_space
        self.action_space = distribution.action_space
        self._current = CurrentTask(distribution, task)
        self._slot = distribution.vector_env(1)
        self._begun = False

    @property
    def task(self) -> Tasks | None:
        """The current task; None before the first reset if the constructor got none."""
        return self._current.task

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None or not self._begun:
            seed, self._begun = int(self.np_random.integers(2**31)), True
            self._current.generator.manual_seed(seeding.stream_seed(seed, "tasks"))
        self._slot.set_tasks(self._current.choose(options))
        return self._slot.reset(seed=seed)[0][0].numpy()[()], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        batch = torch.as_tensor(action)[None]
        _, reward, terminated, truncated, info = self._slot.step(batch)
        told = {name: float(values[0]) for name, values in info.get("measures", {}).items() if not values[0].isnan()}
        if "success" in info and bool(info["_success"][0]):
            told["success"] = bool(info["success"][0])
        last = info["final_obs"][0].numpy()[()]
        return last, float(reward[0]), bool(terminated[0]), bool(truncated[0]), told

    def close(self) -> None:
        self._slot.close()
