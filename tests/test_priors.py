"""What task parameters are drawn from: bounds, types, evenness, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from metarl.priors import Choice, Integers, LogUniform, Prior, Uniform, as_prior, union
from metarl.seeding import generator


def bounds(prior: Prior) -> tuple[Any, Any]:
    return prior.space.low, prior.space.high


def drawn(prior: Prior, count: int = 4000, low: Any = None, high: Any = None) -> torch.Tensor:
    bounds = (
        prior.space.low if low is None else np.asarray(low),
        prior.space.high if high is None else np.asarray(high),
    )
    return prior.draw(count, *bounds, generator(0))


def test_uniform_draws_fill_their_bounds_evenly() -> None:
    values = drawn(Uniform(-1.0, 3.0))
    assert values.dtype == torch.float32
    assert -1 <= values.min() < -0.99
    assert 2.99 < values.max() <= 3
    assert values.mean().item() == pytest.approx(1, abs=0.06)


def test_log_uniform_draws_give_every_order_of_magnitude_its_share() -> None:
    values = drawn(LogUniform(0.01, 100.0))
    assert values.min() >= 0.01
    assert values.max() <= 100
    shares = (values.log10().floor().clamp(-2, 1).long() + 2).bincount() / len(values)
    assert shares.tolist() == pytest.approx([0.25] * 4, abs=0.03)


def test_integers_and_choices_are_drawn_alike() -> None:
    assert drawn(Integers(2, 5)).bincount().tolist() == pytest.approx([0, 0, 1000, 1000, 1000, 1000], abs=120)
    assert drawn(Choice((4, 8, 6))).bincount()[4:].tolist() == pytest.approx([1333, 0, 1333, 0, 1333], abs=130)
    assert drawn(Choice((0.5, 2))).dtype == torch.float32


def test_bounds_narrow_every_prior() -> None:
    assert set(drawn(Integers(0, 9), low=2.5, high=4).tolist()) == {3, 4}
    assert set(drawn(Choice((1, 2, 3)), low=2, high=9).tolist()) == {2, 3}
    assert drawn(LogUniform(0.1, 10), low=1.0).min() >= 1
    with pytest.raises(ValueError, match="no integer between"):
        drawn(Integers(0, 9), low=2.1, high=2.9)
    with pytest.raises(ValueError, match=r"none of \(1, 2\)"):
        drawn(Choice((1, 2)), low=3, high=4)


def test_arrays_of_bounds_make_independent_entries() -> None:
    values = drawn(Uniform(np.zeros(2), np.array([1.0, 10.0])))
    assert values.shape == (4000, 2)
    assert values.amax(0).tolist() == pytest.approx([1, 10], rel=0.01)
    assert abs(torch.corrcoef(values.T)[0, 1].item()) < 0.06


def test_other_bounds_keep_the_kind() -> None:
    assert Uniform(0, 1).within(1, 2).space == spaces.Box(1, 2, (), np.float32)
    assert LogUniform(1, 2).within(2, 4).space == spaces.Box(2, 4, (), np.float32)
    assert Integers(np.zeros(3), np.ones(3)).within(2, 3).space == spaces.Box(2, 3, (3,), np.int64)
    with pytest.raises(ValueError, match="name the values"):
        Choice((1, 2)).within(3, 4)


def test_ranges_and_boxes_stand_for_priors() -> None:
    assert as_prior("x", (0, 1)) == Uniform(0, 1)
    assert as_prior("x", LogUniform(1, 2)) == LogUniform(1, 2)
    assert isinstance(as_prior("x", spaces.Box(0, 4, (), np.int64)), Integers)
    assert as_prior("x", spaces.Box(0, 1, (3,))).space.shape == (3,)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1], r"'x' needs \(low, high\), a Box, or one of"),
        (3.0, r"'x' needs \(low, high\)"),
        ((1, 0), "'x' needs finite bounds, low <= high"),
        ((0, np.inf), "'x' needs finite bounds"),
        (spaces.Box(-np.inf, np.inf), "'x' needs finite bounds"),
    ],
)
def test_what_is_no_range_is_refused_by_name(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_prior("x", values)


def test_impossible_priors_are_refused() -> None:
    with pytest.raises(ValueError, match="positive bounds"):
        LogUniform(0, 1)
    with pytest.raises(ValueError, match="whole bounds"):
        Integers(0.5, 2)
    with pytest.raises(ValueError, match="finite numbers to choose from"):
        Choice(())
    with pytest.raises(ValueError, match="one shape and type"):
        union(Uniform(0, 1).space, Integers(0, 1).space)
