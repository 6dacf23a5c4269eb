"""The optimum that each native family names: published values, splits, and priors for which it is not known."""

import math

import pytest

import metarl
from metarl.tasks.distribution import OptimalReturn


def limit(name: str, split: str = "train", episodes: int | None = None, **options: object) -> OptimalReturn:
    optimum = metarl.make(name, **options).split(split).optimal_return(episodes)
    assert optimum is not None
    assert optimum.per_episode is None or sum(optimum.per_episode) == pytest.approx(optimum.total, abs=1e-3)
    return optimum


@pytest.mark.parametrize(
    ("name", "episodes", "total", "kind"),
    [
        ("bernoulli-bandit", None, 6.65999, "exact"),
        ("grid-navigation", None, 37.2143, "exact"),
        ("dark-room", 1, 2.5926, "exact"),
        ("point-navigation", 1, -0.506, "bound"),
        ("sparse-point-navigation", 1, 13.234, "bound"),
    ],
)
def test_published_values(name: str, episodes: int | None, total: float, kind: str) -> None:
    optimum = limit(name, episodes=episodes)
    assert optimum.total == pytest.approx(total, abs=5e-4)
    assert optimum.kind == kind


def test_tabular_bound_is_the_known_task() -> None:
    optimum = limit("tabular-mdp", episodes=10)
    assert optimum.kind == "bound"
    assert optimum.total == pytest.approx(218.4, abs=4 * optimum.error)
    assert optimum.error < 0.2


def test_dark_room_bound_is_not_exceeded_by_the_path_it_names() -> None:
    optimum = limit("dark-room")
    assert optimum.kind == "bound"
    assert optimum.total == pytest.approx(135.49, abs=0.01)
    assert 132.8 < float(optimum.source.split()[-1]) < optimum.total


def test_a_trial_may_have_another_length() -> None:
    assert limit("bernoulli-bandit", episodes=20).total == pytest.approx(14.28734, abs=5e-6)
    assert limit("grid-navigation", episodes=1).total == pytest.approx(4.0)
    assert limit("point-navigation", episodes=6).total == pytest.approx(2 * limit("point-navigation").total)


def test_splits_have_optima_of_their_own() -> None:
    assert limit("bernoulli-bandit", "ood").total == pytest.approx(3.0032, abs=1e-4)
    assert limit("grid-navigation", "ood", 1).total == pytest.approx(13.9)  # three cells around a corner
    assert limit("dark-room", "ood").kind == "exact"
    assert limit("point-navigation", "ood").total < limit("point-navigation").total
    assert limit("dark-room", variant="dpt", num_episodes=1).total < 92


def test_narrower_priors() -> None:
    bandit = metarl.make("bernoulli-bandit", arms=2)
    sure = bandit.where(means=(0.7, 0.7)).optimal_return()
    assert sure is not None
    assert sure.total == pytest.approx(7.0)
    assert bandit.where(means=((0.0, 0.5), (1.0, 1.0))).optimal_return() is None
    near = metarl.make("grid-navigation").where(goal=((0, 2), (0, 2))).optimal_return(1)
    assert near is not None
    assert near.total == pytest.approx(14 - 0.1)
    corner = metarl.make("point-navigation").where(goal=((0.3, 0.4), (0.3, 0.4))).optimal_return(1)
    assert corner is not None
    assert corner.total == pytest.approx(-(math.hypot(0.2, 0.3) + math.hypot(0.1, 0.2) + 0.1), abs=1e-6)


@pytest.mark.parametrize(
    "name", ["bernoulli-bandit", "tabular-mdp", "grid-navigation", "dark-room", "point-navigation"]
)
def test_no_episodes_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r">= 1|at least 1"):
        metarl.make(name).optimal_return(0)
