"""Any gymnasium environment as a task distribution."""

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from torch import Tensor

from metarl.gym_env import Apply, TaskEnv, plain_space
from metarl.gym_vector import GymVectorEnv
from metarl.native import as_task
from metarl.tasks import TaskDistribution, Tasks

Make = str | Callable[..., "gymnasium.Env[Any, Any]"]
Range = spaces.Box | tuple[Any, Any]
Draw = Callable[[str, int, np.random.Generator], Mapping[str, Any]]


@final
@dataclass(frozen=True)
class GymTasks(TaskDistribution):
    """A family of tasks made from an unmodified gymnasium environment and the ranges of its parameters.

    >>> def set_physics(env, task):
    ...     env.unwrapped.m, env.unwrapped.l = task["mass"], task["length"]
    >>> pendulum = GymTasks(
    ...     "pendulum-physics-v1",
    ...     make="Pendulum-v1",
    ...     parameters={"mass": (0.5, 1.5), "length": (0.5, 1.5)},
    ...     ood={"mass": (1.5, 3.0)},
    ...     apply=set_physics,
    ... )
    >>> pendulum.horizon, pendulum.splits
    (200, ('train', 'test', 'ood'))

    A task goes into the environment as `reset(options={"task": {"mass": .7, "length": 1.2}})`, or by `apply(env, task)`
    before each reset. Tasks are uniform over the ranges, train and test drawn from streams apart, unless `draw` says
    otherwise. An environment that draws its own task at every reset needs one of these channels, or it is no family.

    Anyone can plug in such a family by its place, without registering it: with the lines above in
    `my_package/my_module.py`, `metarl.make("my_package.my_module:pendulum")` and `metarl check
    my_package.my_module:pendulum` find it.

    Raises ValueError where the spaces are not Box, Discrete or MultiDiscrete, a range is empty or unbounded, or an
    episode has no time limit.
    """

    family: str
    """The versioned name, such as `pendulum-physics-v1`: change it when the meaning changes."""
    make: Make
    """An id known to gymnasium, or a function that returns a new environment (called with render_mode= to render)."""
    parameters: Mapping[str, Range]
    """The range of each task parameter: (low, high) for a number, a Box for an array or for integers."""
    ood: Mapping[str, tuple[Any, Any]] | None = None
    """(low, high) of the parameters that differ in the out-of-distribution split; without it there is no such split."""
    apply: Apply | None = None
    """Puts a task (numbers and arrays by name) into the environment before a reset; None: the reset's options do."""
    draw: Draw | None = None
    """Draws values [num_tasks, ...] by name from (split, num_tasks, numpy generator) in place of uniform draws."""
    steps: int | None = None
    """The horizon; None: the environment's own time limit."""
    num_episodes: int = 3
    """Episodes in a trial."""
    workers: int = 0
    """Worker processes of a vector environment; 0: none, the environments are stepped in this process."""

    def __post_init__(self) -> None:
        if self.num_episodes < 1 or self.workers < 0 or (self.steps is not None and self.steps < 1):
            raise ValueError(
                f"{self.family}: need num_episodes >= 1, workers >= 0 and steps >= 1, "
                f"got {self.num_episodes}, {self.workers} and {self.steps}"
            )
        if self.draw is not None and self.limits:
            raise ValueError(f"{self.family}: where(...) narrows uniform priors, and this family has its own `draw`")
        _ = self.task_space, self._face
        super().__post_init__()

    def __hash__(self) -> int:
        return hash((self.family, self.num_episodes, self.split_name, self.limits))  # the mappings have no hash

    @property
    def name(self) -> str:
        return self.family

    @property
    def splits(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("train", "test") if self.ood is None else ("train", "test", "ood")

    @property
    def observation_space(self) -> spaces.Space[Any]:
        return copy.deepcopy(self._face.observation_space)

    @property
    def action_space(self) -> spaces.Space[Any]:
        return copy.deepcopy(self._face.action_space)

    @property
    def task_space(self) -> spaces.Dict:
        """The ranges of all splits together."""
        unknown = set(self.ood or {}) - set(self.parameters)
        if unknown or not self.parameters:
            raise ValueError(f"{self.family}: parameters {sorted(self.parameters)} lack {sorted(unknown) or 'a range'}")
        ranges = {name: _box(name, values) for name, values in self.parameters.items()}
        return spaces.Dict({name: _widened(name, box, (self.ood or {}).get(name)) for name, box in ranges.items()})

    @property
    def horizon(self) -> int:
        return self._face.horizon

    @property
    def episodes(self) -> int:
        return self.num_episodes

    def vector_env(self, num_envs: int, device: torch.device | str = "cpu") -> GymVectorEnv:
        return GymVectorEnv(self, num_envs, device, self.workers)

    def env(self, task: Tasks | None = None, render_mode: str | None = None) -> TaskEnv:
        env = _make(self.make, render_mode, self.steps)
        return TaskEnv(env, self, None if task is None else as_task(self, task), self.apply)

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        if self.draw is not None:
            seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
            values = self.tasks(**self.draw(self.split_name, num_tasks, np.random.default_rng(seed)))
            return dict(values.to(generator.device).parameters)
        return {name: self._uniform(name, num_tasks, generator) for name in self.parameters}

    def _uniform(self, name: str, num_tasks: int, generator: torch.Generator) -> Tensor:
        """Uniform draws [num_tasks, ...]; integers include both ends."""
        box = _box(name, self.parameters[name])
        if self.split_name == "ood" and name in (self.ood or {}):
            box = _between(box, *(self.ood or {})[name])
        lows, highs = (
            torch.from_numpy(bound.astype(box.dtype)).to(generator.device)
            for bound in self._interval(name, box.low, box.high)
        )
        share = torch.rand(num_tasks, *box.shape, generator=generator, device=generator.device, dtype=torch.float64)
        if np.issubdtype(box.dtype, np.integer):
            return lows + (share * (highs - lows + 1)).floor().to(lows.dtype)
        return torch.minimum((lows + (highs - lows) * share).to(lows.dtype), highs)

    @property
    def _face(self) -> "Face":
        return _face(self.family, self.make, self.steps)


class Face(NamedTuple):
    """What a family takes from one of its environments."""

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    horizon: int


@functools.lru_cache(maxsize=64)  # splits are copies of a family: the environment is opened once for all of them
def _face(family: str, make: Make, steps: int | None) -> Face:
    env = _make(make, None, steps)
    try:
        observation_space = plain_space(env.observation_space, "observation")
        action_space = plain_space(env.action_space, "action")
        horizon = steps or (env.spec.max_episode_steps if env.spec is not None else None)
        if horizon is None:
            raise ValueError("the environment has no time limit: give steps=...")
        return Face(observation_space, action_space, horizon)
    except ValueError as error:
        raise ValueError(f"{family}: {error}") from error
    finally:
        env.close()


def _make(make: Make, render_mode: str | None, steps: int | None) -> "gymnasium.Env[Any, Any]":
    if isinstance(make, str):
        return gymnasium.make(make, render_mode=render_mode, max_episode_steps=steps, disable_env_checker=True)
    env = make() if render_mode is None else make(render_mode=render_mode)
    return env if steps is None else TimeLimit(env, steps)


def _box(name: str, values: Range) -> spaces.Box:
    low, high = (values.low, values.high) if isinstance(values, spaces.Box) else values
    if not np.isfinite([low, high]).all() or np.any(np.asarray(low) > np.asarray(high)):
        raise ValueError(f"task parameter {name!r} needs finite bounds, low <= high, got {low} and {high}")
    return values if isinstance(values, spaces.Box) else spaces.Box(low, high, (), np.float32)


def _between(box: spaces.Box, low: Any, high: Any) -> spaces.Box:
    lows, highs = (np.broadcast_to(np.asarray(bound, box.dtype), box.shape) for bound in (low, high))
    return spaces.Box(lows.copy(), highs.copy(), box.shape, box.dtype.type)


def _widened(name: str, box: spaces.Box, other: tuple[Any, Any] | None) -> spaces.Box:
    """The smallest box around `box` and `other`."""
    if other is None:
        return box
    _box(name, other)
    ood = _between(box, *other)
    return _between(box, np.minimum(box.low, ood.low), np.maximum(box.high, ood.high))
