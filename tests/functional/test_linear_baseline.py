import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.functional import linear_baseline as baselines
from metarl.functional.linear_baseline import (
    fit_linear,
    linear_advantages,
    linear_features,
    linear_values,
    normalised_in_tasks,
    normalised_together,
    observation_features,
)
from metarl.functional.returns import episode_gae, episode_returns, gae, time_in_episode

DONE = torch.tensor([[False, True, False, False]])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_returns_stop_at_the_end_of_an_episode() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    assert episode_returns(rewards, DONE, 0.5).tolist() == [[2.0, 2.0, 8.0, 8.0]]


def test_episode_gae_by_hand_and_as_gae_within_one_episode() -> None:
    rewards, values = torch.tensor([[1.0, 2.0, 4.0, 8.0]]), torch.tensor([[1.0, 1.0, 2.0, 4.0]])
    # deltas: 1 + .5 - 1, 2 - 1, 4 + 2 - 2, 8 - 4; gamma times lambda is .5 * .5
    expected = torch.tensor([[0.5 + 0.25 * 1, 1.0, 4.0 + 0.25 * 4, 4.0]])
    torch.testing.assert_close(episode_gae(rewards, values, DONE, 0.5, 0.5), expected)
    rewards, values = draw(2, 3, 20)
    torch.testing.assert_close(
        episode_gae(rewards, values, torch.zeros(3, 20, dtype=torch.bool), 0.9, 0.7), gae(rewards, values, 0.9, 0.7)
    )


def test_time_counts_from_the_start_of_each_episode() -> None:
    assert time_in_episode(DONE).tolist() == [[0, 1, 0, 1]]


def test_features_by_hand() -> None:
    features = linear_features(torch.tensor([[3.0, -20.0]]), torch.tensor([50]))
    expected = [[3.0, -10.0, 9.0, 100.0, 0.5, 0.25, 0.125, 1.0]]
    torch.testing.assert_close(features, torch.tensor(expected, dtype=torch.float64))


def test_a_linear_target_is_fitted_in_each_task_apart() -> None:
    features, weights = draw(3, 4, 10, 5), draw(3, 5, seed=1)
    target = linear_values(features, weights)
    every = torch.ones(3, 4, 10, dtype=torch.bool)
    torch.testing.assert_close(fit_linear(features, target, every), weights, rtol=1e-5, atol=1e-5)


def test_fit_is_ridge_regression_on_valid_steps() -> None:
    features, target = draw(2, 3, 6, 4), draw(2, 3, 6, seed=1)
    valid = torch.rand(2, 3, 6, generator=torch.Generator().manual_seed(2)) < 0.7
    features[~valid], target[~valid] = math.nan, math.inf  # what is not valid may hold anything
    weights = fit_linear(features, target, valid)
    for task in range(2):
        x, y = features[task][valid[task]], target[task][valid[task]]
        # ridge regression is ordinary least squares with rows sqrt(ridge) I and targets 0 appended
        rows = torch.cat([x, math.sqrt(baselines.RIDGE) * torch.eye(4, dtype=torch.float64)])
        expected = torch.linalg.lstsq(rows, torch.cat([y, torch.zeros(4, dtype=torch.float64)])[:, None]).solution
        torch.testing.assert_close(weights[task], expected[:, 0], rtol=1e-8, atol=1e-10)


def test_ridge_is_raised_in_the_tasks_that_need_it_only(monkeypatch: pytest.MonkeyPatch) -> None:
    features, target = draw(2, 1, 6, 2), draw(2, 1, 6, seed=1)
    features[1, ..., 1] = features[1, ..., 0] = 1e8  # X'X swallows a ridge of 1e-5: the system is singular
    valid = torch.ones(2, 1, 6, dtype=torch.bool)
    weights = fit_linear(features, target, valid)
    assert weights.isfinite().all()
    torch.testing.assert_close(weights[:1], fit_linear(features[:1], target[:1], valid[:1]))
    prediction = linear_values(features, weights)[1]
    torch.testing.assert_close(prediction, target[1].mean().expand_as(prediction))
    monkeypatch.setattr(baselines, "LARGEST_RIDGE", 0.0)
    with pytest.raises(ValueError, match="task 1: no linear baseline"):
        fit_linear(features, target, valid)


def test_advantages_are_returns_minus_the_fitted_baseline() -> None:
    """A reward of -(time) has returns that are a polynomial of time: the baseline explains them all."""
    steps = 50
    done = torch.zeros(2, 3, steps, dtype=torch.bool)
    done[..., 19] = True  # episodes of 20 and 30 steps, told apart by the observation
    time = time_in_episode(done).double()
    observation = torch.where(torch.arange(steps) < 20, 1.0, 0.0).expand(2, 3, steps)[..., None]
    reward = -time
    advantage = linear_advantages(observation, reward, done, torch.ones_like(done), gamma=1.0)
    assert advantage.dtype == reward.dtype
    assert advantage.abs().max() < 1.0  # what the ridge costs, of returns down to -435
    pulled = linear_advantages(observation, reward + draw(2, 3, steps), done, torch.ones_like(done), gamma=1.0)
    assert abs(float(pulled.mean())) < 1e-3  # residuals of a fit with a constant feature
    assert pulled.std() > 0.5


def test_advantages_ignore_steps_that_are_not_valid() -> None:
    observation, reward = draw(2, 3, 12, 2), draw(2, 3, 12, seed=1)
    done, valid = torch.zeros(2, 3, 12, dtype=torch.bool), torch.arange(12).expand(2, 3, 12) < 8
    done[..., 7] = True
    padded = reward.masked_fill(~valid, 1e9)
    cut = linear_advantages(observation[:, :, :8], reward[..., :8], done[..., :8], valid[..., :8], 0.9, 0.95)
    whole = linear_advantages(observation, padded, done, valid, 0.9, 0.95)
    torch.testing.assert_close(whole[..., :8], cut)


def test_advantages_are_normalised_in_each_task_over_valid_steps() -> None:
    x, valid = draw(3, 2, 10) * torch.tensor([1.0, 10.0, 100.0])[:, None, None], torch.ones(3, 2, 10, dtype=torch.bool)
    valid[:, :, 6:] = False
    x[~valid] = math.nan
    y = normalised_in_tasks(x, valid)
    assert (y[~valid] == 0).all()
    rows = y[valid].view(3, -1)
    torch.testing.assert_close(rows.mean(1), torch.zeros(3).double(), atol=1e-12, rtol=0.0)
    torch.testing.assert_close(rows.std(1, correction=0), torch.ones(3).double())
    valid[2] = False
    with pytest.raises(ValueError, match="task 2: no step is valid"):
        normalised_in_tasks(x, valid)


def test_advantages_normalised_together_keep_what_tasks_have_at_stake() -> None:
    scale = torch.tensor([1.0, 10.0, 100.0]).double()
    x, valid = draw(3, 2, 10) * scale[:, None, None] + 5, torch.ones(3, 2, 10, dtype=torch.bool)
    valid[:, :, 6:] = False
    x[~valid] = math.nan
    y = normalised_together(x, valid)
    assert (y[~valid] == 0).all()
    rows = y[valid].view(3, -1)
    torch.testing.assert_close(rows.mean(1), torch.zeros(3).double(), atol=1e-12, rtol=0.0)
    torch.testing.assert_close(rows.var(1, correction=0).mean(), torch.ones(()).double())
    torch.testing.assert_close(
        y / y[0, 0, 0],
        (x - x[valid].view(3, -1).mean(1)[:, None, None]).where(valid, 0.0) / (x[0, 0, 0] - x[0][valid[0]].mean()),
    )


def test_returns_that_are_not_finite_are_refused_by_task() -> None:
    features, target = draw(2, 1, 6, 2), draw(2, 1, 6)
    target[1, 0, 3] = math.nan
    with pytest.raises(ValueError, match="task 1: no linear baseline fits returns that are not finite"):
        fit_linear(features, target, torch.ones(2, 1, 6, dtype=torch.bool))


def test_wide_observations_are_sketched_and_products_stay_the_same_in_the_mean() -> None:
    space = spaces.Box(-1, 1, (30, 100))
    stream = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 50, 30, 100, generator=stream)
    seen = observation_features(one, space)
    assert seen.shape == (50, 256)
    assert seen.square().mean().item() == pytest.approx(1, abs=0.05)  # of entries of variance 1
    ratio = (seen * observation_features(one + other, space)).sum(1) / seen.square().sum(1)
    assert ratio.mean().item() == pytest.approx(1, abs=0.05)
    narrow = spaces.Box(-1, 1, (512,))
    assert observation_features(torch.ones(2, 512), narrow).shape == (2, 512)


@pytest.mark.parametrize(
    "space",
    [spaces.Discrete(5000, start=3), spaces.MultiDiscrete([400, 300], start=[1, 0]), spaces.MultiDiscrete([5] * 200)],
)
def test_wide_integers_are_sketched_without_a_column_for_each(space: Any) -> None:
    space.seed(0)
    values = torch.as_tensor(np.array([space.sample() for _ in range(64)]))
    seen = observation_features(values, space)
    assert seen.shape == (64, 256)
    torch.testing.assert_close(seen, observation_features(values.clone(), space))
    digits = 1 if isinstance(space, spaces.Discrete) else len(space.nvec)
    assert seen.abs().sum(1).max().item() <= digits
    same = (values[:, None] == values[None]).reshape(64, 64, -1).all(-1)
    assert ((seen[:, None] == seen[None]).all(-1) & ~same).float().mean() < 0.02  # almost no two fall together


def test_a_wide_linear_target_is_still_a_better_baseline_than_none() -> None:
    stream = torch.Generator().manual_seed(2)
    x = torch.randn(1, 40, 50, 700, generator=stream)
    reward = x[..., 0] + x[..., 699]
    done = torch.ones(1, 40, 50, dtype=torch.bool)
    features = observation_features(x, spaces.Box(-9, 9, (700,)))
    advantage = linear_advantages(features, reward, done, done, 0.9, 1.0)
    assert advantage.var() < 0.9 * reward.var()
