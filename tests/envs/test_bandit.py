"""Bernoulli bandits: payouts, priors and the returns of policies that need no learning."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import metarl
from metarl.seeding import generator

BANDIT = metarl.make("bernoulli-bandit", arms=3, pulls=7)


def test_arms_pay_with_their_own_probability(device: str) -> None:
    """Each of 30000 pulls per arm; five standard errors are 5 * sqrt(p (1 - p) / 30000) < .015."""
    env = BANDIT.vector_env(90_000, device)
    env.set_tasks(BANDIT.tasks(means=[[0.0, 0.25, 0.9]]).repeat(90_000))
    env.reset(seed=0)
    pulled = torch.arange(90_000, device=device) % 3
    observation, reward, terminated, truncated, _ = env.step(pulled)
    for arm, mean in enumerate([0.0, 0.25, 0.9]):
        assert reward[pulled == arm].mean().item() == pytest.approx(mean, abs=0.015)
    assert set(reward.tolist()) == {0.0, 1.0}
    assert terminated.all()
    assert not truncated.any()
    assert not observation.any()  # it is constant


def test_a_trial_is_one_pull_per_episode() -> None:
    assert (BANDIT.horizon, BANDIT.num_episodes) == (1, 7)


@pytest.mark.parametrize(("split", "high"), [("train", 1.0), ("test", 1.0), ("ood", 0.5)])
def test_payouts_are_uniform(split: str, high: float) -> None:
    means = BANDIT.split(split).sample(20_000, generator(0))["means"]
    quantiles = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(means.flatten().quantile(quantiles), high * quantiles, atol=0.01, rtol=0)


@pytest.mark.parametrize(("best", "expected"), [(False, 1 / 2), (True, 5 / 6)])
def test_random_and_best_arm(best: bool, expected: float, episode_returns: Callable[..., Tensor]) -> None:
    """A random pull pays 1/2 and the best of five arms k/(k+1) = 5/6."""
    bandit = metarl.make("bernoulli-bandit")
    tasks = bandit.sample(40_000, generator(0))
    arms = tasks["means"].argmax(1) if best else torch.randint(5, (40_000,), generator=generator(1))
    total = episode_returns(bandit, tasks, lambda observation, env: arms)
    assert total.mean().item() == pytest.approx(expected, abs=5 * (expected * (1 - expected) / 40_000) ** 0.5)


def test_impossible_options_are_refused() -> None:
    for options in ({"arms": 1}, {"pulls": 0}):
        with pytest.raises(ValueError, match="arms >= 2 and pulls >= 1"):
            metarl.make("bernoulli-bandit", **options)
