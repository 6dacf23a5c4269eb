"""A batch of environments, each in its own task."""

from abc import abstractmethod
from typing import Any, final

import gymnasium
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from metarl.tasks import TaskDistribution, Tasks

Step = tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Any]]


class TaskVectorEnv(gymnasium.vector.VectorEnv[Tensor, Tensor, Tensor]):
    """`num_envs` environments of one family as a `gymnasium.vector.VectorEnv` that speaks tensors on `device`.

    An episode that ends starts the next one of the *same task* in the same step: `step` returns the first observation
    of the new episode, and the info holds the last one of the old episode in `final_obs` (valid for every slot, so for
    slots that go on it equals the returned observation). Actions of a Box are clipped to the space.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 - gymnasium's own convention

    threaded: bool = False  # whether a step runs on threads of its own, from which torch's idle ones take the cores

    def __init__(self, distribution: TaskDistribution, num_envs: int, device: torch.device | str = "cpu") -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.distribution = distribution
        self.num_envs = num_envs
        self.device = torch.device(device)
        self._tasks: Tasks | None = None  # of every slot, on the device
        self.single_observation_space = distribution.observation_space
        self.single_action_space = distribution.action_space
        self.observation_space = batch_space(distribution.observation_space, num_envs)
        self.action_space = batch_space(distribution.action_space, num_envs)

    @property
    @final
    def tasks(self) -> Tasks:
        """The task of every slot; RuntimeError before the first `set_tasks`."""
        if self._tasks is None:
            raise RuntimeError("call set_tasks before reset and step")
        return self._tasks

    @abstractmethod
    def set_tasks(self, tasks: Tasks, mask: Tensor | None = None) -> None:
        """Put `tasks` (one per slot) into the slots where `mask` [num_envs] is true; they begin at the next reset."""

    @abstractmethod
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Start an episode in every slot, or only where `options["reset_mask"]` is true; `seed` restarts the stream."""

    @abstractmethod
    def step(self, actions: Tensor) -> Step:
        """Observation, reward [num_envs], terminated, truncated, info. ValueError if actions have a wrong shape."""

    def check_tasks(self, tasks: Tasks) -> None:
        """ValueError unless there is exactly one task of this family for each slot."""
        if len(tasks) != self.num_envs:
            raise ValueError(f"one task per environment: got {len(tasks)} tasks for {self.num_envs} environments")
        if tasks.space != self.distribution.task_space:
            raise ValueError(f"these tasks are not tasks of {self.distribution.name}")

    def check_actions(self, actions: Tensor) -> None:
        expected = (self.num_envs, *(self.single_action_space.shape or ()))
        if tuple(actions.shape) != expected:
            raise ValueError(f"actions need shape {expected}, got {tuple(actions.shape)}")
