"""The exact bandit solver against published values, plain recursion and integrals."""

import functools
import itertools

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from metarl.optima.bandits import arm_number, count_states, posterior_means, pulls_of_numbers, solvable, solve


def recursive_value(arms: int, horizon: int) -> float:
    """The Bayes-optimal reward without any symmetry."""

    @functools.cache
    def value(counts: tuple[tuple[int, int], ...], left: int) -> float:
        if left == 0:
            return 0.0
        best = 0.0
        for i, (won, lost) in enumerate(counts):
            chance = (won + 1) / (won + lost + 2)
            paid = value((*counts[:i], (won + 1, lost), *counts[i + 1 :]), left - 1)
            failed = value((*counts[:i], (won, lost + 1), *counts[i + 1 :]), left - 1)
            best = max(best, chance * (1 + paid) + (1 - chance) * failed)
        return best

    return value(((0, 0),) * arms, horizon)


@pytest.mark.parametrize(("arms", "horizon", "total"), [(5, 10, 6.65999), (2, 10, 6.02179), (5, 20, 14.28734)])
def test_known_values(arms: int, horizon: int, total: float) -> None:
    assert solve(arms, horizon).total == pytest.approx(total, abs=5e-6)


@pytest.mark.parametrize(("arms", "horizon"), [(2, 6), (3, 5), (4, 3), (2, 1)])
def test_equals_plain_recursion(arms: int, horizon: int) -> None:
    assert solve(arms, horizon).total == pytest.approx(recursive_value(arms, horizon), rel=1e-12)


def test_arms_that_cannot_all_be_pulled_add_nothing() -> None:
    assert solve(7, 3).total == pytest.approx(solve(3, 3).total)
    assert solve(4, 3).choose(torch.tensor([[0, 0, 0, 1]])).item() != 3  # a failure: rather a fresh arm


def test_states_are_counted_before_they_are_made() -> None:
    assert count_states(5, 10) == len(solve(5, 10).keys) == 1951
    assert count_states(2, 10) == len(solve(2, 10).keys)


def test_rewards_rise_to_the_total_and_start_at_the_prior_mean() -> None:
    solution = solve(3, 8, 0.2, 0.6)
    assert solution.per_pull[0] == pytest.approx(0.4)
    assert sum(solution.per_pull) == pytest.approx(solution.total)
    assert 8 * 0.4 < solution.total < 8 * (0.2 + 0.4 * 3 / 4)


def test_choice_follows_the_arms_when_they_are_permuted() -> None:
    solution = solve(3, 10)
    counts = torch.tensor([[2, 0], [1, 1], [0, 2]])
    for order in itertools.permutations(range(3)):
        numbers = arm_number(*counts[list(order)].unbind(1))[None]
        assert order[int(solution.choose(numbers))] == 0


def test_last_pull_is_greedy() -> None:
    solution = solve(2, 4)
    won, lost = torch.tensor([[1, 0], [0, 1]]), torch.tensor([[1, 1], [0, 2]])
    assert solution.choose(arm_number(won, lost)).tolist() == [0, 0]


def test_too_many_states_are_refused() -> None:
    assert not solvable(5, 100)
    with pytest.raises(ValueError, match="5 arms and 100 pulls"):
        solve(5, 100)


def test_posterior_means_of_a_narrow_prior_are_integrals() -> None:
    low, high, won, lost = 0.1, 0.35, 7, 4
    weight, moment = (
        quad(lambda p, r=r: p ** (won + r) * (1 - p) ** lost, low, high, epsabs=0, epsrel=1e-12)[0] for r in (0, 1)
    )
    number = int(arm_number(torch.tensor(won), torch.tensor(lost)))
    assert posterior_means(12, low, high)[number] == pytest.approx(moment / weight, rel=1e-9)


def test_posterior_means_of_nearly_the_whole_interval() -> None:
    np.testing.assert_allclose(posterior_means(30, 0.0, 1.0 - 1e-13), posterior_means(30), rtol=1e-9)


def test_numbers_enumerate_arms() -> None:
    arms = [(won, pulls - won) for pulls in range(4) for won in range(pulls + 1)]
    numbers = arm_number(*torch.tensor(arms).unbind(1))
    assert numbers.tolist() == list(range(10))
    assert pulls_of_numbers(3).tolist() == [won + lost for won, lost in arms]
