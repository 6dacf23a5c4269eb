"""Humanoids that are to run in an unknown direction, without contact forces."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from gymnasium import spaces

from metarl.engines.mujoco_dynamics import Values, squares
from metarl.engines.mujoco_simulation import Flags, Floats, Simulations
from metarl.engines.mujoco_tasks import MujocoTasks
from metarl.priors import Prior, Uniform

ROOT = 6  # degrees of freedom of the torso in space, which no motor moves


@final
@dataclass(frozen=True)
class HumanoidDirection(MujocoTasks):
    """Humanoids that are to run at an angle in U[-pi, pi] (Rakelly et al. 2019, arXiv 1903.08254), no contact forces.

    The reward is gymnasium's with the wanted direction for x: 1.25 times the velocity of the centre of mass and 5 for
    standing, less .1 |action|². An episode ends with a fall, or after 200 steps. What is seen is what gymnasium's
    humanoid sees without contact forces.
    """

    splits = ("train", "test")
    model_file = "humanoid.xml"
    outputs = ("cinert", "cvel", "qfrc_actuator", "xipos")
    noise = 1e-2

    @property
    def name(self) -> str:
        return "humanoid-direction-without-contact-forces-v1"

    @property
    def observation_space(self) -> spaces.Box:
        model = self.model
        size = model.nq - 2 + model.nv + (model.nbody - 1) * (10 + 6) + model.nv - ROOT
        return spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def priors(self, split: str) -> Mapping[str, Prior]:
        return {"angle": Uniform(-math.pi, math.pi)}

    def observe(self, now: Simulations) -> Floats:
        bodies = [now.output(name)[:, 1:].reshape(len(now.qpos), -1) for name in ("cinert", "cvel")]
        return np.concatenate([now.qpos[:, 2:], now.qvel, *bodies, now.output("qfrc_actuator")[:, ROOT:]], 1)

    def position(self, now: Simulations) -> Floats:
        mass = self.model.body_mass
        center: Floats = np.einsum("b,nbj->nj", mass, now.output("xipos")) / mass.sum()
        return center[:, :2]

    def reward(self, velocity: Floats, action: Floats, now: Simulations, task: Values) -> Floats:
        along = velocity[:, 0] * np.cos(task["angle"]) + velocity[:, 1] * np.sin(task["angle"])
        standing = 5.0 * ~self.ended(now)
        return 1.25 * along + standing - 0.1 * squares(action)

    def ended(self, now: Simulations) -> Flags:
        height = now.qpos[:, 2]
        return ~((height > 1.0) & (height < 2.0))
