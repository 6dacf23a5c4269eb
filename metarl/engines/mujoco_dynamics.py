"""What the MuJoCo engines need from a family: observation, reward, end of an episode, and fields of the model."""

import functools
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
from gymnasium import spaces

from metarl.engines.mujoco_simulation import Flags, Floats, Simulations, load_model
from metarl.tasks.distribution import TaskDistribution

Values = Mapping[str, Floats]  # task parameters [n, ...] by name


@dataclass(frozen=True)
class MujocoDynamics(TaskDistribution):
    """Observation, reward and varied fields of a MuJoCo family: functions of all simulations, in float64 numpy."""

    model_file: ClassVar[str]  # one of gymnasium's, or the whole path of another
    substeps: ClassVar[int] = 5  # steps of physics in one of the environment
    outputs: ClassVar[tuple[str, ...]] = ()  # fields of MjData, besides qpos and qvel, that are read
    noise: ClassVar[float]  # of the first state of an episode
    normal_velocity: ClassVar[bool] = False  # whether its velocities are normal, not uniform

    @abstractmethod
    def observe(self, now: Simulations) -> Floats:
        """Observations [n, ...]."""

    @abstractmethod
    def reward(self, velocity: Floats, action: Floats, now: Simulations, task: Values) -> Floats:
        """Rewards [n] of a step: mean `velocity` over it, [n] or [n, 2], in m/s, and the `action` [n, nu] taken."""

    def position(self, now: Simulations) -> Floats:
        """Where the robot is [n] or [n, 2]: what its velocity is measured on. By default its first coordinate."""
        along: Floats = now.qpos[:, 0]
        return along

    def ended(self, now: Simulations) -> Flags:
        """Where [n] an episode ends because the robot fell."""
        return np.zeros(len(now.qpos), bool)

    def model_fields(self, task: Values) -> dict[str, Floats]:
        """Fields of `MjModel` [n, ...] that differ between tasks."""
        return {}

    @property
    @final
    def model(self) -> Any:
        """The robot's `mujoco.MjModel`, before any task has changed it."""
        return _model(self.model_file)

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (self.model.nq + self.model.nv - 1,), np.float32)

    @property
    @final
    def action_space(self) -> spaces.Box:
        low, high = self.model.actuator_ctrlrange.astype(np.float32).T
        return spaces.Box(low, high, dtype=np.float32)

    @property
    def horizon(self) -> int:
        return 200


def squares(action: Floats) -> Floats:
    """|action|² [n] of actions [n, nu]."""
    total: Floats = np.square(action).sum(1)
    return total


@functools.cache
def _model(file: str) -> Any:
    spec = find_spec("gymnasium")
    assert spec is not None
    assert spec.origin is not None
    with warnings.catch_warnings():
        if not Path(file).is_absolute():
            warnings.simplefilter("ignore")  # gymnasium's models, which are what they are, use deprecated attributes
        return load_model(str(Path(spec.origin).parent / "envs" / "mujoco" / "assets" / file))
