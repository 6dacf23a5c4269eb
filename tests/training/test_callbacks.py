"""The callbacks that come with Stable-Baselines3, and what callbacks of one's own read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_agents import KINDS, small_agent
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    LogEveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecMonitor

import metarl
from metarl.sb3 import TaskVecEnv
from metarl.training.logs import read_progress

ROOMS = metarl.make("grid-navigation")


class Watcher(BaseCallback):
    """Adds up what it reads at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.reward, self.ends, self.steps, self.truncated = 0.0, 0, 0, 0

    def _on_step(self) -> bool:
        rewards, dones, infos = (self.locals[name] for name in ("rewards", "dones", "infos"))
        assert self.locals["new_obs"].shape[0] == len(rewards) == len(dones) == len(infos)
        assert "rewards" in self.locals
        assert self.locals.get("weather", "fair") == "fair"
        self.reward += float(rewards.sum())
        self.ends += int(dones.sum())
        self.steps += len(rewards)
        self.truncated += sum(info["TimeLimit.truncated"] for info in infos)
        return True


@pytest.mark.parametrize("kind", KINDS)
def test_a_callback_reads_every_reward_and_every_end(kind: str) -> None:
    watcher = Watcher()
    agent = small_agent(kind, ROOMS, 120).learn(200, callback=[EveryNTimesteps(30, CallbackList([])), watcher])
    assert watcher.steps == agent.num_timesteps
    assert watcher.ends > 0
    assert watcher.truncated <= watcher.ends
    with pytest.raises(KeyError, match="weather: training tells self, total_timesteps, new_obs, rewards"):
        watcher.locals["weather"]


@pytest.mark.parametrize("kind", KINDS)
def test_those_that_come_with_stable_baselines3_work(kind: str, tmp_path: Path) -> None:
    unseen = VecMonitor(TaskVecEnv(ROOMS.split("test"), num_envs=3))
    evaluation = EvalCallback(
        unseen,
        callback_on_new_best=StopTrainingOnRewardThreshold(1e9, verbose=0),
        n_eval_episodes=3,
        eval_freq=20,
        best_model_save_path=str(tmp_path),
        verbose=0,
    )
    chosen = [evaluation, CheckpointCallback(30, str(tmp_path / "kept")), LogEveryNTimesteps(50)]
    agent = small_agent(kind, ROOMS, 120)
    agent.set_logger(configure(str(tmp_path / "log"), ["csv"]))
    agent.learn(200, callback=chosen)
    agent.logger.close()
    assert np.isfinite(evaluation.best_mean_reward)
    assert type(agent).load(
        tmp_path / "best_model.zip" if (tmp_path / "best_model.zip").exists() else tmp_path / "best_model", "cpu"
    )
    assert list((tmp_path / "kept").iterdir())
    rows = read_progress(tmp_path / "log" / "progress.csv")
    assert any("eval/mean_reward" in row for row in rows)
    assert len(rows) > agent.updates


@pytest.mark.parametrize("kind", KINDS)
def test_training_stops_after_so_many_episodes(kind: str) -> None:
    agent = small_agent(kind, ROOMS, 120).learn(100_000, callback=StopTrainingOnMaxEpisodes(1))
    assert agent.num_timesteps < 2000


def test_prediction_is_the_policy_in_its_first_episode() -> None:
    """evaluate_policy through Stable-Baselines3 finds what metarl's own evaluation finds."""
    agent = small_agent("rl2", ROOMS, 120).learn(120)
    tasks = ROOMS.split("test").sample(4, metarl.seeding.generator(0))
    env = TaskVecEnv(ROOMS, tasks=tasks)
    rewards: Any = evaluate_policy(agent, VecMonitor(env), n_eval_episodes=4, return_episode_rewards=True)[0]
    policy = agent.policy(4, deterministic=True)
    engine = ROOMS.vector_env(4)
    engine.set_tasks(tasks)
    observation, _ = engine.reset(seed=0)
    from metarl.tasks.policies import Transition

    total, going = np.zeros(4), np.ones(4, bool)
    for _ in range(ROOMS.horizon):
        action = policy.act(observation)
        following, reward, terminated, truncated, info = engine.step(action)
        total += reward.numpy() * going
        policy.observe(Transition(observation, action, reward, terminated, truncated, info["final_obs"]))
        going &= ~(terminated | truncated).numpy()
        observation = following
    assert sorted(rewards) == pytest.approx(sorted(total.tolist()))


def test_observations_of_another_kind_are_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"needs the observations of a metarl.sb3.TaskVecEnv.*metarl.evaluate"):
        small_agent("rl2", ROOMS, 120).predict(np.zeros(3, np.int64))
