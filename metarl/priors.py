"""Priors from which the parameters of a task are drawn."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

Bounds = tuple[Any, Any]  # low and high: numbers, or arrays of the parameter's shape
ADVICE = (
    "; number what else varies (words, files, arrays), as in Choice((0, 1)) with a list of them, and let a function "
    "put it into the environment: apply=lambda env, task: setattr(env.unwrapped, 'map', MAPS[task['map']])"
)


@dataclass(frozen=True)
class Prior(ABC):
    """A distribution of one task parameter, a number or an array, within bounds."""

    @property
    @abstractmethod
    def space(self) -> spaces.Box:
        """Shape, type and bounds of the parameter."""

    @abstractmethod
    def draw(self, num_tasks: int, low: np.ndarray, high: np.ndarray, generator: torch.Generator) -> Tensor:
        """Values `[num_tasks, *shape]` within [low, high], on the generator's device; bounds are `[*shape]`."""

    @abstractmethod
    def within(self, low: Any, high: Any) -> "Prior":
        """The same kind of prior with other bounds. Raises ValueError if that is impossible."""


@final
@dataclass(frozen=True)
class Uniform(Prior):
    """Real numbers, uniform between two bounds. Arrays of bounds make an array of independent entries.

    >>> Uniform(0.5, 1.5).space
    Box(0.5, 1.5, (), float64)

    Raises ValueError unless the bounds are finite and low <= high.
    """

    low: Any
    high: Any

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)

    @property
    def space(self) -> spaces.Box:
        return _box(self.low, self.high, np.float64)

    def draw(self, num_tasks: int, low: np.ndarray, high: np.ndarray, generator: torch.Generator) -> Tensor:
        lows, highs = _on(generator, low), _on(generator, high)
        return torch.minimum(lows + (highs - lows) * _shares(num_tasks, low, generator), highs)

    def within(self, low: Any, high: Any) -> "Uniform":
        return Uniform(*_like(self.space, low, high))


@final
@dataclass(frozen=True)
class LogUniform(Prior):
    """Real numbers whose logarithm is uniform between two positive bounds: for scales, such as masses and frictions.

    >>> LogUniform(0.1, 10.0).space
    Box(0.1, 10.0, (), float64)

    Raises ValueError unless the bounds are finite, positive and low <= high.
    """

    low: Any
    high: Any

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)
        if np.any(np.asarray(self.low) <= 0):
            raise ValueError(f"LogUniform needs positive bounds, got {self.low} and {self.high}")

    @property
    def space(self) -> spaces.Box:
        return _box(self.low, self.high, np.float64)

    def draw(self, num_tasks: int, low: np.ndarray, high: np.ndarray, generator: torch.Generator) -> Tensor:
        lows, highs = _on(generator, low), _on(generator, high)
        values = (lows.log() + (highs / lows).log() * _shares(num_tasks, low, generator)).exp()
        return torch.minimum(torch.maximum(values, lows), highs)

    def within(self, low: Any, high: Any) -> "LogUniform":
        return LogUniform(*_like(self.space, low, high))


@final
@dataclass(frozen=True)
class Radius(Prior):
    """The distance from the origin of points that are uniform over a disc, or over the ring between two radii.

    >>> Radius(0.0, 2.0).space
    Box(0.0, 2.0, (), float64)

    Raises ValueError unless the radii are finite, at least 0 and low <= high.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)
        if self.low < 0:
            raise ValueError(f"Radius needs bounds of at least 0, got {self.low} and {self.high}")

    @property
    def space(self) -> spaces.Box:
        return _box(self.low, self.high, np.float64)

    def draw(self, num_tasks: int, low: np.ndarray, high: np.ndarray, generator: torch.Generator) -> Tensor:
        lows, highs = _on(generator, low), _on(generator, high)
        areas = lows.square() + (highs.square() - lows.square()) * _shares(num_tasks, low, generator)
        return torch.minimum(torch.maximum(areas.sqrt(), lows), highs)

    def within(self, low: Any, high: Any) -> "Radius":
        return Radius(low, high)


@final
@dataclass(frozen=True)
class Integers(Prior):
    """Integers, uniform between two bounds, both included.

    >>> Integers(1, 6).space
    Box(1, 6, (), int64)

    Raises ValueError unless the bounds are whole numbers and low <= high.
    """

    low: Any
    high: Any

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)
        if np.any(np.asarray(self.low) % 1) or np.any(np.asarray(self.high) % 1):
            raise ValueError(f"Integers needs whole bounds, got {self.low} and {self.high}")

    @property
    def space(self) -> spaces.Box:
        return _box(self.low, self.high, np.int64)

    def draw(self, num_tasks: int, low: np.ndarray, high: np.ndarray, generator: torch.Generator) -> Tensor:
        lows, highs = _on(generator, np.ceil(low)), _on(generator, np.floor(high))
        if (lows > highs).any():
            raise ValueError(f"there is no integer between {low} and {high}")
        return (lows + (_shares(num_tasks, low, generator) * (highs - lows + 1)).floor()).long()

    def within(self, low: Any, high: Any) -> "Integers":
        return Integers(*_like(self.space, low, high))


@final
@dataclass(frozen=True)
class Choice(Prior):
    """One of some numbers, all with the same probability: exactly these, in float64 unless all are whole.

    >>> Choice((4, 8)).space
    Box(4, 8, (), int64)

    Raises ValueError without numbers, or if one is not finite. Words and files are numbered, which the message says.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        array = _numbers(self.values)
        if array is None or array.ndim != 1 or not np.isfinite(array).all() or not len(array):
            raise ValueError(f"Choice needs finite numbers to choose from, got {self.values}{ADVICE}")

    @property
    def space(self) -> spaces.Box:
        whole = not np.any(np.asarray(self.values) % 1)
        return _box(min(self.values), max(self.values), np.int64 if whole else np.float64)

    def draw(self, num_tasks: int, low: np.ndarray, high: np.ndarray, generator: torch.Generator) -> Tensor:
        allowed = [value for value in self.values if low <= value <= high]
        if not allowed:
            raise ValueError(f"none of {self.values} lies between {low} and {high}")
        index = torch.randint(len(allowed), (num_tasks,), generator=generator, device=generator.device)
        return torch.as_tensor(np.asarray(allowed, self.space.dtype), device=generator.device)[index]

    def within(self, low: Any, high: Any) -> "Choice":
        raise ValueError(f"other bounds say nothing about Choice({self.values}): name the values, Choice((...))")


def as_prior(name: str, values: Any) -> Prior:
    """A prior from a prior, from (low, high) for Uniform, or from a Box for Uniform or, of integers, Integers.

    >>> as_prior("mass", (0.5, 1.5))
    Uniform(low=0.5, high=1.5)

    Raises ValueError, naming the parameter, for anything else, and for bounds that are not finite.
    """
    if isinstance(values, Prior):
        return values
    if isinstance(values, spaces.Box):
        kind, bounds = Integers if np.issubdtype(values.dtype, np.integer) else Uniform, (values.low, values.high)
    elif isinstance(values, tuple) and len(values) == 2:
        kind, bounds = Uniform, values
    else:
        raise ValueError(
            f"task parameter {name!r} needs (low, high), a Box, or one of Uniform, LogUniform, Integers and Choice "
            f"of metarl.priors, got {values!r}"
        )
    try:
        return kind(*bounds)
    except ValueError as error:
        raise ValueError(f"task parameter {name!r} {error}") from error


def union(one: spaces.Box, other: spaces.Box) -> spaces.Box:
    """The smallest box that contains both. Raises ValueError if they differ in shape or type."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        raise ValueError(f"priors of one parameter must be of one shape and type, got {one} and {other}")
    return _box(np.minimum(one.low, other.low), np.maximum(one.high, other.high), one.dtype.type)


def _check_bounds(low: Any, high: Any) -> None:
    lows, highs = _numbers(low), _numbers(high)
    if lows is None or highs is None:
        raise ValueError(f"needs numbers as bounds, got {low!r} and {high!r}{ADVICE}")
    if not (np.isfinite(lows).all() and np.isfinite(highs).all()) or np.any(lows > highs):
        raise ValueError(f"needs finite bounds, low <= high, got {low} and {high}")


def _numbers(values: Any) -> np.ndarray | None:
    """Values as an array of float64; None where they are no numbers."""
    try:
        array = np.asarray(values)
    except ValueError:  # rows of different lengths
        return None
    return array.astype(np.float64) if array.dtype.kind in "biuf" else None


def _box(low: Any, high: Any, dtype: Any) -> spaces.Box:
    lows, highs = np.broadcast_arrays(np.asarray(low, dtype), np.asarray(high, dtype))
    return spaces.Box(lows.copy(), highs.copy(), lows.shape, dtype)


def _like(space: spaces.Box, low: Any, high: Any) -> tuple[np.ndarray, np.ndarray]:
    """The bounds in the shape of `space`: one number stands for every entry."""
    return np.broadcast_to(np.asarray(low), space.shape), np.broadcast_to(np.asarray(high), space.shape)


def _on(generator: torch.Generator, bound: np.ndarray) -> Tensor:
    return torch.as_tensor(np.array(bound, np.float64), device=generator.device)


def _shares(num_tasks: int, low: np.ndarray, generator: torch.Generator) -> Tensor:
    """U[0, 1) of shape `[num_tasks, *low.shape]` in float64."""
    return torch.rand(num_tasks, *low.shape, generator=generator, device=generator.device, dtype=torch.float64)
