"""Planners of tabular MDPs: posteriors by hand, optimality once everything is known, and measured returns."""

from itertools import pairwise

import pytest
import torch

import metarl
from metarl import seeding
from metarl.agents.classical.mdps import Belief, BonusPlanner, EpisodicPlanner, OptimisticPlanner
from metarl.agents.classical.mdps import PosteriorSamplingMDP as Psrl
from metarl.evaluation.evaluator import evaluate
from metarl.optima import planning
from metarl.tasks.policies import Transition

PLANNERS = [Psrl, BonusPlanner, OptimisticPlanner]
TRIALS = 1000


def test_posterior_by_hand() -> None:
    moves, sums = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2)
    moves[0, 0, 1] = torch.tensor([1.0, 2.0])
    sums[0, 0, 1] = 6.0
    belief = Belief(moves, sums)
    assert belief.visits[0].tolist() == [[0, 3], [0, 0]]
    assert belief.rewards[0].tolist() == [[1.0, 1.75], [1.0, 1.0]]
    torch.testing.assert_close(belief.transitions[0, 0], torch.tensor([[0.5, 0.5], [0.4, 0.6]]))


@pytest.mark.parametrize("planner", PLANNERS)
def test_much_experience_gives_the_optimum(planner: type[EpisodicPlanner]) -> None:
    distribution = metarl.make("tabular-mdp", states=4, actions=3, max_episode_steps=5)
    tasks = distribution.sample(20, seeding.generator(0))
    visits = 1e8
    belief = Belief(visits * tasks["transitions"], visits * tasks["rewards"])
    plan = planner(distribution, 20).plan(belief)
    values, best = planning.value_iteration(tasks["rewards"], tasks["transitions"], 5)
    assert (plan == best).float().mean() > 0.995  # but for near ties
    assert values.shape == best.shape


@pytest.mark.parametrize(("planner", "expected"), [(Psrl, 133.4), (BonusPlanner, 150.9), (OptimisticPlanner, 150.7)])
def test_returns_are_those_measured_with_many_tasks(planner: type[EpisodicPlanner], expected: float) -> None:
    distribution = metarl.make("tabular-mdp")
    result = evaluate(planner(distribution, TRIALS), distribution, TRIALS)
    assert result.totals.mean() == pytest.approx(expected, abs=4 * result.totals.std() / TRIALS**0.5)
    assert result.gains.mean() > 5


def test_plans_change_at_the_start_of_an_episode_only() -> None:
    distribution = metarl.make("tabular-mdp", states=3, actions=2, max_episode_steps=4)
    planner, env = Psrl(distribution, 50), distribution.vector_env(50)
    env.set_tasks(distribution.sample(50, seeding.generator(0)))
    planner.begin()
    plans = []
    observation, _ = env.reset(seed=0)
    for _ in range(8):
        action = planner.act(observation)
        plans.append(planner._plan.clone())
        following, reward, terminated, truncated, info = env.step(action)
        planner.observe(Transition(observation, action, reward, terminated, truncated, info["final_obs"]))
        observation = following
    changed = [bool((a != b).any()) for a, b in pairwise(plans)]
    assert changed == [False, False, False, True, False, False, False]
