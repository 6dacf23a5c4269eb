"""Any gymnasium environment as a task distribution."""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, final, get_args

import gymnasium
import numpy as np
import torch

from metarl.engines.gym_attributes import set_attributes
from metarl.engines.gym_env import Apply, Parameters, TaskEnv
from metarl.engines.gym_making import Make, env_spec, made
from metarl.engines.gym_vector import GymVectorEnv
from metarl.tasks.batch import Tasks
from metarl.tasks.prior_tasks import Draw, EnvSpec, MakeExpert, PriorTasks, Range

Channel = Literal["reset_options", "attributes", "kwargs"]
UNNAMED = "this family"  # in messages, until it has a name


def from_gym(
    make: Make,
    parameters: Mapping[str, Range],
    *,
    apply: Channel | Apply = "attributes",
    name: str | None = None,
    **options: Any,
) -> "GymTasks":
    """A family of tasks made from an unmodified gymnasium environment; `options` are further fields of `GymTasks`.

    >>> cartpoles = from_gym("CartPole-v1", parameters={"length": (0.25, 1.5), "masspole": (0.05, 0.5)})
    >>> cartpoles.name, cartpoles.horizon
    ('cartpole-length-masspole-v1', 500)

    The task parameters are attributes of `env.unwrapped` unless `apply` says otherwise. Without a `name` the family is
    named after the environment and what varies.
    """
    base = make if isinstance(make, str) else getattr(make, "__name__", "<lambda>")
    if name is None and base == "<lambda>":  # else the families of all such functions had one name
        tasks = GymTasks(UNNAMED, make, parameters, apply=apply, **options)
        return replace(tasks, name=_name_after(tasks._env_spec.title, parameters))
    return GymTasks(name or _name_after(base, parameters), make, parameters, apply=apply, **options)


def _name_after(base: str, parameters: Iterable[str]) -> str:
    """The name of a family that nobody named: `CartPole-v1` and `length` make `cartpole-length-v1`."""
    words = re.sub(r"[^a-z0-9]+", "-", "-".join([re.sub(r"-v\d+$", "", base.split("/")[-1]), *parameters]).lower())
    return f"{words.strip('-')}-v1"


@final
@dataclass(frozen=True)
class GymTasks(PriorTasks):
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

    A task goes into the environment by the channel that `apply` names. Tasks are uniform over the ranges, train and
    test drawn from streams apart, unless a prior of `metarl.priors` or `draw` says otherwise. An environment that draws
    its own task at every reset needs one of these channels, or it is no family.

    Anyone can plug in such a family by its place, without registering it: with the lines above in
    `my_package/my_module.py`, `metarl.make("my_package.my_module:pendulum")` and `metarl check
    my_package.my_module:pendulum` find it.

    Raises ValueError where `metarl.spaces.plain_space` does not know the spaces, a range is empty or unbounded, or an
    episode has no time limit.
    """

    name: str = field()
    """The versioned name, such as `pendulum-physics-v1`: change it when the meaning changes."""
    make: Make
    """An id known to gymnasium, or a function that returns a new environment (called with render_mode= to render, and
    with slot=, the number of its place in a vector environment, where it has such an argument: for ports)."""
    parameters: Mapping[str, Range]
    """The prior of each task parameter: (low, high) for a number, a Box for an array, or one of `metarl.priors`."""
    test: Mapping[str, Range] | None = None
    """(low, high), or a prior, of the parameters that differ in test tasks; None: the same priors, other draws."""
    ood: Mapping[str, Range] | None = None
    """The same out of distribution; None: there is no such split."""
    apply: Channel | Apply = "reset_options"
    """How a task gets into the environment: `reset(options={"task": {"mass": .7}})`, attributes of `env.unwrapped` set
    before each reset, keyword arguments of a new environment, or a function `apply(env, task)` called before each reset
    (numbers and arrays by name), which may return another environment to take the place of `env`. It closes what it
    replaces, unless that comes back."""
    draw: Draw | None = None
    """Draws values [num_tasks, ...] by name from (split, num_tasks, numpy generator) in place of uniform draws."""
    max_episode_steps: int | None = None
    """The horizon, or the environment's own time limit if that is shorter; None: the environment's own."""
    num_episodes: int = 3
    """Episodes in a trial."""
    share_tasks: bool = False
    """Whether test tasks may be training tasks, because there are so few."""
    show_tasks: bool = False
    """Whether observations depend on the task by design: levels with walls to see, objects that start elsewhere."""
    workers: int = 0
    """Worker processes of a vector environment; 0: none, the environments are stepped in this process."""
    timeout: float | None = 60.0
    """Seconds that a worker may take to step or reset its environments once before it counts as hanging; None: any."""
    make_expert: MakeExpert | None = None
    """Makes the family's expert, a PrivilegedPolicy, from (num_tasks, device); None: no expert is known."""
    free_episodes: int = 0
    """The first episodes of a trial, whose return does not count: they are for exploring."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"{self.name}: workers must be at least 0, got {self.workers}")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"{self.name}: timeout must be positive, or None, got {self.timeout}")
        if not callable(self.apply) and self.apply not in get_args(Channel):
            raise ValueError(
                f"{self.name}: apply must be a function or one of {', '.join(get_args(Channel))}, got {self.apply!r}"
            )
        super().__post_init__()

    most_envs: ClassVar[int | None] = 256  # they are stepped one by one, and each may hold a simulator

    __hash__ = PriorTasks.__hash__  # else the dataclass makes one of its own, of mappings that have none

    @property
    def observations_show_tasks(self) -> bool:  # type: ignore[override]
        return self.show_tasks

    def vector_env(self, num_envs: int, device: torch.device | str = "cpu") -> GymVectorEnv:
        return GymVectorEnv(self, num_envs, device, self.workers, self.timeout, self.slot_env)

    def env(self, task: Tasks | None = None, render_mode: str | None = None) -> TaskEnv:
        return self.slot_env(0, task, render_mode)

    def slot_env(self, slot: int, task: Tasks | None = None, render_mode: str | None = None) -> TaskEnv:
        """`env` for one slot of a vector environment, whose number `make` is told where it has an argument `slot`."""
        build = functools.partial(made, self.make, render_mode, self.max_episode_steps, slot)
        return TaskEnv(build(**self._lows), self, task, self._put(build))

    def _put(self, build: Callable[..., "gymnasium.Env[Any, Any]"]) -> Apply | None:
        """What puts a task into an environment before a reset; None: the reset's options do."""
        if callable(self.apply):
            return self.apply
        return {"reset_options": None, "attributes": set_attributes, "kwargs": _Rebuild(build)}[self.apply]

    @property
    def _lows(self) -> Parameters:
        """Arguments for an environment before its first task, where tasks are keyword arguments."""
        if self.apply != "kwargs":
            return {}
        lows = {name: self._prior(name, "train").space.low for name in self.parameters}
        return {name: low.item() if low.shape == () else low.copy() for name, low in lows.items()}

    @property
    def _env_spec(self) -> EnvSpec:
        attributes = tuple(self.parameters) if self.apply == "attributes" else ()
        return env_spec(self.name, self.make, self.max_episode_steps, attributes, self._lows)


@final
class _Rebuild:
    """Puts an environment built with a task's keyword arguments in the place of one in another task."""

    def __init__(self, build: Callable[..., "gymnasium.Env[Any, Any]"]) -> None:
        self._build = build
        self._task: Parameters | None = None

    def __call__(self, env: "gymnasium.Env[Any, Any]", task: Parameters) -> "gymnasium.Env[Any, Any] | None":
        if self._task is not None and all(np.array_equal(value, self._task[name]) for name, value in task.items()):
            return None
        env.close()
        self._task = task
        return self._build(**task)
