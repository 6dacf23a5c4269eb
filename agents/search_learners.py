"""Classical searchers for one hidden goal: on a grid, and the goal-knowing optimum in the plane."""

from abc import abstractmethod
from typing import final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl import draws, goal_search, seeding
from metarl.agent import AdaptivePolicy, PrivilegedPolicy
from metarl.goal_search import GoalCells
from metarl.tasks import TaskDistribution, Tasks
from metarl.trajectories import Transition


def goal_cells(distribution: TaskDistribution) -> GoalCells:
    """The distribution as a grid with one hidden goal cell; ValueError if it is none."""
    if not isinstance(distribution, GoalCells):
        needed = "candidates, successors, side, start, step_cost (see metarl.goal_search.GoalCells)"
        raise ValueError(f"goal searchers need a distribution with {needed}; {distribution.name} has not")
    return distribution


def check_goal_cells(distribution: TaskDistribution) -> None:
    """ValueError unless the distribution is a grid with one hidden goal cell."""
    goal_cells(distribution)


def check_point(distribution: TaskDistribution) -> None:
    """ValueError unless observation, `goal` and action are Boxes of one shape: a position, a place, a displacement."""
    box, place, move = (
        distribution.observation_space,
        distribution.task_space.spaces.get("goal"),
        distribution.action_space,
    )
    boxes = all(isinstance(space, spaces.Box) for space in (box, place, move))
    if not boxes or place is None or not (box.shape == place.shape == move.shape):
        raise ValueError(
            "going to a known goal needs Box observations and actions and a task parameter `goal`, all of one shape; "
            f"{distribution.name} observes {box}, takes {move} and has the tasks {distribution.task_space}"
        )


class GoalSearcher(AdaptivePolicy):
    """Explores until the goal was met, then goes straight to it and stays."""

    def __init__(
        self, distribution: TaskDistribution, num_tasks: int, device: torch.device | str = "cpu", seed: int = 0
    ) -> None:
        self.grid = goal_cells(distribution)
        super().__init__(num_tasks, device)
        self.generator = seeding.generator(seed, "goal-search", device=device)
        self.way = ways(self.grid, self.device)
        self._goal = torch.full((num_tasks,), -1, device=device)  # -1: not met

    check = staticmethod(check_goal_cells)

    @abstractmethod
    def forget(self, mask: Tensor) -> None:
        """Begin a new search in the slots where `mask` is true."""

    @abstractmethod
    def explore(self, cell: Tensor) -> Tensor:
        """Actions `[num_tasks]` where the goal has not been met."""

    @abstractmethod
    def missed(self, cell: Tensor) -> None:
        """Learn that the goals are not in these cells `[num_tasks]`; slots that met theirs do not matter."""

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
    """Goes to a goal drawn from those still possible, by a random shortest path, and draws the next on arrival."""

    def __init__(
        self, distribution: TaskDistribution, num_tasks: int, device: torch.device | str = "cpu", seed: int = 0
    ) -> None:
        super().__init__(distribution, num_tasks, device, seed)
        problem = goal_search.problem(self.grid)
        successors = np.array(problem.successors)
        steps = goal_search.distances(successors)[successors]
        self._steps = torch.from_numpy(steps).to(device)  # [cells, actions, cells (goal)] left after each action
        self._prior = torch.zeros(len(successors), device=device)
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
    """The best search path there is, exact or the best known; planned for a trial, after which it starts again."""

    def __init__(
        self,
        distribution: TaskDistribution,
        num_tasks: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
        *,
        num_episodes: int | None = None,
    ) -> None:
        super().__init__(distribution, num_tasks, device, seed)
        plan = goal_search.search(goal_search.problem(self.grid, num_episodes))
        self._path = torch.tensor(plan.actions, device=device)
        self._elapsed = torch.zeros(num_tasks, dtype=torch.int64, device=device)

    def forget(self, mask: Tensor) -> None:
        self._elapsed[mask] = 0

    def explore(self, cell: Tensor) -> Tensor:
        return self._path[self._elapsed]

    def missed(self, cell: Tensor) -> None:
        self._elapsed = (self._elapsed + 1) % len(self._path)


@final
class KnownGoal(PrivilegedPolicy):
    """Knows the goal cell, goes straight to it and stays."""

    def __init__(
        self, distribution: TaskDistribution, num_tasks: int, device: torch.device | str = "cpu", seed: int = 0
    ) -> None:
        self._grid = goal_cells(distribution)
        super().__init__(num_tasks, device)
        self._way = ways(self._grid, self.device)
        steps = goal_search.distances(self._grid.successors().numpy())
        self._distance = torch.from_numpy(steps.T.copy()).to(self.device)  # [cells (goal), cells]
        self._goal = torch.zeros(num_tasks, dtype=torch.int64, device=device)

    check = staticmethod(check_goal_cells)

    def reveal(self, tasks: Tasks) -> None:
        x, y = tasks["goal"].to(self.device).unbind(1)
        self._goal = x * self._grid.side + y

    def begin(self, mask: Tensor | None = None) -> None:
        """Nothing to forget."""

    def act(self, observation: Tensor) -> Tensor:
        return self._way[self._goal, observation]

    def values(self, observation: Tensor) -> Tensor:
        """What each step of delay costs, where the episode is long enough to reach the goal."""
        following = self._grid.successors().to(self.device)[observation]
        return -(1 + self._grid.step_cost) * self._distance[self._goal[:, None], following]

    def observe(self, transition: Transition) -> None:
        """Nothing to learn."""


@final
class KnownPointGoal(PrivilegedPolicy):
    """Knows the goal in the plane and closes in on it as fast as each axis allows."""

    def __init__(
        self, distribution: TaskDistribution, num_tasks: int, device: torch.device | str = "cpu", seed: int = 0
    ) -> None:
        self.check(distribution)
        super().__init__(num_tasks, device)
        assert isinstance(distribution.action_space, spaces.Box)
        self._low = torch.as_tensor(distribution.action_space.low, device=device)
        self._high = torch.as_tensor(distribution.action_space.high, device=device)
        self._goal = torch.zeros(num_tasks, *self._low.shape, device=device)

    check = staticmethod(check_point)

    def reveal(self, tasks: Tasks) -> None:
        self._goal = tasks["goal"].to(self.device)

    def begin(self, mask: Tensor | None = None) -> None:
        """Nothing to forget."""

    def act(self, observation: Tensor) -> Tensor:
        return (self._goal - observation).clamp(self._low, self._high)

    def values(self, observation: Tensor) -> None:
        return None

    def observe(self, transition: Transition) -> None:
        """Nothing to learn."""


def ways(grid: GoalCells, device: torch.device) -> Tensor:
    """`[cells (goal), cells]` the first action of a shortest path from each cell to each goal."""
    return torch.from_numpy(goal_search.shortest_actions(grid.successors().numpy())).to(device)
