"""Who is blamed for a number that is not finite: the policy for actions, the environment for what it gave."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import metarl
from metarl.tasks.batch import Tasks
from metarl.trials.rollouts import check_finite
from metarl.trials.trajectories import Trajectories


def trajectories(**broken: tuple[int, int]) -> Trajectories:
    """Two trials of four steps; `name=(trial, step)` puts NaN there, and into all that follows from it."""
    tasks = Tasks({"k": torch.tensor([0.25, 0.5])}, spaces.Dict({"k": spaces.Box(0, 1, ())}))
    values = {name: torch.zeros(2, 4) for name in ("observations", "actions", "rewards")}
    for name, (trial, step) in broken.items():
        values[name][trial, step:] = torch.nan
    never = torch.zeros(2, 4, dtype=torch.bool)
    fields = (values["observations"], values["actions"], values["rewards"], never, never, torch.zeros(2, 4))
    return Trajectories(tasks, *fields, torch.zeros(2))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (
            {"actions": (1, 2), "rewards": (1, 2), "observations": (1, 3)},
            "the policy chose action nan at step 2 of environment 1",
        ),
        (
            {"observations": (0, 1), "actions": (0, 1), "rewards": (0, 1)},
            "the environment gave observation nan at step 1",
        ),
        ({"rewards": (1, 0), "actions": (1, 1)}, "the environment gave reward nan at step 0 of environment 1, .*0.5"),
        ({"rewards": (0, 3), "actions": (1, 2)}, "the policy chose action nan at step 2 of environment 1"),
    ],
)
def test_the_first_that_broke_is_named(broken: dict[str, tuple[int, int]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_finite(trajectories(**broken))


def test_what_is_finite_passes() -> None:
    check_finite(trajectories())


class Swing(gymnasium.Env[Any, Any]):
    """The reward is the action."""

    observation_space = spaces.Box(-1, 1, (1,))
    action_space = spaces.Box(-1, 1, (2,))
    gain = 1.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), self.gain * float(action.sum()), False, False, {}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_engine_refuses_an_action_that_is_not_finite_before_the_environment_sees_it(value: float) -> None:
    family = metarl.from_gym(Swing, {"gain": (1.0, 1.0)}, max_episode_steps=5)
    env = family.vector_env(3)
    env.set_tasks(family.sample(3, torch.Generator()))
    env.reset(seed=0)
    actions = torch.zeros(3, 2)
    actions[1, 0] = value
    with pytest.raises(
        ValueError, match=rf"the policy chose the action \[{value}, 0.0\] in environment 1 of swing-gain-v1"
    ):
        env.step(actions)
