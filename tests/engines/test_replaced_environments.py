"""Environments that take the place of others between episodes: their seeds, their time limits, their ends."""

from typing import Any, Literal

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import metarl
from metarl.engines.changing_tasks import ChangingTasks
from metarl.engines.gym_tasks import GymTasks
from metarl.sb3 import TaskVecEnv
from metarl.tasks.distribution import TaskVectorEnv
from metarl.testing import check_distribution


class Dice(gymnasium.Env[Any, Any]):
    """Every observation is a throw; it has no time limit of its own."""

    observation_space = spaces.Box(0, 100, (1,), np.float32)
    action_space = spaces.Discrete(2)
    opened = 0
    closed = 0

    def __init__(self, bonus: float = 0.0, render_mode: str | None = None) -> None:
        self.bonus = bonus
        Dice.opened += 1

    def _throw(self) -> np.ndarray:
        return self.np_random.uniform(0, 100, 1).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._throw(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._throw(), self.bonus * float(action), False, False, {}

    def close(self) -> None:
        Dice.closed += 1


def another(env: Any, task: dict[str, Any]) -> Any:
    env.close()
    return Dice(task["bonus"])


def dice(apply: Any, name: str = "dice-v1") -> GymTasks:
    return metarl.from_gym(Dice, {"bonus": (1.0, 2.0)}, apply=apply, max_episode_steps=3, name=name)


def throws(env: TaskVectorEnv, family: Any, steps: int = 10) -> torch.Tensor:
    env.set_tasks(family.sample(env.num_envs, torch.Generator().manual_seed(1)))
    rows = [env.reset(seed=5)[0]]
    rows += [env.step(torch.zeros(env.num_envs, dtype=torch.int64))[0] for _ in range(steps)]
    env.close()
    return torch.stack(rows)


CHANNELS: list[Any] = ["attributes", "kwargs", another]


@pytest.mark.parametrize("apply", CHANNELS)
def test_equal_seeds_give_equal_episodes_whatever_takes_the_place(apply: Any) -> None:
    family = dice(apply)
    one, other = (throws(family.vector_env(2), family) for _ in range(2))
    assert torch.equal(one, other)
    assert len(set(one.flatten().tolist())) == one.numel()  # and no episode repeats another


@pytest.mark.parametrize("apply", ["kwargs", another])
def test_a_single_environment_that_draws_its_tasks_repeats_itself(apply: Any) -> None:
    def seen() -> list[float]:
        env = dice(apply).env()
        return [float(env.reset(seed=3 if episode == 0 else None)[0][0]) for episode in range(4)]

    assert seen() == seen()
    assert len(set(seen())) == 4


def test_changing_tasks_of_a_family_of_constructors_repeat_themselves() -> None:
    family = ChangingTasks(dice("kwargs"), change_episodes=(1,), num_episodes=3)
    one, other = (throws(family.vector_env(2), family) for _ in range(2))
    assert torch.equal(one, other)
    env = family.env()

    def single() -> list[float]:
        return [float(env.reset(seed=3 if episode == 0 else None)[0][0]) for episode in range(4)]

    assert single() == single()


def test_stable_baselines3_sees_the_same_run_twice() -> None:
    def run() -> np.ndarray:
        env = TaskVecEnv(dice("kwargs"), num_envs=2, seed=4)
        return np.array([env.reset(), *(env.step(np.zeros(2, int))[0] for _ in range(8))])

    np.testing.assert_array_equal(run(), run())


def test_the_contract_holds_for_an_environment_that_is_put_in_place() -> None:
    check_distribution(dice(another))


@pytest.mark.parametrize("apply", CHANNELS)
def test_the_time_limit_holds_in_whatever_takes_the_place(apply: Any) -> None:
    env = dice(apply).env()
    for _ in range(2):
        env.reset()
        assert [env.step(0)[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]


def test_what_apply_replaces_is_closed_by_apply_and_the_last_by_the_end() -> None:
    family = dice(another)
    Dice.opened = Dice.closed = 0
    throws(family.vector_env(2), family)
    assert Dice.opened == Dice.closed > 2


class Named(gymnasium.Env[Any, Any]):
    """Has the specification of a time limit and nothing that keeps it."""

    spec = gymnasium.envs.registration.EnvSpec("Named-v0", max_episode_steps=8)
    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Discrete(2)
    push = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), self.push, False, False, {}


@pytest.mark.parametrize(("steps", "horizon"), [(None, 8), (5, 5), (30, 8)])
def test_a_limit_that_stands_in_a_specification_is_kept(steps: int | None, horizon: int) -> None:
    family = metarl.from_gym(Named, {"push": (0.0, 1.0)}, max_episode_steps=steps)
    env = family.env()
    env.reset(seed=0)
    assert next(step for step in range(1, 50) if env.step(0)[3]) == horizon == family.horizon


Where = Literal["inside", "outside"]


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_the_shortest_of_several_limits_is_the_horizon(where: Where) -> None:
    limits = (4, 900) if where == "inside" else (900, 4)

    def make() -> Any:
        env: Any = Dice()
        for limit in limits:
            env = gymnasium.wrappers.TimeLimit(env, limit)
        return env

    assert metarl.from_gym(make, {"bonus": (0.0, 1.0)}, name="limits-v1").horizon == 4
    assert metarl.from_gym(make, {"bonus": (0.0, 1.0)}, max_episode_steps=50, name="limits-v1").horizon == 4
    assert metarl.from_gym(make, {"bonus": (0.0, 1.0)}, max_episode_steps=3, name="limits-v1").horizon == 3


class ByItself(Dice):
    """Truncated after four throws, which no wrapper and no specification says."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.thrown = 0
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.thrown += 1
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, self.thrown == 4, info


def test_a_horizon_that_no_episode_comes_near_is_told_with_the_right_one() -> None:
    def play(steps: int) -> None:
        family = metarl.from_gym(ByItself, {"bonus": (1.0, 2.0)}, max_episode_steps=steps)
        throws(family.vector_env(3), family, 20)

    with pytest.warns(UserWarning, match=r"by-?itself-bonus-v1: .* at most 4 of 300 steps.*max_episode_steps=4"):
        play(300)
    play(7)  # near enough
