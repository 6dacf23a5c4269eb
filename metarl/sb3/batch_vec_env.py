"""What all vector environments for Stable-Baselines3 share: one engine, opened when it is needed."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from metarl import seeding
from metarl.finite import first_broken
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution, TaskVectorEnv


class BatchVecEnv(VecEnv):
    """A batch of environments of one family, which are no objects of their own.

    `seed` names the streams of tasks and dynamics, which start at the next reset.
    """

    def __init__(
        self,
        distribution: TaskDistribution,
        num_envs: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        seed: int,
        device: torch.device | str,
    ) -> None:
        self.distribution = distribution
        self._device = device
        self._engine: TaskVectorEnv | None = None
        self._actions: Tensor | None = None
        super().__init__(num_envs, observation_space, action_space)
        self.seed(seed)

    @property
    @final
    def engine(self) -> TaskVectorEnv:
        """The environments themselves; opened when first needed, and again after `close`."""
        if self._engine is None or self._engine.closed:
            self._engine = self.distribution.vector_env(self.num_envs, self._device)
        return self._engine

    @property
    @final
    def tasks(self) -> Tasks:
        """The task of every environment; RuntimeError before the first reset."""
        return self.engine.tasks

    @abstractmethod
    def _first_tasks(self) -> Tasks:
        """The tasks with which environments begin."""

    @final
    def _restart(self) -> Tensor:
        """First observations in new tasks, from the streams that the last seed names."""
        seed = self._seeds[0]
        if seed is not None:
            self._stream = seeding.generator(seed, "tasks")
        self.engine.set_tasks(self._first_tasks())
        engine_seed = None if seed is None else seeding.stream_seed(seed, "environment")
        observation, _ = self.engine.reset(seed=engine_seed)
        self._reset_seeds()
        self._reset_options()
        return observation

    @final
    def _new_tasks(self) -> Tasks:
        return self.distribution.sample(self.num_envs, self._stream)

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = torch.as_tensor(actions, device=self.engine.device)

    @final
    def _taken_actions(self) -> Tensor:
        """The actions of `step_async`; RuntimeError if there were none."""
        if self._actions is None:
            raise RuntimeError("step_wait without step_async")
        actions, self._actions = self._actions, None
        return actions

    def close(self) -> None:
        if self._engine is not None:
            self._engine.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """What the engine has under that name, for each environment: they are one batch and share everything."""
        value = None if attr_name == "render_mode" else getattr(self.engine, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError(
            f"cannot set {attr_name!r}: these environments are one batch, not objects of their own"
        )

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        raise NotImplementedError(
            f"no method {method_name!r}: these environments are one batch, not objects of their own"
        )

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        return [None] * self.num_envs

    @final
    def _check(self, what: str, values: np.ndarray) -> None:
        """ValueError that names the first environment where `values` [num_envs, ...] are not finite."""
        if broken := first_broken({what: torch.from_numpy(values)}):
            _, slot = broken
            raise ValueError(
                f"{self.distribution.name} gave {what} {values[slot].tolist()} in environment {slot}, "
                f"in the task {self.tasks[slot].to_json()}"
            )
