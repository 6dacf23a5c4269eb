"""The seed of a level as the task: the level comes back, its dynamics go on."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import metarl
from metarl.contracts.clauses import ContractError
from metarl.engines.gym_tasks import GymTasks
from metarl.engines.seeded_levels import SeededLevels
from metarl.priors import Integers
from metarl.testing import check_distribution


class Marsh(gymnasium.Env[Any, Any]):
    """A depth drawn at every reset, and a wind drawn at every step."""

    observation_space = spaces.Box(-20, 20, (1,), np.float64)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.depth = self.np_random.uniform(1, 2)
        return np.array([self.depth]), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        wind = self.np_random.uniform()
        return np.array([self.depth + wind]), self.depth * int(action), False, False, {}


def marshes(show_tasks: bool = True) -> GymTasks:
    return metarl.from_gym(
        lambda: SeededLevels(Marsh()),
        parameters={"seed": Integers(0, 99)},
        test={"seed": (100, 199)},
        apply="reset_options",
        name="marsh-v1",
        max_episode_steps=5,
        show_tasks=show_tasks,
    )


def episode(env: Any, **reset: Any) -> list[float]:
    return [float(env.reset(**reset)[0][0]), *(float(env.step(1)[0][0]) for _ in range(3))]


def test_the_level_comes_back_and_the_dynamics_go_on() -> None:
    env = SeededLevels(Marsh())
    seven, eight = ({"task": {"seed": seed}} for seed in (7, 8))
    first, second = episode(env, seed=0, options=seven), episode(env, options=seven)
    assert first[0] == second[0]
    assert first[1:] != second[1:]
    assert episode(env, seed=0, options=seven) == first
    other = episode(env, seed=0, options=eight)
    assert other[0] != first[0]
    np.testing.assert_allclose(np.diff(other[1:]), np.diff(first[1:]), atol=1e-9)  # the wind knows no level


def test_families_of_levels_keep_the_contract() -> None:
    check_distribution(marshes())


def test_a_task_that_shows_must_be_declared() -> None:
    with pytest.raises(ContractError, match=r"depends on the task.*show_tasks=True"):
        check_distribution(marshes(show_tasks=False))


def test_a_level_is_needed() -> None:
    with pytest.raises(ValueError, match="needs the level"):
        SeededLevels(Marsh()).reset(seed=0)
