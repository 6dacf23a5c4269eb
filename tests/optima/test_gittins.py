"""The finite-horizon Gittins index against closed forms and the exact optimum."""

import math

import pytest
import torch

from metarl import seeding
from metarl.optima.bandits import arm_number, posterior_means, solve
from metarl.optima.gittins import index_table, optimal_return, simulated_regret


def fresh_index(horizon: int, low: float = 0.0, high: float = 1.0) -> float:
    return float(index_table(horizon, low, high)(torch.zeros(1, 1, dtype=torch.int64), torch.tensor([horizon])))


def test_one_pull_is_worth_the_mean() -> None:
    numbers = torch.arange(10)[None]  # all arms pulled at most three times
    index = index_table(4)(numbers, torch.tensor([1]))[0]
    torch.testing.assert_close(index, torch.from_numpy(posterior_means(3)).float())


@pytest.mark.parametrize(("low", "high", "exact"), [(0.0, 1.0, 5 / 9), (0.0, 0.5, 5 / 18)])
def test_two_pulls_of_a_fresh_arm(low: float, high: float, exact: float) -> None:
    """For x the price: m - x + m (m' - x) = 0, with m' the mean after a success."""
    mean, after = (low + high) / 2, float(posterior_means(1, low, high)[2])
    assert fresh_index(2, low, high) == pytest.approx(mean * (1 + after) / (1 + mean), abs=1e-3)


def test_more_time_makes_the_unknown_worth_more() -> None:
    indices = [fresh_index(horizon) for horizon in (1, 2, 5, 20, 60)]
    assert indices == sorted(indices)
    assert indices[-1] < 1


def test_the_less_tried_of_equals_is_worth_more() -> None:
    counts = torch.tensor([0, 1, 2, 4])
    index = index_table(20)(arm_number(counts, counts)[None], torch.tensor([10]))[0].tolist()
    assert index == sorted(index, reverse=True)


def test_index_policy_is_nearly_optimal() -> None:
    trials = 20_000
    regret = simulated_regret(5, 10, trials, seeding.generator(0, "test")).double().sum(1)
    total = 10 * 5 / 6 - float(regret.mean())
    assert total == pytest.approx(solve(5, 10).total, abs=4 * float(regret.std()) / math.sqrt(trials))


def test_long_trials_are_simulated() -> None:
    limit = optimal_return(5, 100)
    assert limit.kind == "simulated"
    assert limit.total == pytest.approx(78.63, abs=4 * math.hypot(limit.error, 0.03))
    assert limit.per_episode is not None
    assert sum(limit.per_episode) == pytest.approx(limit.total, abs=1e-3)


def test_no_pulls_are_refused() -> None:
    with pytest.raises(ValueError, match="pulls >= 1"):
        optimal_return(5, 0)
