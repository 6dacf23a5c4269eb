"""Goals that appear one after another on a graph of cells: exact planning over beliefs, for an episode.

A belief is the set of tasks that are still possible, beside the number of goals that were reached in this episode. A
step tells by its reward whether it ended on a goal, and nothing else.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np
import numpy.typing as npt
from torch import Tensor

from metarl.tasks.batch import Tasks

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Goals = tuple[int, ...]  # a task: the cells of its goals, in the order in which they appear


@runtime_checkable
class OrderedGoals(Protocol):
    """A family of goals on cells that pay `pays`, each once the one before was reached, else -`step_cost`."""

    @property
    def start(self) -> int: ...
    @property
    def pays(self) -> tuple[float, ...]: ...
    @property
    def step_cost(self) -> float: ...
    @property
    def horizon(self) -> int: ...
    def goals(self) -> tuple[Goals, ...]:
        """The tasks, equally likely."""

    def goals_of(self, tasks: Tasks) -> Tensor:
        """The cells `[N, goals]` of the goals of each task."""

    def successors(self) -> Tensor:
        """The cell `[cells, actions]` that each action leads to."""


@final
@dataclass(frozen=True)
class OrderedGoalsProblem:
    """An episode of `horizon` steps from `start` in one of `tasks`; goals beyond the `pays` are not there."""

    successors: tuple[tuple[int, ...], ...]  # [cells][actions]
    start: int
    tasks: tuple[Goals, ...]
    pays: tuple[float, ...]
    step_cost: float
    horizon: int


@final
@dataclass(frozen=True, eq=False)
class OrderedGoalsPlan:
    """What to do in each belief, and where beliefs go. Belief 0 is the prior at the start of an episode."""

    value: float  # mean return of an episode from the prior
    best: Integers  # [horizon, beliefs, cells] the best action after each number of steps
    hit: Integers  # [beliefs, cells] the belief after a step that ends on a cell and pays
    missed: Integers  # [beliefs, cells] the same where it does not pay
    again: Integers  # [beliefs] the belief at the start of the next episode


def problem(
    family: OrderedGoals, tasks: tuple[Goals, ...] | None = None, goals: int | None = None
) -> OrderedGoalsProblem:
    """The problem of a family, of some of its `tasks` only, or as if only the first `goals` existed."""
    return OrderedGoalsProblem(
        tuple(tuple(row) for row in family.successors().tolist()),
        family.start,
        family.goals() if tasks is None else tasks,
        family.pays[:goals],
        family.step_cost,
        family.horizon,
    )


@functools.lru_cache(maxsize=64)
def solve(problem: OrderedGoalsProblem) -> OrderedGoalsPlan:
    """Backward induction over beliefs and cells.

    >>> two = OrderedGoalsProblem(((0, 1), (0, 1)), 0, ((1,),), (1.0,), 0.5, 3)  # a cell, and a goal beside it
    >>> solve(two).value
    3.0

    Raises ValueError if there are no tasks.
    """
    if not problem.tasks:
        raise ValueError("ordered goals need at least one task")
    beliefs = _beliefs(problem)
    successors = np.array(problem.successors)
    value = np.zeros((len(beliefs.again), len(successors)))
    best = np.zeros((problem.horizon, *value.shape), np.int64)
    cell = np.arange(len(successors))
    for step in reversed(range(problem.horizon)):
        paid = beliefs.chance * (beliefs.pay + value[beliefs.hit, cell])
        unpaid = (1 - beliefs.chance) * (value[beliefs.missed, cell] - problem.step_cost)
        following = (paid + unpaid)[:, successors]  # [beliefs, cells, actions]
        best[step], value = following.argmax(-1), following.max(-1)
    return OrderedGoalsPlan(float(value[0, problem.start]), best, beliefs.hit, beliefs.missed, beliefs.again)


def side_by_side(plans: Sequence[OrderedGoalsPlan]) -> tuple[OrderedGoalsPlan, Integers]:
    """Several plans of one family in one table, and the number `[plans]` of the first belief of each."""
    sizes = [len(plan.again) for plan in plans]
    first = np.cumsum([0, *sizes[:-1]])
    moved = [
        np.concatenate([getattr(plan, part) + start for plan, start in zip(plans, first, strict=True)])
        for part in ("hit", "missed", "again")
    ]
    value = float(np.mean([plan.value for plan in plans]))
    return OrderedGoalsPlan(value, np.concatenate([plan.best for plan in plans], 1), *moved), first


@final
@dataclass(frozen=True)
class _Beliefs:
    """Every belief that can be reached, and what a step that ends on each cell does to it: all `[beliefs, cells]`."""

    chance: Floats  # that it pays
    pay: Floats
    hit: Integers
    missed: Integers
    again: Integers  # [beliefs]


_Belief = tuple[int, frozenset[Goals]]  # goals reached in this episode, and the tasks that are possible


def _beliefs(problem: OrderedGoalsProblem) -> _Beliefs:
    numbers: dict[_Belief, int] = {(0, frozenset(problem.tasks)): 0}
    rows = []
    queue = list(numbers)
    while queue:
        belief = queue.pop(0)

        def number(following: _Belief, of: dict[_Belief, int] = numbers, later: list[_Belief] = queue) -> int:
            if following not in of:
                of[following] = len(of)
                later.append(following)
            return of[following]

        outcomes = [_step(problem, belief, cell) for cell in range(len(problem.successors))]
        rows.append(
            (
                [chance for chance, *_ in outcomes],
                [pay for _, pay, *_ in outcomes],
                [number(hit) for *_, hit, _ in outcomes],
                [number(missed) for *_, missed in outcomes],
                number((0, belief[1])),
            )
        )
    chance, pay, hit, missed, again = (np.array(column) for column in zip(*rows, strict=True))
    return _Beliefs(chance, pay, hit, missed, again)


def _step(problem: OrderedGoalsProblem, belief: _Belief, cell: int) -> tuple[float, float, _Belief, _Belief]:
    """The chance that a step onto `cell` pays, what it pays, and the beliefs after it did and did not.

    Goals of one belief have one place in the order, as the earlier ones are known: so all of them pay alike.
    """
    reached, tasks = belief
    shown = min(reached + 1, len(problem.pays))  # goals that pay
    which = {task: task[:shown].index(cell) for task in tasks if cell in task[:shown]}
    if not which:
        return 0.0, 0.0, belief, belief
    place = next(iter(which.values()))
    left = tasks - frozenset(which)
    hit = (max(reached, place + 1), frozenset(which))
    return len(which) / len(tasks), problem.pays[place], hit, (reached, left) if left else belief
