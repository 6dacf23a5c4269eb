"""Privileged experts: optimal policies that know the task. A family names its own by `TaskDistribution.expert`."""

from abc import abstractmethod
from typing import final

import torch
from gymnasium import spaces
from torch import Tensor

from metarl.optima import goal_search, planning
from metarl.optima.goal_search import GoalCells
from metarl.tasks.batch import Tasks
from metarl.tasks.policies import PrivilegedPolicy, Transition


class MemorylessExpert(PrivilegedPolicy):
    """An expert whose action depends on the task and the observation only."""

    @abstractmethod
    def set_tasks(self, tasks: Tasks) -> None: ...

    @final
    def begin(self, mask: Tensor | None = None) -> None:
        """Nothing to forget."""

    @final
    def observe(self, transition: Transition) -> None:
        """Nothing to learn."""


@final
class KnownBestArm(MemorylessExpert):
    """Knows the `means` of the arms and pulls the best.

    >>> import metarl
    >>> bandits = metarl.make("bernoulli-bandit", arms=3)
    >>> policy = bandits.expert(num_tasks=2)
    >>> policy.set_tasks(bandits.tasks(means=[[0.1, 0.9, 0.5], [0.7, 0.2, 0.4]]))
    >>> policy.act(torch.zeros(2, 1))
    tensor([1, 0])
    """

    def __init__(self, num_arms: int, num_tasks: int, device: torch.device | str = "cpu") -> None:
        super().__init__(num_tasks, device)
        self._means = torch.zeros(num_tasks, num_arms, device=device)

    def set_tasks(self, tasks: Tasks) -> None:
        self._means = tasks["means"].to(self.device)

    def act(self, observation: Tensor) -> Tensor:
        return self._means.argmax(1)

    def values(self, observation: Tensor) -> Tensor:
        return self._means


@final
class KnownMDP(PrivilegedPolicy):
    """Knows the mean `rewards` [S, A] and `transitions` [S, A, S] of a task and plans to the end of each episode."""

    def __init__(
        self, states: int, actions: int, horizon: int, num_tasks: int, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(num_tasks, device)
        self._horizon = horizon
        self._slot = torch.arange(num_tasks, device=device)
        self._values = torch.zeros(num_tasks, horizon, states, actions, device=device)
        self._elapsed = torch.zeros(num_tasks, dtype=torch.int64, device=device)

    def set_tasks(self, tasks: Tasks) -> None:
        tasks = tasks.to(self.device)
        self._values = planning.action_values(tasks["rewards"], tasks["transitions"], self._horizon)

    def begin(self, mask: Tensor | None = None) -> None:
        self._elapsed = torch.zeros_like(self._elapsed) if mask is None else self._elapsed.masked_fill(mask, 0)

    def act(self, observation: Tensor) -> Tensor:
        return self.values(observation).argmax(-1)

    def values(self, observation: Tensor) -> Tensor:
        return self._values[self._slot, self._elapsed, observation]

    def observe(self, transition: Transition) -> None:
        self._elapsed = planning.next_step(self._elapsed, transition.done, self._horizon)


@final
class KnownGoal(MemorylessExpert):
    """Knows the goal cell, task parameter `goal` (x, y) of a grid, goes straight to it and stays."""

    def __init__(self, grid: GoalCells, num_tasks: int, device: torch.device | str = "cpu") -> None:
        super().__init__(num_tasks, device)
        self._side, self._step_cost = grid.side, grid.step_cost
        self._successors = grid.successors().to(self.device)
        self._way = goal_search.ways(grid, self.device)
        steps = goal_search.distances(grid.successors().cpu().numpy())
        self._distance = torch.from_numpy(steps.T.copy()).to(self.device)  # [cells (goal), cells]
        self._goal = torch.zeros(num_tasks, dtype=torch.int64, device=device)

    def set_tasks(self, tasks: Tasks) -> None:
        x, y = tasks["goal"].to(self.device).unbind(1)
        self._goal = x * self._side + y

    def act(self, observation: Tensor) -> Tensor:
        return self._way[self._goal, observation]

    def values(self, observation: Tensor) -> Tensor:
        """What each step of delay costs, where the episode is long enough to reach the goal."""
        following = self._successors[observation]
        return -(1 + self._step_cost) * self._distance[self._goal[:, None], following]


@final
class KnownPointGoal(MemorylessExpert):
    """Knows the `goal` of a point whose action is its displacement, and closes in as fast as each axis allows."""

    def __init__(self, displacements: spaces.Box, num_tasks: int, device: torch.device | str = "cpu") -> None:
        super().__init__(num_tasks, device)
        self._low = torch.as_tensor(displacements.low, device=device)
        self._high = torch.as_tensor(displacements.high, device=device)
        self._goal = torch.zeros(num_tasks, *self._low.shape, device=device)

    def set_tasks(self, tasks: Tasks) -> None:
        self._goal = tasks["goal"].to(self.device)

    def act(self, observation: Tensor) -> Tensor:
        return (self._goal - observation).clamp(self._low, self._high)

    def values(self, observation: Tensor) -> None:
        return None
