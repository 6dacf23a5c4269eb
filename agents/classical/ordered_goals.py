"""Planners for goals that appear one after another: over beliefs, with the goals known, or without the last goal."""

from typing import final

import torch
from torch import Tensor
from typing_extensions import Unpack

from metarl.agents.classical.baseline import ClassicalBaseline, Placement
from metarl.optima import ordered_goals
from metarl.optima.ordered_goals import OrderedGoals, OrderedGoalsPlan
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import PrivilegedPolicy, Transition


def check_ordered_goals(distribution: TaskDistribution) -> None:
    """Raise ValueError unless the distribution has goals that appear one after another."""
    if not isinstance(distribution, OrderedGoals):
        needed = "goals, successors, start, pays and step_cost (see metarl.optima.ordered_goals.OrderedGoals)"
        raise ValueError(f"ordered goals need a distribution with {needed}; {distribution.name} has not")


class OrderedGoalsPlanner(ClassicalBaseline):
    """Follows a plan for one episode, anew in each with what it has learned. A subclass makes the plan."""

    stream = "ordered-goals"

    def __init__(self, distribution: TaskDistribution, num_tasks: int, **placement: Unpack[Placement]) -> None:
        super().__init__(distribution, num_tasks, **placement)
        assert isinstance(distribution, OrderedGoals)
        self.family = distribution
        self._prior = torch.zeros(num_tasks, dtype=torch.int64, device=self.device)  # the belief at the start
        self._belief = torch.zeros_like(self._prior)
        self._elapsed = torch.zeros_like(self._belief)

    @final
    def follow(self, plan: OrderedGoalsPlan) -> None:
        """Act by this plan from now on."""
        tables = (plan.best, plan.hit, plan.missed, plan.again)
        self._best, self._hit, self._missed, self._again = (torch.from_numpy(x).to(self.device) for x in tables)

    @final
    def begin(self, mask: Tensor | None = None) -> None:
        forgotten = slice(None) if mask is None else mask
        self._belief[forgotten] = self._prior[forgotten]
        self._elapsed[forgotten] = 0

    @final
    def act(self, observation: Tensor) -> Tensor:
        return self._best[self._elapsed, self._belief, observation]

    @final
    def observe(self, transition: Transition) -> None:
        cell, paid, done = transition.next_observation, transition.reward > 0, transition.done
        belief = torch.where(paid, self._hit[self._belief, cell], self._missed[self._belief, cell])
        self._belief = torch.where(done, self._again[belief], belief)
        self._elapsed = (self._elapsed + 1).clamp(max=len(self._best) - 1) * ~done


@final
class BayesOptimalGoals(OrderedGoalsPlanner):
    """The Bayes-optimal policy for one episode, by dynamic programming over beliefs.

    >>> import metarl
    >>> BayesOptimalGoals(metarl.make("hidden-rooms"), num_tasks=3).num_tasks
    3
    """

    check = staticmethod(check_ordered_goals)

    def __init__(self, distribution: TaskDistribution, num_tasks: int, **placement: Unpack[Placement]) -> None:
        super().__init__(distribution, num_tasks, **placement)
        self.follow(ordered_goals.solve(ordered_goals.problem(self.family)))


@final
class WithoutLastGoal(OrderedGoalsPlanner):
    """Plans as if the last goal did not exist: the best of those who never learn of it.

    >>> import metarl
    >>> WithoutLastGoal(metarl.make("hidden-rooms"), num_tasks=3).num_tasks
    3
    """

    check = staticmethod(check_ordered_goals)

    def __init__(self, distribution: TaskDistribution, num_tasks: int, **placement: Unpack[Placement]) -> None:
        super().__init__(distribution, num_tasks, **placement)
        self.follow(ordered_goals.solve(ordered_goals.problem(self.family, goals=len(self.family.pays) - 1)))


@final
class KnownGoals(OrderedGoalsPlanner, PrivilegedPolicy):
    """Knows all goals of its task, and plans to the end of the episode.

    >>> import metarl
    >>> KnownGoals(metarl.make("hidden-rooms"), num_tasks=3).num_tasks
    3
    """

    check = staticmethod(check_ordered_goals)

    def set_tasks(self, tasks: Tasks) -> None:
        """One plan for each different task, side by side in one table of beliefs."""
        goals = [tuple(row) for row in self.family.goals_of(tasks).tolist()]
        plans = {task: ordered_goals.solve(ordered_goals.problem(self.family, (task,))) for task in goals}
        plan, first = ordered_goals.side_by_side(list(plans.values()))
        self.follow(plan)
        start = dict(zip(plans, first.tolist(), strict=True))
        self._prior = torch.tensor([start[task] for task in goals], device=self.device)

    def values(self, observation: Tensor) -> None:
        return None
