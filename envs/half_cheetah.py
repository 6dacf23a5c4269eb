"""Half-cheetahs that are to run at an unknown speed or in an unknown direction (Finn et al. 2017, arXiv 1703.03400)."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from metarl.engines.mujoco_dynamics import Values, squares
from metarl.engines.mujoco_simulation import Floats, Simulations
from metarl.engines.mujoco_tasks import MujocoTasks
from metarl.priors import Choice, Prior, Uniform

EFFORT = 0.05  # cost of each squared unit of torque


@dataclass(frozen=True)
class HalfCheetah(MujocoTasks):
    """gymnasium's half-cheetah with a reward for its velocity, minus .05 |action|²; episodes have 200 steps."""

    model_file = "half_cheetah.xml"
    noise = 0.1
    normal_velocity = True

    @abstractmethod
    def velocity_reward(self, velocity: Floats, task: Values) -> Floats:
        """The reward [n] for a `velocity` [n] along the ground in m/s, without the cost of effort."""

    @final
    def observe(self, now: Simulations) -> Floats:
        return np.concatenate([now.qpos[:, 1:], now.qvel], 1)

    @final
    def reward(self, velocity: Floats, action: Floats, now: Simulations, task: Values) -> Floats:
        return self.velocity_reward(velocity, task) - EFFORT * squares(action)


@dataclass(frozen=True)
class WantedSpeed(HalfCheetah):
    """The reward is minus the distance to a wanted speed. ood: up to 1 m/s faster than the fastest."""

    fastest: ClassVar[float]  # m/s

    @final
    def priors(self, split: str) -> Mapping[str, Prior]:
        return {"velocity": Uniform(self.fastest, self.fastest + 1) if split == "ood" else Uniform(0.0, self.fastest)}

    @final
    def velocity_reward(self, velocity: Floats, task: Values) -> Floats:
        missing: Floats = np.abs(velocity - task["velocity"])
        return -missing


@final
@dataclass(frozen=True)
class HalfCheetahVelocity(WantedSpeed):
    """MAML's half-cheetahs with a wanted speed in U[0, 2] m/s: the reward is minus the distance to it. ood: 2 to 3."""

    fastest = 2.0

    @property
    def name(self) -> str:
        return "half-cheetah-velocity-v1"


@final
@dataclass(frozen=True)
class HalfCheetahVelocity3(WantedSpeed):
    """PEARL's half-cheetahs with a wanted speed in U[0, 3] m/s (Rakelly et al. 2019, arXiv 1903.08254). ood: 3 to 4."""

    fastest = 3.0

    @property
    def name(self) -> str:
        return "half-cheetah-velocity-3-v1"


@final
@dataclass(frozen=True)
class HalfCheetahDirection(HalfCheetah):
    """Half-cheetahs that are to run forwards (1) or backwards (-1): the reward is the velocity in that direction.

    There are two tasks, met in training and in test alike.
    """

    splits = ("train", "test")
    splits_share_tasks = True

    @property
    def name(self) -> str:
        return "half-cheetah-direction-v1"

    def priors(self, split: str) -> Mapping[str, Prior]:
        return {"direction": Choice((-1, 1))}

    def velocity_reward(self, velocity: Floats, task: Values) -> Floats:
        forward: Floats = velocity * task["direction"]
        return forward
