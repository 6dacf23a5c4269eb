"""The native engine and its single environments."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

import metarl
from metarl.engines.native import NativeEnv
from metarl.seeding import generator

POINT = metarl.make("point-navigation")
MDP = metarl.make("tabular-mdp")


def test_the_seed_restarts_the_stream(device: str) -> None:
    env = MDP.vector_env(50, device)
    env.set_tasks(MDP.sample(50, generator(0)))
    seen = []
    for seed in (3, 4, 3):
        env.reset(seed=seed)
        steps = [env.step(torch.zeros(50, dtype=torch.int64, device=device)) for _ in range(15)]
        seen.append(torch.stack([step[1] for step in steps]))
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0], seen[1])
    assert len(set(seen[0][0].tolist())) == 50  # slots do not share their noise


def test_two_environments_are_independent_of_each_other() -> None:
    one, other = MDP.vector_env(2), MDP.vector_env(2)
    tasks, action = MDP.sample(2, generator(0)), torch.zeros(2, dtype=torch.int64)
    for env in (one, other):
        env.set_tasks(tasks)
        env.reset(seed=0)
    rewards = [one.step(action)[1] for _ in range(3)]
    assert all(torch.equal(other.step(action)[1], reward) for reward in rewards)


def test_a_single_environment_takes_its_task_from_reset() -> None:
    env: Any = gymnasium.make("metarl/grid-navigation-v1")
    for goal, rewards in (([0, 1], [1, -0.1]), ([0, 2], [-0.1, 1])):
        env.reset(seed=0, options={"task": {"goal": goal}})
        assert [env.step(1)[1] for _ in range(2)] == pytest.approx(rewards)
        env.reset()  # a soft reset
        assert [env.step(1)[1] for _ in range(2)] == pytest.approx(rewards)


def test_a_single_environment_draws_a_task_unless_it_is_given_one() -> None:
    env = POINT.env()
    goals = []
    for seed in (0, None, None, 0):
        env.reset(seed=seed)
        assert isinstance(env, NativeEnv)
        assert env.task is not None
        goals.append(tuple(env.task["goal"][0].tolist()))
    assert len(set(goals)) == 3
    assert goals[0] == goals[3]
    fixed = POINT.env(POINT.tasks(goal=[[0.25, 0.5]]))
    fixed.reset(seed=0)
    fixed.reset(seed=1)
    assert fixed.step(np.zeros(2, np.float32))[1] == pytest.approx(-((0.25**2 + 0.5**2) ** 0.5))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_single_environment_gives_values_of_its_space(kind: type) -> None:
    env = POINT.env(POINT.tasks(goal=[[0.25, 0.5]]))
    env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(np.array([1.0, -1.0], kind))
    assert observation in env.observation_space
    assert observation.tolist() == pytest.approx([0.1, -0.1])
    assert [type(value) for value in (reward, terminated, truncated, info)] == [float, bool, bool, dict]


def test_options_reach_the_registered_environment() -> None:
    env = gymnasium.make("metarl/bernoulli-bandit-v1", arms=3)
    assert env.action_space == gymnasium.spaces.Discrete(3)


def test_misuse_of_a_single_environment_is_refused() -> None:
    env = POINT.env()
    with pytest.raises(RuntimeError, match="call reset before step"):
        env.step(np.zeros(2))
    with pytest.raises(ValueError, match="parameter 'goal' must lie in"):
        env.reset(options={"task": {"goal": [0.0, 3.0]}})
    with pytest.raises(ValueError, match="takes one task, got 2"):
        POINT.env(POINT.sample(2, generator(0)))
    with pytest.raises(ValueError, match="takes one task, got 2"):
        env.reset(options={"task": POINT.sample(2, generator(0))})
    with pytest.raises(ValueError, match="render_mode is 'rgb_array' or None"):
        POINT.env(render_mode="human")
