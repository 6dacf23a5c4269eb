"""An evaluation is a function of its seed: the same policy gives the same numbers again."""

from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

import metarl
from metarl.agents import MAML, RL2, FineTuning, FineTuningOptions, MAMLOptions, ModelPolicy, RandomPolicy, RL2Options
from metarl.agents.classical.bandits import ThompsonSampling
from metarl.sb3 import TaskVecEnv
from metarl.tasks.policies import AdaptivePolicy
from metarl.trials.recording import record_trial

POINTS = metarl.from_gym("Pendulum-v1", {"m": (0.5, 1.5)}, max_episode_steps=5)
ROOMS = metarl.make("grid-navigation")
BANDITS = metarl.make("bernoulli-bandit", arms=3, pulls=5)


def sb3_model() -> PPO:
    return PPO("MlpPolicy", TaskVecEnv(POINTS, num_envs=2), n_steps=4, batch_size=8, seed=0, device="cpu")


POLICIES: dict[str, Any] = {
    "rl2": lambda: RL2(POINTS, RL2Options(memory="gru", width=8), device="cpu").policy(3),
    "maml": lambda: MAML(POINTS, MAMLOptions(width=8, rollouts_per_task=1), device="cpu").policy(
        3, deterministic=False
    ),
    "ppo": lambda: FineTuning(
        POINTS, FineTuningOptions(width=8, episodes_per_update=1, updates_per_trial=1, num_minibatches=1), device="cpu"
    ).policy(3, deterministic=False),
    "model": lambda: ModelPolicy(sb3_model(), POINTS, 3, deterministic=False),
    "random": lambda: RandomPolicy(POINTS, 3),
}


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_policy_gives_the_same_numbers_again(name: str) -> None:
    policy = POLICIES[name]()
    state = torch.get_rng_state()
    one, again = (metarl.evaluate(policy, POINTS, num_tasks=3, num_episodes=1, seed=1) for _ in range(2))
    new = metarl.evaluate(POLICIES[name](), POINTS, num_tasks=3, num_episodes=1, seed=1)
    np.testing.assert_array_equal(one.returns, again.returns)
    np.testing.assert_array_equal(one.returns, new.returns)
    if name != "model":  # Stable-Baselines3 seeds the global stream when a model is made
        assert torch.equal(state, torch.get_rng_state())


def test_policies_of_other_seeds_draw_other_actions() -> None:
    agent = RL2(POINTS, RL2Options(memory="gru", width=8), device="cpu")
    one, other = (
        metarl.evaluate(agent.policy(3, seed=seed), POINTS, num_tasks=3, num_episodes=1).returns for seed in (0, 1)
    )
    assert (one != other).all()


def test_a_recorded_trial_is_the_same_again() -> None:
    policy = ThompsonSampling(BANDITS, 2)
    task = BANDITS.sample(1, metarl.seeding.generator(0))
    one, again = (record_trial(policy, BANDITS, task, num_episodes=3).actions for _ in range(2))
    np.testing.assert_array_equal(one, again)


def test_a_policy_that_draws_from_elsewhere_says_how_it_is_put_back() -> None:
    class Coin(AdaptivePolicy):
        def rewind(self) -> None:
            self.stream = np.random.default_rng(0)

        def begin(self, mask: Any = None) -> None: ...

        def observe(self, transition: Any) -> None: ...

        def act(self, observation: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(self.stream.integers(3, size=self.num_tasks))

    policy = Coin(4)
    one, again = (metarl.evaluate(policy, BANDITS, num_tasks=4).returns for _ in range(2))
    np.testing.assert_array_equal(one, again)
