"""Classical baselines that search for one hidden goal on a grid."""

from abc import abstractmethod
from typing import final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from metarl.agents.classical.baseline import ClassicalBaseline, Placement
from metarl.functional import sampling as draws
from metarl.optima import goal_search
from metarl.optima.goal_search import GoalCells
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import Transition


def goal_cells(distribution: TaskDistribution) -> GoalCells:
    """The distribution as a grid with one hidden goal cell. Raises ValueError if it is not one."""
    if not isinstance(distribution, GoalCells):
        needed = "candidates, successors, side, start, step_cost (see metarl.optima.goal_search.GoalCells)"
        raise ValueError(f"searches for a goal need a distribution with {needed}; {distribution.name} has not")
    return distribution


def check_goal_cells(distribution: TaskDistribution) -> None:
    """Raise ValueError unless the distribution is a grid with one hidden goal cell."""
    goal_cells(distribution)


class GoalSearcher(ClassicalBaseline):
    """Explores until it has found the goal; then takes a shortest path to it and stays. A subclass explores."""

    check = staticmethod(check_goal_cells)
    stream = "goal-search"

    def __init__(self, distribution: TaskDistribution, num_tasks: int, **placement: Unpack[Placement]) -> None:
        super().__init__(distribution, num_tasks, **placement)
        self.grid = goal_cells(distribution)
        self.way = goal_search.ways(self.grid, self.device)
        self._goal = torch.full((num_tasks,), -1, device=self.device)  # -1: not found

    @abstractmethod
    def forget(self, mask: Tensor) -> None:
        """Begin a new search in the slots where `mask` [num_tasks] is true."""

    @abstractmethod
    def explore(self, cell: Tensor) -> Tensor:
        """Actions `[num_tasks]` in `cell` [num_tasks], for slots that have not found the goal."""

    @abstractmethod
    def missed(self, cell: Tensor) -> None:
        """Learn that the goals are not in `cell` [num_tasks]. Slots that have found their goal ignore this."""

    @final
    def begin(self, mask: Tensor | None = None) -> None:
        mask = torch.ones_like(self._goal, dtype=torch.bool) if mask is None else mask
        self._goal[mask] = -1
        self.forget(mask)

    @final
    def act(self, observation: Tensor) -> Tensor:
        straight = self.way[self._goal.clamp(min=0), observation]
        return torch.where(self._goal >= 0, straight, self.explore(observation))

    @final
    def observe(self, transition: Transition) -> None:
        self._goal = torch.where(transition.reward > 0, transition.next_observation, self._goal)
        self.missed(transition.next_observation)


@final
class GoalPosteriorSampling(GoalSearcher):
    """Posterior sampling: draws a goal from those still possible, takes a random shortest path to it, draws again.

    >>> import metarl
    >>> GoalPosteriorSampling(metarl.make("grid-navigation"), num_tasks=3).num_tasks
    3
    """

    def __init__(self, distribution: TaskDistribution, num_tasks: int, **placement: Unpack[Placement]) -> None:
        super().__init__(distribution, num_tasks, **placement)
        problem = goal_search.problem(self.grid)
        successors = np.array(problem.successors)
        steps = goal_search.distances(successors)[successors]
        # [cells, actions, cells (goal)] steps left after each action
        self._steps = torch.from_numpy(steps).to(self.device)
        self._prior = torch.zeros(len(successors), device=self.device)
        self._prior[list(problem.goals)] = 1
        self._possible = self._prior.repeat(num_tasks, 1)
        self._target = torch.full_like(self._goal, -1)  # -1: to be drawn

    def forget(self, mask: Tensor) -> None:
        self._possible[mask] = self._prior
        self._target[mask] = -1

    def explore(self, cell: Tensor) -> Tensor:
        drawn = draws.choice(self._possible, self.generator)
        self._target = torch.where(self._target < 0, drawn, self._target)
        steps = self._steps[cell, :, self._target]
        return (steps + torch.rand(steps.shape, generator=self.generator, device=self.device)).argmin(1)

    def missed(self, cell: Tensor) -> None:
        self._possible.scatter_(1, cell[:, None], 0)
        self._target = torch.where(self._target == cell, -1, self._target)


@final
class BayesOptimalSearch(GoalSearcher):
    """Follows the best search path for a trial, exact or the best known; after its end the path starts again.

    >>> import metarl
    >>> BayesOptimalSearch(metarl.make("grid-navigation"), num_tasks=3).num_tasks
    3
    """

    def __init__(
        self,
        distribution: TaskDistribution,
        num_tasks: int,
        *,
        num_episodes: int | None = None,
        **placement: Unpack[Placement],
    ) -> None:
        super().__init__(distribution, num_tasks, **placement)
        plan = goal_search.search(goal_search.problem(self.grid, num_episodes))
        self._path = torch.tensor(plan.actions, device=self.device)
        self._elapsed = torch.zeros(num_tasks, dtype=torch.int64, device=self.device)

    def forget(self, mask: Tensor) -> None:
        self._elapsed[mask] = 0

    def explore(self, cell: Tensor) -> Tensor:
        return self._path[self._elapsed]

    def missed(self, cell: Tensor) -> None:
        self._elapsed = (self._elapsed + 1) % len(self._path)
