"""Hoppers and walkers whose bodies differ from task to task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from metarl.engines.mujoco_dynamics import Values, squares
from metarl.engines.mujoco_simulation import Flags, Floats, Simulations
from metarl.engines.mujoco_tasks import MujocoTasks
from metarl.priors import LogUniform, Prior

EFFORT = 1e-3  # cost of each squared unit of action
FASTEST = 10.0  # larger velocities are clipped in observations


@dataclass(frozen=True)
class RandomBody(MujocoTasks):
    """A robot of gymnasium's whose bodies, joints and grounds are a random multiple of their usual mass and so on.

    Each body's mass and inertia and each geom's friction have a factor 1.5^U[-3, 3], each joint's damping 1.3^U[-3, 3],
    the ranges of Rakelly et al. 2019 (arXiv 1903.08254). The reward is gymnasium's: the velocity and 1 for standing,
    less .001 |action|². An episode ends with a fall, or after 200 steps. ood: factors with exponents U[-4, 4].
    """

    noise = 5e-3
    substeps = 4

    lowest: ClassVar[float]  # m: below this height of the torso the robot has fallen
    highest: ClassVar[float]
    tilt: ClassVar[float]  # rad: the largest angle of the torso at which it stands
    wildest: ClassVar[float] = np.inf  # a robot with an angle or velocity beyond this fell, too

    @final
    def priors(self, split: str) -> Mapping[str, Prior]:
        exponent = 4 if split == "ood" else 3
        wide, narrow = 1.5**exponent, 1.3**exponent
        model = self.model
        sizes = {"mass": model.nbody - 1, "inertia": model.nbody - 1, "friction": model.ngeom}
        factors = {name: _factors(wide, size) for name, size in sizes.items()}
        return {**factors, "damping": _factors(narrow, model.nv)}

    @final
    def model_fields(self, task: Values) -> dict[str, Floats]:
        model = self.model
        mass, inertia = (np.tile(x, (len(task["mass"]), *[1] * x.ndim)) for x in (model.body_mass, model.body_inertia))
        mass[:, 1:] *= task["mass"]  # body 0 is the world
        inertia[:, 1:] *= task["inertia"][..., None]
        return {
            "body_mass": mass,
            "body_inertia": inertia,
            "geom_friction": model.geom_friction * task["friction"][..., None],
            "dof_damping": model.dof_damping * task["damping"],
        }

    @final
    def observe(self, now: Simulations) -> Floats:
        return np.concatenate([now.qpos[:, 1:], now.qvel.clip(-FASTEST, FASTEST)], 1)

    @final
    def reward(self, velocity: Floats, action: Floats, now: Simulations, task: Values) -> Floats:
        return velocity + ~self.ended(now) - EFFORT * squares(action)

    @final
    def ended(self, now: Simulations) -> Flags:
        height, angle = now.qpos[:, 1], now.qpos[:, 2]
        stands = (self.lowest < height) & (height < self.highest) & (np.abs(angle) < self.tilt)
        rest = np.concatenate([now.qpos[:, 2:], now.qvel], 1)
        fell: Flags = ~(stands & (np.abs(rest) < self.wildest).all(1))
        return fell


@final
@dataclass(frozen=True)
class HopperBody(RandomBody):
    """Hoppers with random masses, inertias, frictions and dampings: they hop forward without falling."""

    model_file = "hopper.xml"
    lowest, highest, tilt, wildest = 0.7, np.inf, 0.2, 100.0

    @property
    def name(self) -> str:
        return "hopper-body-v1"


@final
@dataclass(frozen=True)
class Walker2dBody(RandomBody):
    """Two-legged walkers with random masses, inertias, frictions and dampings: they walk forward without falling."""

    model_file = "walker2d_v5.xml"
    lowest, highest, tilt = 0.8, 2.0, 1.0

    @property
    def name(self) -> str:
        return "walker-2d-body-v1"


def _factors(largest: float, count: int) -> LogUniform:
    return LogUniform(np.full(count, 1 / largest), np.full(count, largest))
