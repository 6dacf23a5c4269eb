"""Ants with an unknown direction or goal, without contact forces in observation and reward.

A batch of simulations does not give contact forces exactly; gymnasium has switches to leave them out, too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from gymnasium import spaces

from metarl.engines.mujoco_dynamics import Values, squares
from metarl.engines.mujoco_simulation import Flags, Floats, Simulations
from metarl.engines.mujoco_tasks import MujocoTasks
from metarl.priors import Choice, Prior, Radius, Uniform

TORSO = 1


@dataclass(frozen=True)
class Ant(MujocoTasks):
    """gymnasium's ant; episodes have 200 steps."""

    model_file = "ant.xml"
    outputs = ("xpos",)
    noise = 0.1
    normal_velocity = True

    @final
    def position(self, now: Simulations) -> Floats:
        torso: Floats = now.output("xpos")[:, TORSO, :2]
        return torso


@final
@dataclass(frozen=True)
class AntDirection(Ant):
    """Ants that are to run forwards (1) or backwards (-1) along x, without contact forces.

    The reward is the velocity in that direction and 1 for standing, less .5 |action|²; an episode ends with a fall.
    There are two tasks, met in training and in test alike.
    """

    splits = ("train", "test")
    splits_share_tasks = True

    @property
    def name(self) -> str:
        return "ant-direction-without-contact-forces-v1"

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (self.model.nq + self.model.nv - 2,), np.float32)

    def priors(self, split: str) -> Mapping[str, Prior]:
        return {"direction": Choice((-1, 1))}

    def observe(self, now: Simulations) -> Floats:
        return np.concatenate([now.qpos[:, 2:], now.qvel], 1)

    def reward(self, velocity: Floats, action: Floats, now: Simulations, task: Values) -> Floats:
        forwards: Floats = velocity[:, 0] * task["direction"]
        return forwards + ~self.ended(now) - 0.5 * squares(action)

    def ended(self, now: Simulations) -> Flags:
        height = now.qpos[:, 2]
        sound = np.isfinite(now.qpos).all(1) & np.isfinite(now.qvel).all(1)
        fell: Flags = ~(sound & (height >= 0.2) & (height <= 1.0))
        return fell


@final
@dataclass(frozen=True)
class AntGoal(Ant):
    """PEARL's ants with a goal uniform over a disc of 3 m (Rakelly et al. 2019, arXiv 1903.08254), no contact forces.

    The reward is minus the distance to the goal along x and along y, less .1 |action|²; the ant sees where it is, and
    no fall ends an episode. ood: goals between 3 and 4 m away.
    """

    @property
    def name(self) -> str:
        return "ant-goal-without-contact-forces-v1"

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (self.model.nq + self.model.nv,), np.float32)

    def priors(self, split: str) -> Mapping[str, Prior]:
        distance = Radius(3.0, 4.0) if split == "ood" else Radius(0.0, 3.0)
        return {"angle": Uniform(-math.pi, math.pi), "distance": distance}

    def observe(self, now: Simulations) -> Floats:
        return np.concatenate([now.qpos, now.qvel], 1)

    def reward(self, velocity: Floats, action: Floats, now: Simulations, task: Values) -> Floats:
        goal = task["distance"] * np.stack([np.cos(task["angle"]), np.sin(task["angle"])])
        missing: Floats = np.abs(self.position(now) - goal.T).sum(1)
        return -missing - 0.1 * squares(action)
