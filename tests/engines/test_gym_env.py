"""What agents see of the spaces of gymnasium environments: vectors, and integers from 0."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

import metarl
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.engines.gym_tasks import GymTasks
from metarl.priors import Integers
from metarl.seeding import generator
from metarl.testing import check_distribution


class Counted(gymnasium.Env[Any, Any]):
    """Spaces of integers that do not begin at 0."""

    observation_space = spaces.Discrete(3, start=5)
    action_space = spaces.MultiDiscrete([2, 2], start=[1, 10])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.int64(5), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        return np.int64(5 + action[0]), float(action[1]), True, True, {}


def test_integers_are_counted_from_zero() -> None:
    family = GymTasks("counted-v1", make=Counted, parameters={"nothing": (0, 1)}, max_episode_steps=4)
    assert family.observation_space == spaces.Discrete(3)
    assert family.action_space == spaces.MultiDiscrete([2, 2])
    env = family.vector_env(2)
    env.set_tasks(family.sample(2, generator(0)))
    assert env.reset(seed=0)[0].tolist() == [0, 0]
    observation, reward, terminated, truncated, info = env.step(torch.tensor([[0, 1], [1, 0]]))
    assert info["final_obs"].tolist() == [1, 2]
    assert observation.tolist() == [0, 0]
    assert reward.tolist() == [11, 10]
    assert terminated.tolist() == [True, True]
    assert truncated.tolist() == [False, False]  # an end of the task is not an end of time
    assert "success" not in info


class Panel(gymnasium.Env[Any, Any]):
    """Several lamps to see and several switches to turn: the wanted positions are the task."""

    observation_space = spaces.Dict({"lamps": spaces.MultiBinary(2), "more": spaces.Tuple([spaces.Discrete(3)])})
    action_space = spaces.MultiDiscrete([2, 3])

    def __init__(self) -> None:
        self.wanted = np.array([1, 2])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return {"lamps": np.zeros(2, np.int8), "more": (0,)}, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        right = np.asarray(action) == self.wanted
        return {"lamps": right.astype(np.int8), "more": (int(action[1]),)}, float(right.sum()), False, False, {}


PANELS = metarl.from_gym(
    Panel, {"wanted": Integers(np.zeros(2), np.array([1, 2]))}, max_episode_steps=4, num_episodes=2, share_tasks=True
)


def test_compound_observations_become_vectors() -> None:
    check_distribution(PANELS)
    assert PANELS.observation_space == spaces.Box(0, 1, (5,), np.float32)
    env = PANELS.vector_env(2)
    env.set_tasks(PANELS.tasks(wanted=[[1, 2], [0, 1]]))
    assert env.reset(seed=0)[0].tolist() == [[0, 0, 1, 0, 0]] * 2
    observation, reward, *_ = env.step(torch.tensor([[1, 2], [1, 1]]))
    assert observation.tolist() == [[1, 1, 0, 0, 1], [0, 1, 0, 1, 0]]
    assert reward.tolist() == [2, 1]


class Dial(gymnasium.Env[Any, Any]):
    """A number to see and a number to choose, both without an axis: the wanted one is the task."""

    observation_space = spaces.Box(-1, 1, ())
    action_space: "spaces.Box[Any]" = spaces.Box(-1, 1, ())
    wanted = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.float32(0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        return np.asarray(action), -abs(float(action) - self.wanted), False, False, {}


def test_numbers_without_an_axis_become_vectors_of_one() -> None:
    dials = metarl.from_gym(Dial, {"wanted": (-1, 1)}, max_episode_steps=4, num_episodes=2)
    check_distribution(dials)
    assert dials.observation_space == dials.action_space == spaces.Box(-1, 1, (1,), np.float32)
    env = dials.vector_env(2)
    env.set_tasks(dials.tasks(wanted=[0.5, -0.5]))
    env.reset(seed=0)
    observation, reward, *_ = env.step(torch.tensor([[0.5], [2.0]]))
    assert observation.tolist() == [[0.5], [1.0]]
    assert reward.tolist() == [0, -1.5]


class Notches(Dial):
    """Can only be turned by whole numbers."""

    action_space: "spaces.Box[Any]" = spaces.Box(-3, 3, (), np.dtype(np.int8))


def test_actions_are_rounded_where_integers_are_wanted() -> None:
    env = metarl.from_gym(Notches, {"wanted": (-1, 1)}, max_episode_steps=4).env()
    env.reset(seed=0)
    assert [env.step(np.array([action], np.float32))[0].item() for action in (0.7, -0.7, 9.0)] == [1, -1, 3]


def test_agents_turn_several_switches_at_once() -> None:
    rl2 = RL2(PANELS, RL2Options(memory="gru", width=32, batch_steps=400, critic_epochs=0), seed=0, device="cpu").learn(
        16_000
    )
    result = metarl.evaluate(rl2.policy(50), PANELS.split("test"), num_tasks=50)
    assert result.returns[:, 1].mean() > 7  # 8 is the best, 3.3 by chance
    maml = MAML(PANELS, MAMLOptions(meta_batch_size=4, rollouts_per_task=4), seed=0, device="cpu").learn(400)
    assert np.isfinite(metarl.evaluate(maml.policy(4), PANELS, num_tasks=4, num_episodes=8).returns).all()
