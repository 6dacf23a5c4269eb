"""Families that are made of a simulator and the priors of its parameters."""

import copy
import functools
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.priors import Bounds, Prior, as_prior, union
from metarl.tasks.distribution import TaskDistribution

if TYPE_CHECKING:
    from metarl.tasks.policies import PrivilegedPolicy


MakeExpert = Callable[[int, torch.device | str], "PrivilegedPolicy"]
Range = Prior | spaces.Box | Bounds
Draw = Callable[[str, int, np.random.Generator], Mapping[str, Any]]


class EnvSpec(NamedTuple):
    """What a family takes from one of its environments."""

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    horizon: int
    title: str  # the id that gymnasium knows it by, else the name of its class
    masked: bool = True  # of a vector environment: whether some of it can be reset without the others


class PriorTasks(TaskDistribution):
    """What a family takes from its priors: the task space, the splits and the draws; and from one environment: spaces.

    The fields below are those of its subclasses, which are dataclasses and may order them as they like.
    """

    name: str = ""  # takes the place of the property, which a field could not; subclasses have it as a `field()`
    parameters: Mapping[str, Range]
    test: Mapping[str, Range] | None
    ood: Mapping[str, Range] | None
    draw: Draw | None
    max_episode_steps: int | None
    num_episodes: int
    free_episodes: int
    share_tasks: bool
    make_expert: MakeExpert | None

    def __post_init__(self) -> None:
        if self.max_episode_steps is not None and self.max_episode_steps < 1:
            raise ValueError(f"{self.name}: need max_episode_steps >= 1, got {self.max_episode_steps}")
        if self.draw is not None and self.limits:
            raise ValueError(f"{self.name}: where(...) narrows priors, and this family has its own `draw`")
        _ = self.task_space, self._env_spec
        super().__post_init__()

    @property
    @abstractmethod
    def _env_spec(self) -> EnvSpec:
        """What one of the environments says; ValueError if it cannot be one of a family."""

    def __hash__(self) -> int:
        return hash((self.name, self.num_episodes, self.split_name, self.limits))

    @property
    def observation_space(self) -> spaces.Space[Any]:
        return copy.deepcopy(self._env_spec.observation_space)

    @property
    def action_space(self) -> spaces.Space[Any]:
        return copy.deepcopy(self._env_spec.action_space)

    @property
    def horizon(self) -> int:
        return self._env_spec.horizon

    @property
    def splits(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("train", "test") if self.ood is None else ("train", "test", "ood")

    @property
    def splits_share_tasks(self) -> bool:  # type: ignore[override]
        return self.share_tasks

    def expert(self, num_tasks: int, device: torch.device | str = "cpu") -> "PrivilegedPolicy | None":
        return None if self.make_expert is None else self.make_expert(num_tasks, device)

    @property
    def task_space(self) -> spaces.Dict:
        """The ranges of all splits together."""
        unknown = {*(self.test or {}), *(self.ood or {})} - set(self.parameters)
        if unknown or not self.parameters:
            raise ValueError(f"{self.name}: parameters {sorted(self.parameters)} lack {sorted(unknown) or 'a range'}")
        return spaces.Dict({name: self._widest(name) for name in self.parameters})

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        if self.draw is not None:
            seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
            values = self.tasks(**self.draw(self.split_name, num_tasks, np.random.default_rng(seed)))
            if len(values) != num_tasks:
                raise ValueError(f"{self.name}: draw was asked for {num_tasks} tasks and returned {len(values)}")
            return dict(values.to(generator.device).parameters)
        drawn = {}
        for name in self.parameters:
            prior = self._prior(name, self.split_name)
            low, high = self._interval(name, prior.space.low, prior.space.high)
            drawn[name] = prior.draw(num_tasks, low, high, generator)
        return drawn

    def _prior(self, name: str, split: str) -> Prior:
        prior, changed = as_prior(name, self.parameters[name]), {"test": self.test, "ood": self.ood}.get(split)
        if changed is None or name not in changed:
            return prior
        other = changed[name]
        return prior.within(*other) if isinstance(other, tuple) else as_prior(name, other)

    def _widest(self, name: str) -> spaces.Box:
        return functools.reduce(union, (self._prior(name, split).space for split in ("train", "test", "ood")))
