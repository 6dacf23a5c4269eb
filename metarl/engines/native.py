"""The native engine: a family whose dynamics are a few tensor operations over the whole batch, on any device."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, final

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl import seeding
from metarl.engines.current_task import CurrentTask
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import Step, TaskDistribution, TaskVectorEnv


@dataclass(frozen=True)
class NativeDistribution(TaskDistribution):
    """A task distribution with its own simulator in torch: pure functions of batched states.

    A state is one tensor `[B, ...]`. The engine adds time limits, automatic resets and the gymnasium interfaces.

    >>> import metarl
    >>> rooms = metarl.make("grid-navigation")
    >>> tasks = rooms.sample(4, seeding.generator(0))
    >>> rooms.initial_state(tasks, seeding.generator(1)).shape[0]
    4
    """

    @abstractmethod
    def initial_state(self, tasks: Tasks, generator: torch.Generator) -> Tensor:
        """States `[B, ...]` at the start of an episode."""

    @abstractmethod
    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        """Observations `[B, ...]` of states `[B, ...]`."""

    @abstractmethod
    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Next states `[B, ...]`, rewards [B] and terminations [B] after `action` [B, ...]."""

    @abstractmethod
    def frame(self, state: Tensor, task: Tasks) -> np.ndarray:
        """A picture `[height, width, 3]` (uint8) of one state. It is for people, so it may show the goal."""

    @final
    def vector_env(self, num_envs: int, device: torch.device | str = "cpu") -> "NativeVectorEnv":
        return NativeVectorEnv(self, num_envs, device)

    @final
    def env(self, task: Tasks | None = None, render_mode: str | None = None) -> "NativeEnv":
        return NativeEnv(self, task, render_mode)


@final
class NativeVectorEnv(TaskVectorEnv):
    """Steps the whole batch with a handful of tensor operations; nothing is copied to the host."""

    def __init__(self, dynamics: NativeDistribution, num_envs: int, device: torch.device | str = "cpu") -> None:
        super().__init__(dynamics, num_envs, device)
        self._dynamics = dynamics
        self._bounds = _action_bounds(dynamics.action_space, self.device)
        self._generator = seeding.generator(0, "environment", device=self.device)
        self._state: Tensor | None = None
        self._elapsed = torch.zeros(num_envs, dtype=torch.int64, device=self.device)

    @property
    def state(self) -> Tensor:
        """The state of every slot `[num_envs, ...]`; RuntimeError before the first reset."""
        if self._state is None:
            raise RuntimeError("call reset before step")
        return self._state

    @property
    def generator(self) -> torch.Generator:
        """Where the environment's luck comes from; `reset(seed=...)` restarts it."""
        return self._generator

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        if seed is not None:
            self._generator.manual_seed(seed)
        mask = (options or {}).get("reset_mask")
        initial = self._dynamics.initial_state(self.tasks, self._generator)
        if mask is None or self._state is None:
            self._state = initial
            self._elapsed.zero_()
        else:
            mask = torch.as_tensor(mask, device=self.device)
            self._state = _choose(mask, initial, self._state)
            self._elapsed[mask] = 0
        return self._dynamics.observation(self._state, self.tasks), {}

    def step(self, actions: Tensor) -> Step:
        self.check_actions(actions)
        if self._bounds is not None:
            actions = actions.clamp(*self._bounds)
        tasks = self.tasks
        state, reward, terminated = self._dynamics.transition(self.state, actions, tasks, self._generator)
        self._elapsed += 1
        truncated = (self._elapsed >= self._dynamics.horizon) & ~terminated
        done = terminated | truncated
        final_obs = self._dynamics.observation(state, tasks)
        self._state = _choose(done, self._dynamics.initial_state(tasks, self._generator), state)
        self._elapsed.masked_fill_(done, 0)
        info = {"final_obs": final_obs, "_final_obs": done}
        return self._dynamics.observation(self._state, tasks), reward, terminated, truncated, info

    def close_extras(self, **kwargs: Any) -> None:
        self._state = None


@final
class NativeEnv(gymnasium.Env[Any, Any]):
    """One native environment as an ordinary `gymnasium.Env`; `reset(options={"task": ...})` chooses the task."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - gymnasium's own

    def __init__(self, dynamics: NativeDistribution, task: Tasks | None = None, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is 'rgb_array' or None, got {render_mode!r}")
        self.observation_space = dynamics.observation_space
        self.action_space = dynamics.action_space
        self.render_mode = render_mode
        self._current = CurrentTask(dynamics, task)
        self._dynamics = dynamics
        self._bounds = _action_bounds(dynamics.action_space, torch.device("cpu"))
        self._generator = self._current.generator  # of tasks and of what happens in them
        self._state: Tensor | None = None
        self._elapsed = 0

    @property
    def task(self) -> Tasks | None:
        """The current task; None before the first reset if the constructor got none."""
        return self._current.task

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None or self._state is None:
            self._generator.manual_seed(int(self.np_random.integers(2**62)))
        self._state = self._dynamics.initial_state(self._current.choose(options), self._generator)
        self._elapsed = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self._state is None or self.task is None:
            raise RuntimeError("call reset before step")
        batch = torch.as_tensor(np.asarray(action, self.action_space.dtype))[None]
        if self._bounds is not None:
            batch = batch.clamp(*self._bounds)
        self._state, reward, terminated = self._dynamics.transition(self._state, batch, self.task, self._generator)
        self._elapsed += 1
        ended = bool(terminated[0])
        truncated = self._elapsed >= self._dynamics.horizon and not ended
        return self._observation(), float(reward[0]), ended, truncated, {}

    def render(self) -> Any:
        if self.render_mode is None or self._state is None or self.task is None:
            return None
        return self._dynamics.frame(self._state, self.task)

    def _observation(self) -> Any:
        assert self._state is not None
        assert self.task is not None
        observation = self._dynamics.observation(self._state, self.task)[0].numpy()
        return observation[()] if isinstance(self.observation_space, spaces.Discrete) else observation


def _action_bounds(space: spaces.Space[Any], device: torch.device) -> tuple[Tensor, Tensor] | None:
    if not isinstance(space, spaces.Box):
        return None
    return torch.as_tensor(space.low, device=device), torch.as_tensor(space.high, device=device)


def _choose(mask: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
    return torch.where(mask.reshape(-1, *[1] * (other.dim() - 1)), chosen, other)
