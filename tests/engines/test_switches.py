"""Actions of several switches at once (MultiBinary), from the environment to agents that learn it."""

import functools
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from torch import Tensor

import metarl
from metarl.agents.classical.uniform import RandomPolicy
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.engines.vector_tasks import VectorTasks
from metarl.priors import Integers
from metarl.sb3 import TaskVecEnv
from metarl.tasks.policies import AdaptivePolicy, Transition
from metarl.testing import check_distribution


class Lamps(gymnasium.Env[Any, Any]):
    """Three switches, and a lamp above each that is lit when it stands as the task wants it; a lit lamp pays 1."""

    observation_space = spaces.Box(0, 1, (3,), np.float32)
    action_space = spaces.MultiBinary(3)

    def __init__(self) -> None:
        self.wanted = np.zeros(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(3, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        assert action.dtype == np.int8
        lit = (action == self.wanted).astype(np.float32)
        return lit, float(lit.sum()), False, False, {}


WANTED = {"wanted": Integers(np.zeros(3), np.ones(3))}
LAMPS = metarl.from_gym(Lamps, WANTED, max_episode_steps=4, num_episodes=2, share_tasks=True, name="lamps-v1")


def set_wanted(envs: Any, tasks: dict[str, np.ndarray]) -> None:
    envs.set_attr("wanted", list(tasks["wanted"]))


def make_vector(num_envs: int) -> Any:
    return SyncVectorEnv([Lamps] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)


AT_ONCE = VectorTasks("lamps-v1", make_vector, WANTED, set_wanted, max_episode_steps=4, share_tasks=True)


@pytest.mark.parametrize("family", [LAMPS, AT_ONCE], ids=["one by one", "at once"])
def test_switches_reach_the_environment(family: Any) -> None:
    assert family.action_space == spaces.MultiBinary(3)
    check_distribution(family)
    env = family.vector_env(2)
    env.set_tasks(family.tasks(wanted=[[1, 0, 1], [0, 0, 0]]))
    env.reset(seed=0)
    observation, reward, *_ = env.step(torch.tensor([[1, 0, 0], [1, 1, 1]]))
    assert observation.tolist() == [[1, 1, 0], [0, 0, 0]]
    assert reward.tolist() == [2, 0]


def test_switches_in_rows_are_refused() -> None:
    class Rows(Lamps):
        action_space = spaces.MultiBinary([2, 3])

    with pytest.raises(ValueError, match="Box, Discrete, MultiDiscrete or MultiBinary, or Dict or Tuple of such, got"):
        metarl.from_gym(Rows, WANTED, max_episode_steps=4)


class Stuck(AdaptivePolicy):
    """Does one thing, possible or not."""

    def begin(self, mask: Tensor | None = None) -> None: ...

    def act(self, observation: Tensor) -> Tensor:
        return torch.tensor([[0, 1, 2]] * self.num_tasks)

    def observe(self, transition: Transition) -> None: ...


def test_a_switch_has_two_positions() -> None:
    with pytest.raises(ValueError, match=r"action outside MultiBinary\(3\), in task 0, episode 1 at step 0"):
        metarl.evaluate(Stuck(2), LAMPS, num_tasks=2)


def test_agents_learn_which_switches_to_turn() -> None:
    options = RL2Options(memory="gru", width=32, batch_steps=400, critic_epochs=0)
    rl2 = RL2(LAMPS, options, seed=0, device="cpu").learn(4000)
    evaluate = functools.partial(metarl.evaluate, distribution=LAMPS.split("test"), num_tasks=50)
    by_chance = evaluate(RandomPolicy(LAMPS, 50)).returns[:, 1].mean()
    assert by_chance == pytest.approx(6, abs=1)
    assert evaluate(rl2.policy(50)).returns[:, 1].mean() > 8.5  # 12 is the best
    maml = MAML(LAMPS, MAMLOptions(meta_batch_size=4, rollouts_per_task=4), seed=0, device="cpu").learn(400)
    assert np.isfinite(metarl.evaluate(maml.policy(4), LAMPS, num_tasks=4, num_episodes=8).returns).all()


def test_stable_baselines_turns_switches() -> None:
    model = PPO("MlpPolicy", TaskVecEnv(LAMPS, num_envs=2), n_steps=8, batch_size=16, device="cpu").learn(16)
    assert model.action_space == spaces.MultiBinary(3)
