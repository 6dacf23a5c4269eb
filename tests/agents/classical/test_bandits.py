"""Bandit baselines get the rewards of REFERENCE tables, and act as their definitions say."""

from typing import Any

import pytest
import torch

import metarl
from metarl.agents.classical.bandits import (
    UCB1,
    BanditBaseline,
    BayesOptimalBandit,
    EpsilonGreedy,
    Gittins,
    Greedy,
    ThompsonSampling,
)
from metarl.evaluation.evaluator import evaluate
from metarl.tasks.policies import Transition

TRIALS = 10_000


def told(policy: BanditBaseline, pulls: list[tuple[int, float]]) -> BanditBaseline:
    """The policy after these pulls of (arm, reward) in all its tasks."""
    policy.begin()
    nothing, never = torch.zeros(policy.num_tasks, 1), torch.zeros(policy.num_tasks, dtype=torch.bool)
    for arm, reward in pulls:
        action = torch.full((policy.num_tasks,), arm)
        policy.observe(Transition(nothing, action, torch.full((policy.num_tasks,), reward), ~never, never, nothing))
    return policy


def action(policy: BanditBaseline) -> int:
    return int(policy.act(torch.zeros(policy.num_tasks, 1))[0])


@pytest.mark.parametrize(
    ("baseline", "pulls", "expected"),
    [
        (Greedy, 10, 6.569),
        (BayesOptimalBandit, 10, 6.65999),
        (Gittins, 10, 6.65999),
        (ThompsonSampling, 10, 5.84),
        (UCB1, 10, 6.65),
        (Greedy, 100, 75.09),
        (ThompsonSampling, 100, 74.94),
        (Gittins, 100, 78.63),
    ],
)
def test_known_rewards(baseline: type[BanditBaseline], pulls: int, expected: float) -> None:
    distribution = metarl.make("bernoulli-bandit", pulls=pulls)
    trials = TRIALS if pulls == 10 else 2000
    totals = evaluate(baseline(distribution, trials), distribution, trials).totals
    assert totals.mean() == pytest.approx(expected, abs=4 * totals.std() / trials**0.5)


def test_greedy_takes_the_largest_posterior_mean() -> None:
    bandit = metarl.make("bernoulli-bandit", arms=3)
    assert action(told(Greedy(bandit, 1), [(1, 1.0)])) == 1
    assert action(told(Greedy(bandit, 1), [(0, 0.0), (1, 1.0), (1, 0.0), (1, 0.0)])) == 2


def test_epsilon_greedy_explores_as_often_as_it_says() -> None:
    bandit = metarl.make("bernoulli-bandit", arms=4)
    policy = told(EpsilonGreedy(bandit, TRIALS, epsilon=0.2), [(2, 1.0)])
    other = (policy.act(torch.zeros(TRIALS, 1)) != 2).float().mean()
    assert float(other) == pytest.approx(0.2 * 3 / 4, abs=4 * (0.15 * 0.85 / TRIALS) ** 0.5)


def test_upper_bound_by_hand() -> None:
    """After two failures of arm 0: 1/4 + sqrt(2 ln 3 / 4) against 1/2 + sqrt(2 ln 3 / 2)."""
    bandit = metarl.make("bernoulli-bandit", arms=2)
    assert action(told(UCB1(bandit, 1, scale=1.0), [(0, 0.0), (0, 0.0)])) == 1
    failures = [(0, 1.0)] * 8 + [(1, 0.0)]
    assert action(told(UCB1(bandit, 1, scale=0.0), failures)) == 0
    assert action(told(UCB1(bandit, 1, scale=5.0), failures)) == 1


@pytest.mark.parametrize("options", [{}, {"num_episodes": 4}])
@pytest.mark.parametrize("baseline", [Gittins, BayesOptimalBandit])
def test_after_the_plan_comes_greed(baseline: type[BanditBaseline], options: dict[str, Any]) -> None:
    bandit = metarl.make("bernoulli-bandit", arms=2, pulls=6)
    policy = baseline(bandit, 1, **options)
    assert action(told(policy, [(0, 1.0)] * 9 + [(1, 0.0)] * 3)) == 0
    assert action(told(policy, [(0, 0.0)] * 9 + [(1, 1.0)] * 3)) == 1


def test_planned_length_matters() -> None:
    """Arm 0 paid 4 of 7: with many pulls to come a fresh arm is worth a try, at the last one it is not."""
    bandit = metarl.make("bernoulli-bandit", arms=2, pulls=8)
    history = [(0, 1.0)] * 4 + [(0, 0.0)] * 3
    assert action(told(Gittins(bandit, 1, num_episodes=8), history)) == 0
    assert action(told(Gittins(bandit, 1, num_episodes=60), history)) == 1
