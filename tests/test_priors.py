"""What task parameters are drawn from: bounds, types, evenness, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

import metarl
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
    assert values.dtype == torch.float64
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
    assert drawn(Choice((0.5, 2))).dtype == torch.float64


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
    assert Uniform(0, 1).within(1, 2).space == spaces.Box(1, 2, (), np.float64)
    assert LogUniform(1, 2).within(2, 4).space == spaces.Box(2, 4, (), np.float64)
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


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e6 + 0.3, 1e-9, -2.7])
@pytest.mark.parametrize("kind", ["choice", "equal bounds", "given", "where", "array"])
def test_numbers_reach_the_environment_as_they_were_named(value: float, kind: str) -> None:
    """In float32 all of these are others."""
    prior: Any = {"choice": Choice((value,)), "equal bounds": (value, value)}.get(kind, (value - 1, value + 1))
    if kind == "array":
        prior = spaces.Box(np.array([value, 0.0]), np.array([value, 1.0]), dtype=np.float64)
    family = metarl.from_gym("Pendulum-v1", {"g": prior}, max_episode_steps=5)
    options = {"task": {"g": value}} if kind == "given" else None
    env = (family.where(g=(value, value)) if kind == "where" else family).env()
    env.reset(seed=0, options=options)
    met = vars(env.unwrapped)["g"]
    assert (met[0] if kind == "array" else met) == value


def test_near_large_numbers_tasks_do_not_fall_together() -> None:
    assert len(set(drawn(Uniform(1e9, 1e9 + 1)).tolist())) > 3900


@pytest.mark.parametrize(
    "values", [("wood", "steel"), ("a.xml", 1), ((1, 2), (3, 4)), (np.zeros(2), np.ones(3)), [None]]
)
def test_words_and_arrays_to_choose_from_are_refused_with_what_to_do(values: Any) -> None:
    with pytest.raises(ValueError, match=r"(?s)Choice needs finite numbers .*number what else varies.*apply="):
        Choice(values)
    with pytest.raises(ValueError, match="'map' needs numbers as bounds, got 'a' and 'b'"):
        as_prior("map", ("a", "b"))


def test_a_task_vector_spans_its_bounds_however_small_they_are() -> None:
    family = metarl.from_gym("Pendulum-v1", {"g": (1e-15, 3e-15), "m": (2.0, 2.0)}, max_episode_steps=5)
    vector = family.tasks(g=[1e-15, 2e-15, 3e-15], m=[2.0] * 3).vector()
    assert vector.dtype == torch.float32
    assert vector[:, 0].tolist() == pytest.approx([-1, 0, 1], abs=1e-6)
    assert vector[:, 1].tolist() == [-1] * 3
