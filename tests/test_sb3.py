"""Stable-Baselines3 on task distributions: its conventions kept, on every engine, with tasks that stay or change."""

import contextlib
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecMonitor, VecNormalize

import metarl
from metarl import seeding
from metarl.contracts.clauses import untouched_by
from metarl.engines.native import NativeVectorEnv
from metarl.registry import distributions
from metarl.sb3 import SB3Spaces, TaskVecEnv
from metarl.seeding import borrowed_randomness


def stepped(env: VecEnv, actions: np.ndarray) -> tuple[Any, Any, Any, Any]:
    """Observations, rewards, dones and infos, whatever a VecEnv may be."""
    return env.step(actions)


def test_ends_of_episodes_are_told_as_stable_baselines_expects() -> None:
    """Two steps of .1 lead to the first goal, where the episode ends; the other one runs out of time at step 100."""
    distribution = metarl.make("point-navigation")
    env = TaskVecEnv(distribution, tasks=distribution.tasks(goal=[[0.2, 0.0], [-0.4, 0.0]]))
    assert env.reset().tolist() == [[0, 0], [0, 0]]
    right = np.array([[1.0, 0.0]] * 2, np.float32)
    _, rewards, dones, infos = stepped(env, right)
    np.testing.assert_allclose(rewards, [-0.1, -0.5], rtol=1e-6)
    assert not dones.any()
    assert infos == [{"TimeLimit.truncated": False}] * 2
    observation, rewards, dones, infos = stepped(env, right)
    assert dones.tolist() == [True, False]
    assert infos[0]["terminal_observation"].tolist() == pytest.approx([0.2, 0.0])
    assert infos[0]["TimeLimit.truncated"] is False
    assert observation[0].tolist() == [0, 0]
    for _ in range(98):
        observation, _, dones, infos = stepped(env, right)
    assert infos[1]["TimeLimit.truncated"] is True
    assert infos[1]["terminal_observation"][0] == pytest.approx(10, rel=1e-4)
    assert observation[1].tolist() == [0, 0]
    assert env.tasks.to_json() == distribution.tasks(goal=[[0.2, 0.0], [-0.4, 0.0]]).to_json()


def test_a_new_task_comes_with_every_episode_and_only_then(user_project: Path) -> None:
    env = TaskVecEnv(metarl.make("drift_family:drift"), 6, seed=1)
    env.reset()
    changed = np.zeros(6)
    for _ in range(20):
        before = env.tasks["drift"].clone()
        observation, _, dones, _ = stepped(env, np.ones((6, 1), np.float32))
        np.testing.assert_array_equal((env.tasks["drift"] != before).numpy(), dones)
        assert (np.abs(observation[dones]) <= 0.1).all()  # the first one of the new episode
        changed += dones
    assert len(set(changed.tolist())) > 1  # they did not end in step
    env.close()


@pytest.mark.parametrize("name", ["bernoulli-bandit", "drift_family:drift"])
def test_a_seed_repeats_tasks_and_dynamics(name: str, user_project: Path) -> None:
    def play(env: TaskVecEnv) -> list[np.ndarray]:
        actions = np.zeros((3, *env.action_space.shape), env.action_space.dtype)  # type: ignore[misc]
        first = env.reset()
        return [first, *(x for _ in range(8) for x in stepped(env, actions)[:2])]

    env, other = (TaskVecEnv(metarl.make(name), 3, seed=seed) for seed in (5, 6))
    once, going_on = play(env), play(env)
    env.seed(5)
    assert all(np.array_equal(a, b) for a, b in zip(once, play(env), strict=True))
    for different in (going_on, play(other)):
        assert not all(np.array_equal(a, b) for a, b in zip(once, different, strict=True))
    env.close()
    other.close()


@pytest.mark.parametrize("name", [*distributions(), "drift_family:drift"])
def test_ppo_learns_in_every_family(name: str, user_project: Path) -> None:
    env = VecMonitor(TaskVecEnv(metarl.make(name), 4))
    model = PPO("MlpPolicy", env, n_steps=208, batch_size=832, n_epochs=1, seed=0, device="cpu").learn(832)
    assert model.ep_info_buffer
    assert all(1 <= episode["l"] <= metarl.make(name).horizon for episode in model.ep_info_buffer)
    env.close()


def test_other_algorithms_and_wrappers_take_it_too() -> None:
    env = TaskVecEnv(metarl.make("dark-room"), 2)
    model = DQN("MlpPolicy", env, learning_starts=8, buffer_size=100, seed=0, device="cpu").learn(40)
    mean, _ = evaluate_policy(model, VecMonitor(env), n_eval_episodes=2)
    assert 0 <= float(np.mean(mean)) <= 20
    normalised = VecNormalize(TaskVecEnv(metarl.make("point-navigation"), 2))
    A2C("MlpPolicy", normalised, n_steps=4, seed=0, device="cpu").learn(16)
    assert np.isfinite(normalised.normalize_reward(np.ones(2))).all()


def test_success_and_returns_reach_stable_baselines(user_project: Path) -> None:
    distribution = metarl.make("drift_family:drift")
    env = VecMonitor(TaskVecEnv(distribution, tasks=distribution.tasks(drift=[0.0, 1.0])))
    env.reset()
    total = np.zeros(2)
    for _ in range(3):
        _, rewards, dones, infos = stepped(env, np.zeros((2, 1), np.float32))
        total += rewards
    assert [info["is_success"] for info in infos] == [True, False]
    while not dones[1]:
        _, rewards, dones, infos = stepped(env, np.zeros((2, 1), np.float32))
        total += rewards
    assert infos[1]["episode"]["r"] == pytest.approx(total[1])
    env.close()


def test_integers_count_from_0_and_bounded_actions_from_minus_1_to_1() -> None:
    from_2 = spaces.Discrete(4, start=2)
    family: Any = SimpleNamespace(observation_space=from_2, action_space=from_2)
    convention = SB3Spaces(family)
    assert convention.action_space == convention.observation_space == spaces.Discrete(4)
    assert convention.observation(torch.tensor([2, 5])).tolist() == [0, 3]
    assert convention.action(torch.tensor([0, 3])).tolist() == [2, 5]
    assert convention.counted(torch.tensor([2, 5])).tolist() == [0, 3]
    family.action_space = spaces.Box(np.array([0, -np.inf], np.float32), np.array([4, 1], np.float32))
    convention = SB3Spaces(family)
    assert convention.action_space == spaces.Box(np.array([-1, -np.inf], np.float32), np.array([1, 1], np.float32))
    assert convention.action(torch.tensor([[-0.5, -7.0]])).tolist() == [[1, -7]]
    assert convention.counted(torch.tensor([[1.0, -7.0]])).tolist() == [[-0.5, -7]]


def test_global_randomness_is_lent_and_comes_back() -> None:
    def draw(seed: int) -> tuple[float, ...]:
        with borrowed_randomness(seed):
            return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    def interrupted() -> None:
        with contextlib.suppress(KeyboardInterrupt), borrowed_randomness(7):
            torch.rand(1)
            raise KeyboardInterrupt

    assert draw(7) == draw(7)
    assert not set(draw(7)) & set(draw(8))
    untouched_by(lambda: draw(7))
    untouched_by(interrupted)


def test_what_cannot_be_is_refused() -> None:
    grid, bandit = metarl.make("grid-navigation"), metarl.make("bernoulli-bandit")
    with pytest.raises(ValueError, match="not tasks of grid-navigation-v1"):
        TaskVecEnv(grid, tasks=bandit.sample(2, seeding.generator(0)))
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        TaskVecEnv(grid, 0)
    for num_envs, tasks in ((None, None), (2, grid.sample(2, seeding.generator(0)))):
        with pytest.raises(ValueError, match="give either num_envs or tasks"):
            TaskVecEnv(grid, num_envs, tasks=tasks)
    old: Any = 4
    with pytest.raises(TypeError, match="are num_envs=4"):
        TaskVecEnv(grid, tasks=old)
    old = grid.sample(2, seeding.generator(0))
    with pytest.raises(TypeError, match="tasks that environments have for good are tasks="):
        TaskVecEnv(grid, old)
    with pytest.raises(NotImplementedError, match="one batch"):
        TaskVecEnv(grid, 2).set_attr("goal", 3)
    with pytest.raises(RuntimeError, match="step_async"):
        TaskVecEnv(grid, 2).step_wait()


def test_a_reward_that_is_not_finite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    distribution = metarl.make("point-navigation")
    env = TaskVecEnv(distribution, tasks=distribution.tasks(goal=[[0.2, 0.0], [-0.5, 0.0]]))
    env.reset()
    step = NativeVectorEnv.step

    def broken(engine: NativeVectorEnv, actions: torch.Tensor) -> Any:
        observation, _, *rest = step(engine, actions)
        return observation, torch.tensor([0.0, torch.nan]), *rest

    monkeypatch.setattr(NativeVectorEnv, "step", broken)
    with pytest.raises(ValueError, match=r"reward nan in environment 1, in the task .*-0.5"):
        env.step(np.zeros((2, 2), np.float32))
