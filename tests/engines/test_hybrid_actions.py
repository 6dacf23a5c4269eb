"""Actions that are a choice and numbers together (Dict and Tuple), from the environment to agents that learn them."""

import functools
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO

import metarl
from metarl.agents.classical.uniform import RandomPolicy
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.engines.vector_tasks import VectorTasks
from metarl.priors import Integers
from metarl.sb3 import TaskVecEnv
from metarl.spaces import HybridBox
from metarl.testing import check_distribution


class Crane(gymnasium.Env[Any, Any]):
    """Which of three crates to lift, how high, and where two switches stand. The wanted crate is the task."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space: "spaces.Space[Any]" = spaces.Dict(
        {
            "crate": spaces.Discrete(3, start=4),
            "more": spaces.Tuple([spaces.Box(0, 10, (), np.float32), spaces.MultiBinary(2)]),
        }
    )

    def __init__(self) -> None:
        self.wanted = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        height, switches = action["more"]
        right = action["crate"] == self.wanted + 4
        reward = right * (1 - abs(float(np.ravel(height)[0]) - 5) / 5)
        return np.array([reward, switches[0] - switches[1]], np.float32), float(reward), False, False, {}


TASKS = {"wanted": Integers(0, 2)}
CRANES = metarl.from_gym(Crane, TASKS, max_episode_steps=5, num_episodes=2, share_tasks=True, name="cranes-v1")


class Winch(Crane):
    """Its height is a vector of one number: gymnasium's vector environments make no array of a number without axis."""

    action_space = spaces.Dict(
        {
            "crate": spaces.Discrete(3, start=4),
            "more": spaces.Tuple([spaces.Box(0, 10, (1,), np.float32), spaces.MultiBinary(2)]),
        }
    )


def make_vector(num_envs: int) -> Any:
    return SyncVectorEnv([Winch] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)


def set_wanted(envs: Any, tasks: dict[str, np.ndarray]) -> None:
    envs.set_attr("wanted", tasks["wanted"].tolist())


AT_ONCE = VectorTasks("cranes-v1", make_vector, TASKS, set_wanted, max_episode_steps=5, share_tasks=True)


@pytest.mark.parametrize("family", [CRANES, AT_ONCE], ids=["one by one", "at once"])
def test_a_hybrid_action_reaches_the_environment_in_its_parts(family: Any) -> None:
    assert family.action_space == HybridBox([spaces.Discrete(3), spaces.Box(0, 10, (1,)), spaces.MultiBinary(2)])
    assert family.action_space != spaces.Box(np.zeros(4, np.float32), np.array([2, 10, 1, 1], np.float32))
    check_distribution(family)
    env = family.vector_env(3)
    env.set_tasks(family.tasks(wanted=[2, 1, 0]))
    env.reset(seed=0)
    actions = torch.tensor([[2, 5, 1, 0], [0, 5, 0, 0], [-0.6, 12, 0.4, 7]])  # the last leaves the space
    observation, reward, *_ = env.step(actions)
    assert reward.tolist() == [1, 0, 0]
    assert observation[:, 1].tolist() == [1, 0, -1]


def test_agents_learn_hybrid_actions() -> None:
    options = RL2Options(memory="gru", width=32, batch_steps=400, critic_epochs=0)
    rl2 = RL2(CRANES, options, seed=0, device="cpu").learn(8000)
    evaluate = functools.partial(metarl.evaluate, distribution=CRANES.split("test"), num_tasks=50)
    by_chance = evaluate(RandomPolicy(CRANES, 50)).returns[:, 1].mean()
    assert by_chance == pytest.approx(5 / 6, abs=0.3)  # a third of the crates, half of the height
    assert evaluate(rl2.policy(50)).returns[:, 1].mean() > 1.6  # 5 is the best
    maml = MAML(CRANES, MAMLOptions(meta_batch_size=4, rollouts_per_task=4), seed=0, device="cpu").learn(400)
    assert np.isfinite(metarl.evaluate(maml.policy(4), CRANES, num_tasks=4, num_episodes=8).returns).all()


def test_stable_baselines_takes_hybrid_actions_for_numbers() -> None:
    model = PPO("MlpPolicy", TaskVecEnv(CRANES, num_envs=2), n_steps=8, batch_size=16, device="cpu").learn(16)
    assert isinstance(model.action_space, spaces.Box)


def test_what_is_no_hybrid_action_is_refused() -> None:
    class Silent(Crane):
        action_space = spaces.Tuple([])

    with pytest.raises(ValueError, match=r"or Dict or Tuple of such, got Tuple\(\)"):
        metarl.from_gym(Silent, TASKS, max_episode_steps=4)

    class Speaking(Crane):
        action_space = spaces.Dict({"word": spaces.Text(3)})

    with pytest.raises(ValueError, match=r"action space must be .*, got Text"):
        metarl.from_gym(Speaking, TASKS, max_episode_steps=4)
