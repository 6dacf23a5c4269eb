"""Task distributions over MuJoCo models: what a robot sees, what it is paid for, and what differs between tasks."""

import functools
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.mujoco_simulation import Flags, Floats, Simulations, load_model
from metarl.mujoco_vector import MujocoEnv, MujocoVectorEnv
from metarl.priors import Prior, union
from metarl.tasks import TaskDistribution, Tasks

Values = Mapping[str, Floats]  # task parameters [n, ...] by name


@dataclass(frozen=True)
class MujocoTasks(TaskDistribution):
    """A family on a MuJoCo model, such as one of gymnasium's robots, all environments of a batch stepped at once.

    Subclasses say what is seen, paid and varied, in functions of all simulations together, in float64 numpy. States
    equal those of gymnasium's v5 environments bit for bit, from the same seeds and actions.

    Raises ImportError that names the extra where mujoco is not installed.
    """

    num_episodes: int = 2
    """Episodes in a trial."""

    model_file: ClassVar[str]  # one of gymnasium's, or the whole path of another
    substeps: ClassVar[int] = 5  # steps of physics in one of the environment
    outputs: ClassVar[tuple[str, ...]] = ()  # fields of MjData, besides qpos and qvel, that are read
    noise: ClassVar[float]  # of the first state of an episode
    normal_velocity: ClassVar[bool] = False  # whether its velocities are normal, not uniform

    def __post_init__(self) -> None:
        if self.num_episodes < 1:
            raise ValueError(f"need num_episodes >= 1, got {self.num_episodes}")
        _ = self.model
        super().__post_init__()

    @abstractmethod
    def priors(self, split: str) -> Mapping[str, Prior]:
        """What each task parameter is drawn from."""

    @abstractmethod
    def observe(self, now: Simulations) -> Floats:
        """Observations [n, ...]."""

    @abstractmethod
    def reward(self, velocity: Floats, action: Floats, now: Simulations, task: Values) -> Floats:
        """Rewards [n] of a step: mean `velocity` over it, [n] or [n, 2], in m/s, and the `action` [n, nu] taken."""

    def place(self, now: Simulations) -> Floats:
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
    @final
    def task_space(self) -> spaces.Dict:
        first, *others = (self.priors(split) for split in self.splits)
        boxes = {name: prior.space for name, prior in first.items()}
        for priors in others:
            boxes = {name: union(box, priors[name].space) for name, box in boxes.items()}
        return spaces.Dict(dict(boxes))

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

    @property
    @final
    def episodes(self) -> int:
        return self.num_episodes

    @final
    def vector_env(self, num_envs: int, device: torch.device | str = "cpu") -> MujocoVectorEnv:
        return MujocoVectorEnv(self, num_envs, device)

    @final
    def env(self, task: Tasks | None = None, render_mode: str | None = None) -> MujocoEnv:
        return MujocoEnv(self, task, render_mode)

    @final
    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        drawn = {}
        for name, prior in self.priors(self.split_name).items():
            low, high = self._interval(name, prior.space.low, prior.space.high)
            drawn[name] = prior.draw(num_tasks, low, high, generator)
        return drawn


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
