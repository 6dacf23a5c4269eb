"""Trials as episodes: what a recurrent policy of Stable-Baselines3 sees, and how it is measured."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO

import metarl
from metarl.agents import TrialModelPolicy
from metarl.sb3 import TrialVecEnv

BANDITS = metarl.make("bernoulli-bandit", arms=3, pulls=4)
ROOMS = metarl.make("grid-navigation")
POINTS = metarl.make("point-navigation")


def test_a_trial_is_one_episode_of_one_task_with_what_led_to_each_observation() -> None:
    env = TrialVecEnv(BANDITS, num_envs=2, num_episodes=12, seed=1)
    first = np.asarray(env.reset())
    assert first.shape == (2, 1 + 3 + 2)
    assert (first[:, 1:] == 0).all()
    tasks = env.tasks["means"].clone()
    for step in range(1, 13):
        rows, reward, done, infos = env.step(np.array([step % 3, 2]))
        seen, ended = np.asarray(rows), step % BANDITS.horizon == 0
        if step < 12:
            assert torch.equal(env.tasks["means"], tasks)
            assert not done.any()
            assert seen[0, 1:4].tolist() == np.eye(3)[step % 3].tolist()
            np.testing.assert_array_equal(seen[:, 4], reward)
            assert seen[:, 5].tolist() == [float(ended)] * 2
    assert done.all()
    assert (seen[:, 1:] == 0).all()  # another trial
    assert not torch.equal(env.tasks["means"], tasks)
    assert [info["TimeLimit.truncated"] for info in infos] == [False, False]
    last = np.array([info["terminal_observation"] for info in infos])
    assert last[:, 5].tolist() == [1, 1]
    np.testing.assert_array_equal(last[:, 4], reward)


def test_trials_of_different_length_begin_and_end_apart() -> None:
    env = TrialVecEnv(ROOMS, num_envs=6, num_episodes=2, seed=0)
    env.reset()
    rng, ends = np.random.default_rng(0), np.zeros(6, int)
    for _ in range(200):
        before = env.tasks["goal"].clone()
        _, _, done, _ = env.step(rng.integers(4, size=6))
        ends += done
        assert (env.tasks["goal"][torch.from_numpy(~done)] == before[torch.from_numpy(~done)]).all()
    assert ends.min() >= 200 // (2 * ROOMS.horizon)


def test_equal_seeds_give_equal_trials() -> None:
    def run(seed: int) -> np.ndarray:
        env = TrialVecEnv(POINTS, num_envs=3, num_episodes=1, seed=seed)
        actions = np.random.default_rng(0).uniform(-1, 1, (250, 3, 2)).astype(np.float32)
        return np.array([env.reset(), *(env.step(action)[0] for action in actions)])

    np.testing.assert_array_equal(run(5), run(5))
    assert (run(5) != run(6)).any()


def test_a_model_of_trials_acts_in_metarls_evaluation_as_it_was_trained() -> None:
    """It is given, step by step, the very vectors that its environment would have given."""
    env = TrialVecEnv(ROOMS, num_envs=4)
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=64, seed=0, device="cpu").learn(64)
    policy = TrialModelPolicy(model, ROOMS, num_tasks=5)
    seen: list[np.ndarray] = []

    class Listening:
        observation_space, action_space = model.observation_space, model.action_space

        def predict(self, observation: np.ndarray, *rest: object) -> object:
            seen.append(observation.copy())
            return model.predict(observation, *rest)  # type: ignore[arg-type]

    policy = TrialModelPolicy(Listening(), ROOMS, num_tasks=5)  # type: ignore[arg-type]
    result = metarl.evaluate(policy, ROOMS, num_tasks=5, num_episodes=2)
    assert result.returns.shape == (5, 2)
    assert (seen[0][:, -2:] == 0).all()
    assert all(model.observation_space.contains(row) for row in seen[3])
    assert sum(rows[:, -1].sum() for rows in seen) >= 5  # the ends of first episodes
    rewards = np.array([rows[:, -2] for rows in seen])
    assert abs(rewards.sum() - result.totals.sum()) <= 5.001  # all but the last of each of five trials
    again = metarl.evaluate(TrialModelPolicy(model, ROOMS, num_tasks=5), ROOMS, num_tasks=5, num_episodes=2)
    np.testing.assert_array_equal(again.returns, result.returns)


def test_what_cannot_be_a_trial_is_refused() -> None:
    with pytest.raises(ValueError, match="num_envs and num_episodes must be at least 1, got 2 and 0"):
        TrialVecEnv(ROOMS, 2, num_episodes=0)
    model = PPO("MlpPolicy", TrialVecEnv(BANDITS, 2), n_steps=8, batch_size=16, device="cpu")
    with pytest.raises(ValueError, match="a TrialVecEnv for TrialModelPolicy"):
        TrialModelPolicy(model, ROOMS, 2)
    assert isinstance(TrialVecEnv(POINTS, 2).action_space, spaces.Box)
