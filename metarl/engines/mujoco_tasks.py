"""Task distributions over MuJoCo models."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from gymnasium import spaces
from torch import Tensor

from metarl.engines.mujoco_dynamics import MujocoDynamics
from metarl.engines.mujoco_vector import MujocoEnv, MujocoVectorEnv
from metarl.priors import Prior, union
from metarl.tasks.batch import Tasks


@dataclass(frozen=True)
class MujocoTasks(MujocoDynamics):
    """A family on a MuJoCo model, such as one of gymnasium's robots. All environments of a batch are stepped at once.

    Subclasses define observation, reward and the fields of the model that vary, as functions of all simulations
    together, in float64 numpy. From the same seeds and actions, states equal those of gymnasium's v5 environments bit
    for bit.

    Raises ImportError, which names the extra, if mujoco is not installed, and ValueError if `num_episodes` is below 1.
    """

    num_episodes: int = 2
    """Episodes in a trial."""

    def __post_init__(self) -> None:
        _ = self.model
        super().__post_init__()

    @abstractmethod
    def priors(self, split: str) -> Mapping[str, Prior]:
        """The prior of each task parameter in a split."""

    @property
    @final
    def task_space(self) -> spaces.Dict:
        first, *others = (self.priors(split) for split in self.splits)
        boxes = {name: prior.space for name, prior in first.items()}
        for priors in others:
            boxes = {name: union(box, priors[name].space) for name, box in boxes.items()}
        return spaces.Dict(dict(boxes))

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
