"""One slot of a vector environment as an ordinary gymnasium environment."""

from typing import Any, final

import gymnasium
import torch
from gymnasium.utils import RecordConstructorArgs

from metarl import seeding
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution, as_task


@final
class SlotEnv(gymnasium.Env[Any, Any], RecordConstructorArgs):
    """A batch of one; `reset(options={"task": ...})` chooses the task, which then stays."""

    def __init__(self, distribution: TaskDistribution, task: Tasks | None = None) -> None:
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, distribution=distribution, task=task)
        self.observation_space = distribution.observation_space
        self.action_space = distribution.action_space
        self.task = None if task is None else as_task(distribution, task)  # None: drawn at every reset that names none
        self._fixed = task is not None
        self._distribution = distribution
        self._slot = distribution.vector_env(1)
        self._generator: torch.Generator | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        begins = seed is not None or self._generator is None
        if begins:
            seed = int(self.np_random.integers(2**31))
            self._generator = seeding.generator(seed, "tasks")
        chosen = (options or {}).get("task")
        if chosen is not None:
            self.task, self._fixed = as_task(self._distribution, chosen), True
        elif not self._fixed:
            assert self._generator is not None
            self.task = self._distribution.sample(1, self._generator)
        assert self.task is not None
        self._slot.set_tasks(self.task)
        return self._slot.reset(seed=seed if begins else None)[0][0].numpy()[()], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        batch = torch.as_tensor(action)[None]
        _, reward, terminated, truncated, info = self._slot.step(batch)
        success = {"success": bool(info["success"][0])} if "success" in info else {}
        last = info["final_obs"][0].numpy()[()]
        return last, float(reward[0]), bool(terminated[0]), bool(truncated[0]), success

    def close(self) -> None:
        self._slot.close()
