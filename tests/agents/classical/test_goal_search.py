"""Searchers get the returns of the reference tables, episode by episode."""

import numpy as np
import pytest
import torch

import metarl
from metarl.agents.classical.goal_search import BayesOptimalSearch, GoalPosteriorSampling
from metarl.evaluation.evaluator import evaluate
from metarl.evaluation.results import Evaluation
from metarl.optima import goal_search
from metarl.optima.goal_search import GoalCells
from metarl.tasks.policies import AdaptivePolicy, Transition

TRIALS = 4000


def agrees(result: Evaluation, expected: list[float]) -> bool:
    """Within 4 standard errors in each episode."""
    errors = result.returns.std(0) / len(result.returns) ** 0.5
    return bool((np.abs(result.returns.mean(0) - expected) < 4 * errors + 1e-3).all())


def test_posterior_sampling_on_the_grid() -> None:
    grid = metarl.make("grid-navigation")
    assert agrees(evaluate(GoalPosteriorSampling(grid, TRIALS), grid, TRIALS), [2.99, 7.85, 10.47, 11.03])


def test_optimal_search_on_the_grid() -> None:
    grid = metarl.make("grid-navigation")
    assert agrees(evaluate(BayesOptimalSearch(grid, TRIALS), grid, TRIALS), [4.0, 11.0714, 11.0714, 11.0714])


@pytest.mark.parametrize("name", ["grid-navigation", "dark-room"])
def test_search_gets_exactly_what_its_plan_says(name: str) -> None:
    """One task for each goal, so there is no noise at all."""
    family = metarl.make(name)
    assert isinstance(family, GoalCells)
    plan = goal_search.search(goal_search.problem(family))
    tasks = family.tasks(goal=family.candidates())
    returns = lived(BayesOptimalSearch(family, len(tasks)), family, tasks)
    np.testing.assert_allclose(returns.mean(0), plan.per_episode, rtol=1e-5)


def lived(policy: AdaptivePolicy, family: metarl.TaskDistribution, tasks: metarl.Tasks) -> np.ndarray:
    """Returns `[tasks, episodes]` of a trial in each of these tasks."""
    env = family.vector_env(len(tasks))
    env.set_tasks(tasks)
    policy.begin()
    observation, _ = env.reset(seed=0)
    rewards = []
    for _ in range(family.num_episodes * family.horizon):
        action = policy.act(observation)
        following, reward, terminated, truncated, info = env.step(action)
        policy.observe(Transition(observation, action, reward, terminated, truncated, info["final_obs"]))
        observation = following
        rewards.append(reward.numpy())
    return np.asarray(np.stack(rewards, 1).reshape(len(tasks), family.num_episodes, family.horizon).sum(-1))


def test_visited_cells_are_never_sought_again() -> None:
    grid = metarl.make("grid-navigation")
    policy = GoalPosteriorSampling(grid, 100)
    never = torch.zeros(100, dtype=torch.bool)
    policy.begin()
    seen: list[int] = []
    for cell in range(24):  # all but the last cell were seen, without reward
        at = torch.full((100,), cell)
        policy.observe(Transition(at, at * 0, torch.full((100,), -0.1), never, never, at))
        seen.append(cell)
        policy.act(at)
        assert not set(policy._target.tolist()) & set(seen)
    assert set(policy._target.tolist()) == {24}


def test_a_shorter_trial_is_searched_otherwise() -> None:
    room = metarl.make("dark-room", num_episodes=1)
    short = evaluate(BayesOptimalSearch(room, 500), room, 500).totals.mean()
    assert short == pytest.approx(2.593, abs=0.8)
    assert BayesOptimalSearch(room, 1, num_episodes=2)._path.shape == (40,)
