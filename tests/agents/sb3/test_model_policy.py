"""Models of Stable-Baselines3 in the evaluator: conventions, memory, and oracles that know the task."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO

import metarl
from metarl.agents.sb3.model_policy import ModelPolicy, TaskModelPolicy
from metarl.sb3 import TaskVecEnv
from metarl.tasks.policies import Transition
from metarl.testing import check_agent

NAVIGATION = metarl.make("point-navigation")


class Remembers:
    """Answers with the number of steps since its memory was emptied, and keeps what it was shown."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        self.seen.append(observation)
        count = np.where(episode_start, 0, 0 if state is None else state + 1)
        return np.repeat(count[:, None] / 10, 2, 1).astype(np.float32), count


def transition(done: list[bool]) -> Transition:
    zeros, ends = torch.zeros(len(done), 2), torch.tensor(done)
    return Transition(zeros, zeros, zeros[:, 0], ends, ~ends & False, zeros)


@pytest.mark.parametrize("remember", [False, True])
def test_a_memory_lasts_for_an_episode_or_a_trial(remember: bool) -> None:
    model = Remembers()
    policy = ModelPolicy(model, NAVIGATION, 2, remember=remember)
    policy.begin()
    ages = []
    for step in range(5):
        ages.append((policy.act(torch.zeros(2, 2))[:, 0] * 100).round().int().tolist())  # scaled by .1, counted by .1
        policy.observe(transition([step == 1, False]))
    assert ages == [[0, 0], [1, 1], [2 if remember else 0, 2], [3 if remember else 1, 3], [4 if remember else 2, 4]]
    policy.begin(torch.tensor([False, True]))
    assert (policy.act(torch.zeros(2, 2))[1] == 0).all()


def test_a_model_plays_in_the_evaluator_as_in_stable_baselines() -> None:
    rooms = metarl.make("grid-navigation")
    model = PPO("MlpPolicy", TaskVecEnv(rooms, 8), n_steps=32, batch_size=64, seed=0, device="cpu").learn(256)
    result = metarl.evaluate(ModelPolicy(model, rooms, 20), rooms, num_tasks=20, num_episodes=2, seed=3)
    env = TaskVecEnv(rooms, tasks=rooms.tasks(**(result.tasks or {})))
    observation, total, alive = env.reset(), np.zeros(20), np.ones(20, bool)
    while alive.any():
        observation, reward, done, _ = env.step(model.predict(observation, deterministic=True)[0])
        total += reward * alive
        alive &= ~done
    np.testing.assert_allclose(result.returns[:, 0], total)
    assert not result.privileged
    check_agent(lambda num_tasks: ModelPolicy(model, rooms, num_tasks), rooms)


def test_an_oracle_sees_the_task_in_training_and_in_trials() -> None:
    env = TaskVecEnv(NAVIGATION, 8, show_task=True, seed=1)
    first = env.reset()
    np.testing.assert_allclose(first["task"], env.tasks.vector().numpy())
    assert env.observation_space.contains({name: rows[0] for name, rows in first.items()})
    for _ in range(100):
        observation, _, dones, infos = env.step(np.ones((8, 2), np.float32))
    assert dones.all()  # out of time, and in another task
    last: Any = infos[0]["terminal_observation"]
    np.testing.assert_allclose(last["task"], first["task"][0])
    assert isinstance(observation, dict)
    assert not np.allclose(observation["task"], first["task"])

    model = PPO(
        "MultiInputPolicy", env, n_steps=64, batch_size=512, learning_rate=3e-3, gamma=0.9, seed=0, device="cpu"
    )
    model.learn(40_000)
    result = metarl.evaluate(TaskModelPolicy(model, NAVIGATION, 20), NAVIGATION, num_tasks=20, num_episodes=1)
    assert result.privileged
    assert result.returns.mean() > -20  # standing still -38


def test_a_model_of_other_spaces_is_refused() -> None:
    rooms = metarl.make("grid-navigation")
    with pytest.raises(ValueError, match=r"observation space Box.*these tasks have Discrete"):
        ModelPolicy(Remembers(), rooms, 2)
    with pytest.raises(ValueError, match="show_task=True for TaskModelPolicy"):
        TaskModelPolicy(Remembers(), NAVIGATION, 2)
    oracle = TaskModelPolicy(PPO("MultiInputPolicy", TaskVecEnv(rooms, 2, show_task=True), device="cpu"), rooms, 2)
    with pytest.raises(RuntimeError, match="call set_tasks before acting"):
        oracle.act(torch.zeros(2, dtype=torch.int64))
