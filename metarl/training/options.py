"""Options of agents: dataclasses whose field types hold their bounds, which are checked at construction."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from metarl.scalars import python_scalar


@dataclass(frozen=True)
class Bounds:
    """The interval of a number from `low` to `high`. An open end is excluded; infinity and NaN always are.

    >>> 1.0 in Bounds(0, 1), 0.0 in Bounds(0, 1, low_open=True)
    (True, False)
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, value: float) -> bool:
        above = self.low < value if self.low_open else self.low <= value
        below = value < self.high if self.high_open else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"greater than {self.low:g}" if self.low_open else f"at least {self.low:g}"
        return f"in {'(' if self.low_open else '['}{self.low:g}, {self.high:g}{')' if self.high_open else ']'}"


Count = Annotated[int, Bounds(low=1)]
NonNegativeInt = Annotated[int, Bounds(low=0)]
Positive = Annotated[float, Bounds(low=0, low_open=True)]
NonNegative = Annotated[float, Bounds(low=0)]
Fraction = Annotated[float, Bounds(0, 1)]
PositiveFraction = Annotated[float, Bounds(0, 1, low_open=True)]


@dataclass(frozen=True)
class AgentOptions:
    """The options of an agent. Subclasses are frozen dataclasses with a line of documentation under each field.

    >>> @dataclass(frozen=True)
    ... class MyOptions(AgentOptions):
    ...     width: Count = 64
    ...     gamma: Fraction = 0.99
    >>> MyOptions(width=0)
    Traceback (most recent call last):
    ...
    ValueError: width must be an integer at least 1, got 0

    Numbers of numpy and torch are kept as numbers of Python. A subclass that checks more overrides `check`.
    Raises ValueError for a value outside its bounds.
    """

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self), include_extras=True).items():
            object.__setattr__(self, name, python_scalar(getattr(self, name)))
            _check(name, getattr(self, name), kind)
        self.check()

    def check(self) -> None:
        """Raise ValueError for options that do not suit each other."""


FORMER = {  # what options were called before -> what they may be called now
    "adapts": ("adapted_parameters",),
    "clip": ("clip_range",),
    "credit": ("exploration_credit",),
    "curvature_share": ("fisher_fraction",),
    "discount": ("gamma",),
    "entropy": ("ent_coef",),
    "episodes": ("num_episodes",),
    "epochs": ("n_epochs",),
    "every_step": ("multi_step_loss",),
    "growth": ("trial_curriculum",),
    "heads": ("num_heads",),
    "imitation": ("imitation_fraction",),
    "inner_rates": ("inner_lr",),
    "layers": ("num_layers",),
    "log_std": ("log_std_init",),
    "max_gradient_norm": ("max_grad_norm",),
    "minibatches": ("num_minibatches",),
    "option": ("env_kwargs",),
    "recall": ("episodic_retrieval",),
    "rollouts": ("rollouts_per_task",),
    "segment": ("bptt_steps",),
    "steps": ("total_timesteps",),
    "tasks": ("meta_batch_size", "num_tasks"),
    "trace": ("gae_lambda",),
    "update": ("inner_update",),
}


def refuse_former_names(names: Iterable[str], options: type) -> None:
    """Raise ValueError, which says the new names, if `names` has former names of fields of the dataclass `options`."""
    known = {field.name for field in fields(options)}
    renamed = {name: new for name in names if name not in known for new in FORMER.get(name, ()) if new in known}
    if renamed:
        raise ValueError("; ".join(f"{name} is now called {new}" for name, new in renamed.items()))


def _check(name: str, value: object, kind: Any) -> None:
    wanted = _wanted(kind)
    if not any(_fits(value, each) for each in wanted):
        raise ValueError(f"{name} must be {' or '.join(map(_described, wanted))}, got {value!r}")


def _wanted(kind: Any) -> tuple[Any, ...]:
    """The alternatives of a union, or the one type."""
    is_union = get_origin(kind) not in (None, Annotated, Literal, tuple)
    return get_args(kind) if is_union else (kind,)


def _fits(value: object, kind: Any) -> bool:
    origin = get_origin(kind)
    if origin is Annotated:
        number, bounds = get_args(kind)
        return _fits(value, number) and value in bounds
    if origin is Literal:
        return value in get_args(kind)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) > 0 and all(_fits(each, get_args(kind)[0]) for each in value)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _described(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is Annotated:
        number, bounds = get_args(kind)
        return f"{_described(number)} {bounds}"
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if origin is tuple:
        return f"a tuple of values, each {_described(get_args(kind)[0])}"
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a text", NoneType: "None"}
    return names.get(kind, str(kind))
