"""Options check themselves from the bounds of their fields."""

from dataclasses import dataclass, fields
from typing import Annotated, Literal

import pytest

from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.sb3.fine_tuning import FineTuningOptions
from metarl.training.options import (
    FORMER,
    AgentOptions,
    Bounds,
    Count,
    Fraction,
    Positive,
    PositiveFraction,
    refuse_former_names,
)


@dataclass(frozen=True)
class Options(AgentOptions):
    count: Count = 1
    maybe: Count | None = None
    kind: Literal["a", "b"] = "a"
    sizes: tuple[Positive, ...] = (0.1,)
    flag: bool = True
    share: Fraction = 0.0
    some: PositiveFraction = 1.0
    pair: Annotated[int, Bounds(2, 4, high_open=True)] = 2


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("count", 0, "count must be an integer at least 1, got 0"),
        ("count", 1.5, "count must be an integer at least 1, got 1.5"),
        ("count", True, "count must be an integer"),
        ("maybe", -1, "maybe must be an integer at least 1 or None, got -1"),
        ("kind", "c", "kind must be one of a, b, got 'c'"),
        ("sizes", (), "sizes must be a tuple of values, each a number greater than 0"),
        ("sizes", (0.1, 0.0), "sizes must be a tuple"),
        ("flag", 1, "flag must be true or false, got 1"),
        ("share", 1.01, r"share must be a number in \[0, 1\], got 1.01"),
        ("share", float("nan"), r"share must be a number in \[0, 1\], got nan"),
        ("some", 0.0, r"some must be a number in \(0, 1\]"),
        ("pair", 4, r"pair must be an integer in \[2, 4\), got 4"),
    ],
)
def test_values_outside_their_bounds_are_refused(name: str, value: object, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Options(**{name: value})  # type: ignore[arg-type]


def test_values_at_their_bounds_are_taken() -> None:
    options = Options(count=1, maybe=3, kind="b", sizes=(1e-9, 2.0), share=1, some=1.0, pair=3)
    assert (options.maybe, options.share) == (3, 1)


@pytest.mark.parametrize("options", [RL2Options, MAMLOptions, FineTuningOptions])
def test_no_number_of_an_agent_may_be_infinite(options: type[AgentOptions]) -> None:
    numbers = [field.name for field in fields(options) if isinstance(field.default, float)]
    assert numbers
    for name in numbers:
        for value in (float("nan"), float("inf")):
            with pytest.raises(ValueError, match=rf"{name} must be a number"):
                options(**{name: value})


def test_former_names_are_refused_with_the_new_one() -> None:
    with pytest.raises(ValueError, match="trace is now called gae_lambda; tasks is now called meta_batch_size"):
        refuse_former_names(["trace", "width", "tasks"], MAMLOptions)
    refuse_former_names(["width", "no_such_option"], MAMLOptions)  # what never had another name is others' to refuse


def test_every_new_name_is_an_option() -> None:
    known = {field.name for kind in (RL2Options, MAMLOptions, FineTuningOptions) for field in fields(kind)}
    assert {new for names in FORMER.values() for new in names} <= known | {"env_kwargs", "total_timesteps"}
