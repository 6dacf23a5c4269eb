"""Navigation of a point to an unknown goal in the plane: MAML's dense family and the sparse half-circle."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.engines.native import NativeDistribution
from metarl.functional import sampling as draws
from metarl.optima.experts import KnownPointGoal
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import OptimalReturn

STEP = 0.1  # the largest displacement per axis


@dataclass(frozen=True)
class PointFamily(NativeDistribution):
    """A point in the plane that starts at the origin; the action is its displacement, at most .1 per axis."""

    @property
    @final
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (2,), np.float32)

    @property
    @final
    def action_space(self) -> spaces.Box:
        return spaces.Box(-STEP, STEP, (2,), np.float32)

    @abstractmethod
    def known_goal_return(self) -> float:
        """The mean return of an episode of an agent that knows the goal: both axes close in as fast as they can."""

    @final
    def optimal_return(self, num_episodes: int | None = None) -> OptimalReturn:
        """A bound: the return of an agent that knows the goal."""
        episodes = self.num_episodes if num_episodes is None else num_episodes
        if episodes < 1:
            raise ValueError(f"num_episodes must be at least 1, got {episodes}")
        value = self.known_goal_return()
        source = "straight to the known goal; what finding it costs is not counted"
        return OptimalReturn((value,) * episodes, value * episodes, "bound", source=source)

    @final
    def expert(self, num_tasks: int, device: torch.device | str = "cpu") -> KnownPointGoal:
        return KnownPointGoal(self.action_space, num_tasks, device)

    @final
    def initial_state(self, tasks: Tasks, generator: torch.Generator) -> Tensor:
        return torch.zeros(len(tasks), 2, device=tasks.device)

    @final
    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state

    @final
    def frame(self, state: Tensor, task: Tasks) -> np.ndarray:
        """The square [-1.5, 1.5]² with the goal green and the point dark; y grows upwards."""
        image = np.full((120, 120, 3), 235, np.uint8)
        for place, color in ((task["goal"][0], (90, 170, 90)), (state[0], (31, 60, 110))):
            column, row = (60 + 40 * place).round().int().clamp(3, 116).tolist()
            image[119 - row - 2 : 119 - row + 3, column - 2 : column + 3] = color
        return image


@final
@dataclass(frozen=True)
class PointNavigation(PointFamily):
    """MAML's 2-D navigation (Finn et al. 2017, arXiv 1703.03400): goal ~ U[-.5, .5]², reward minus the distance to it.

    The reward is taken after the move; an episode ends within .01 of the goal per axis, or after 100 steps.
    ood: goals farther out, between .5 and 1 in the larger coordinate.
    """

    num_episodes: int = 3

    @property
    def name(self) -> str:
        return "point-navigation-v1"

    @property
    def task_space(self) -> spaces.Dict:
        return spaces.Dict({"goal": spaces.Box(-1.0, 1.0, (2,), np.float32)})

    @property
    def horizon(self) -> int:
        return 100

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"goal": self._goals_at(torch.rand(num_tasks, 2, generator=generator, device=generator.device))}

    def _goals_at(self, unit: Tensor) -> Tensor:
        """Goals `[N, 2]` of this split for points of the unit square, uniform if they are."""
        goal = draws.between(*self._interval("goal", -0.5, 0.5), unit)
        if self.split_name == "ood" and not self.limits:  # push every goal out along its ray, into the square ring
            largest = goal.abs().amax(-1, keepdim=True).clamp(min=1e-6)
            goal = goal / largest * (0.5 + largest)
        return goal

    def known_goal_return(self) -> float:
        middles = (torch.arange(200) + 0.5) / 200
        goals = self._goals_at(torch.cartesian_prod(middles, middles))
        return -float(_distances(goals, self.horizon).sum(1).mean())

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        following = state + action
        offset = following - tasks["goal"]
        return following, -offset.norm(dim=-1), (offset.abs() < 0.01).all(-1)


@final
@dataclass(frozen=True)
class SparsePointNavigation(PointFamily):
    """PEARL's sparse point robot (Rakelly et al. 2019, arXiv 1903.08254): goals on the unit half-circle, 20 steps.

    The reward is 1 - distance within .2 of the goal and 0 elsewhere. 80 training and 20 test goals, fixed.
    ood: the lower half of the circle.
    """

    num_episodes: int = 4

    @property
    def name(self) -> str:
        return "sparse-point-navigation-v1"

    @property
    def task_space(self) -> spaces.Dict:
        return spaces.Dict({"goal": spaces.Box(-1.0, 1.0, (2,), np.float32)})

    @property
    def horizon(self) -> int:
        return 20

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        goals = torch.tensor(self.goals(), dtype=torch.float32, device=generator.device)
        return {"goal": goals[torch.randint(len(goals), (num_tasks,), generator=generator, device=generator.device)]}

    def goals(self) -> list[tuple[float, float]]:
        """The goals of this split within `limits`."""
        rng = np.random.default_rng(0)  # fixed: the goals belong to the family's name
        angles = math.pi * rng.random(100)
        chosen = {"train": angles[:80], "test": angles[80:], "ood": -angles}[self.split_name]
        points = [(math.cos(angle), math.sin(angle)) for angle in chosen.tolist()]
        low, high = self._interval("goal", -1.0, 1.0)
        kept = [point for point in points if np.all(low <= point) and np.all(point <= high)]
        if not kept:
            raise ValueError(f"{self.name}: no goal of the {self.split_name} split lies within {self.limits}")
        return kept

    def known_goal_return(self) -> float:
        distance = _distances(torch.tensor(self.goals()), self.horizon)
        return float(torch.where(distance <= 0.2, 1 - distance, 0.0).sum(1).mean())

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        following = state + action
        distance = (following - tasks["goal"]).norm(dim=-1)
        return following, torch.where(distance <= 0.2, 1 - distance, 0.0), torch.zeros_like(distance, dtype=torch.bool)


def _distances(goals: Tensor, steps: int) -> Tensor:
    """`[N, steps]` the distance to each goal `[N, 2]` after 1, 2, ... of the longest steps straight to it."""
    moved = STEP * torch.arange(1, steps + 1, dtype=torch.float64)[:, None]
    offset = (goals.double().abs()[:, None] - moved).clamp(min=0)
    return offset.square().sum(-1).sqrt()
