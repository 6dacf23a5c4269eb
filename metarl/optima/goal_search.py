"""Bayes-optimal search for one hidden goal cell on a known deterministic graph, several episodes from the same start.

Until the goal is found every observation is foreseen, so a policy is a fixed sequence of actions; afterwards the
optimum is known: stay on the goal, and in later episodes go straight to it. Finding goal g first at step t of episode e
(both from 1) of E episodes of H steps is therefore worth, above what a trial without the goal pays,

    (1 + cost) * gain,   gain = (H - t + 1) + (E - e) * stay_g,   stay_g = H - max(distance_g, 1) + 1

and the Bayes-optimal value is the largest mean gain of any path. `search` walks all paths step by step, merges those
that meet in the same cell having seen the same candidates, and drops those whose optimistic gain cannot win.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple, Protocol, final, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from metarl.tasks.distribution import OptimalReturn

Integers = npt.NDArray[np.int64]
WORD = 62  # candidates remembered per integer of a set


@runtime_checkable
class GoalCells(Protocol):
    """A family of one hidden goal cell: +1 on every step on it, minus `step_cost` elsewhere; cells are x * side + y."""

    @property
    def side(self) -> int: ...
    @property
    def start(self) -> tuple[int, int]: ...
    @property
    def step_cost(self) -> float: ...
    @property
    def horizon(self) -> int: ...
    @property
    def num_episodes(self) -> int: ...
    def candidates(self) -> list[tuple[int, int]]:
        """The goals, equally likely."""

    def successors(self) -> Tensor:
        """The cell `[cells, actions]` that each action leads to."""


@final
@dataclass(frozen=True)
class SearchProblem:
    """One goal, uniform over `goals`, to be found in `episodes` episodes of `horizon` steps that begin at `start`."""

    successors: tuple[tuple[int, ...], ...]  # [cells][actions] the cell each action leads to
    start: int
    goals: tuple[int, ...]
    horizon: int
    num_episodes: int
    step_cost: float = 0.0

    def __post_init__(self) -> None:
        if not self.goals or min(self.horizon, self.num_episodes) < 1:
            raise ValueError(
                f"need goals, horizon >= 1 and num_episodes >= 1, got {self.goals}, {self.horizon}, {self.num_episodes}"
            )

    @property
    def stays(self) -> Integers:
        """`[goals]` steps spent on each goal in an episode by an agent that knows it."""
        steps = distances(np.array(self.successors))[self.start, list(self.goals)]
        left: Integers = self.horizon - np.maximum(steps, 1) + 1
        return left.clip(min=0)

    def trial_return(self, gain: float) -> float:
        """The mean return of a trial from the sum of the goals' gains."""
        idle = -self.step_cost * self.horizon * self.num_episodes
        return float(idle + (1 + self.step_cost) * gain / len(self.goals))


@final
@dataclass(frozen=True)
class SearchPlan:
    """The best known open-loop path, followed until the goal is found."""

    actions: tuple[int, ...]  # [episodes * horizon]
    per_episode: tuple[float, ...]  # mean returns, uniform over the goals
    total: float
    bound: float  # no policy gets more; equal to `total` where the path is proved to be the best

    @property
    def exact(self) -> bool:
        return self.bound - self.total < 1e-9


def problem(family: GoalCells, num_episodes: int | None = None) -> SearchProblem:
    """The search problem of a family for a trial of `num_episodes` (default: the family's)."""
    return SearchProblem(
        successors=tuple(tuple(row) for row in family.successors().tolist()),
        start=family.start[0] * family.side + family.start[1],
        goals=tuple(x * family.side + y for x, y in family.candidates()),
        horizon=family.horizon,
        num_episodes=family.num_episodes if num_episodes is None else num_episodes,
        step_cost=family.step_cost,
    )


def distances(successors: Integers) -> Integers:
    """Steps `[cells, cells]` from each cell to each other; `cells`, which no path has, where there is no way."""
    cells = len(successors)
    steps = np.where(np.eye(cells, dtype=bool), 0, cells)
    for _ in range(cells):
        nearer = np.minimum(steps, 1 + steps[successors].min(1)).clip(max=cells)
        if (nearer == steps).all():
            break
        steps = nearer
    return steps


def shortest_actions(successors: Integers) -> Integers:
    """The first action `[cells (goal), cells]` of a shortest path from each cell to each goal; on the goal, to stay."""
    steps = distances(successors)
    return np.ascontiguousarray(steps[successors].argmin(1).T)


def ways(grid: GoalCells, device: torch.device | str = "cpu") -> Tensor:
    """`[cells (goal), cells]` the first action of a shortest path from each cell to each goal."""
    return torch.from_numpy(shortest_actions(grid.successors().cpu().numpy())).to(device)


def assignment_bound(problem: SearchProblem) -> int:
    """The most the gains can sum to: at most one new goal in each step, none before a walk could have reached it."""
    stays, horizon = problem.stays, problem.horizon
    step = np.tile(np.arange(1, horizon + 1), problem.num_episodes)
    later = np.repeat(np.arange(problem.num_episodes)[::-1], horizon)
    gain = (horizon - step + 1) + later * stays[:, None]
    gain[step + stays[:, None] < horizon + 1] = 0
    return int(gain[linear_sum_assignment(gain, maximize=True)].sum())


def returns_of_path(problem: SearchProblem, actions: tuple[int, ...]) -> tuple[float, ...]:
    """The mean return of each episode when `actions` are followed until the goal is found, the optimum after that."""
    stays = problem.stays
    on_goal = np.zeros((problem.num_episodes, len(problem.goals)))
    found = np.zeros(len(problem.goals), dtype=bool)
    for episode in range(problem.num_episodes):
        on_goal[episode, found] = stays[found]
        cell = problem.start
        for step in range(problem.horizon):
            cell = problem.successors[cell][actions[episode * problem.horizon + step]]
            new = (np.array(problem.goals) == cell) & ~found
            on_goal[episode, new] = problem.horizon - step
            found |= new
    means = (1 + problem.step_cost) * on_goal.mean(1) - problem.step_cost * problem.horizon
    return tuple(means.tolist())


@functools.cache
def search(problem: SearchProblem, width: int = 10_000) -> SearchPlan:
    """The best path among at most `width` kept per step; proved to be optimal (`exact`) where none was given up.

    >>> import metarl
    >>> round(search(problem(metarl.make("grid-navigation"))).total, 4)
    37.2143
    """
    stays = problem.stays
    gain, actions, surrendered = _widest_paths(problem, stays, min(width, 200), 0)
    better, others, surrendered = _widest_paths(problem, stays, width, gain)
    if better > gain:
        gain, actions = better, others
    path = actions + (0,) * (problem.num_episodes * problem.horizon - len(actions))
    bound = min(assignment_bound(problem), max(gain, surrendered))
    per_episode = returns_of_path(problem, path)
    return SearchPlan(path, per_episode, sum(per_episode), max(problem.trial_return(bound), sum(per_episode)))


def optimal_return(problem: SearchProblem) -> OptimalReturn:
    """The Bayes-optimal return: exact where `search` proves it, else a bound that names the best known path."""
    plan = search(problem)
    if plan.exact:
        return OptimalReturn(plan.per_episode, plan.total, "exact", source="best open-loop search path, proved optimal")
    source = f"assignment of goals to steps; the best known search path gets {plan.total:.4g}"
    return OptimalReturn(None, plan.bound, "bound", source=source)


class _Paths(NamedTuple):
    """Ways to have begun a trial, one per row: where each stands and what it has seen and gained."""

    cell: Integers  # [M]
    seen: Integers  # [M, words] the candidates met, one bit each
    gain: Integers  # [M]
    left: Integers  # [M] candidates not met
    worth: Integers  # [M] their summed `stays`

    def rows(self, index: Integers) -> "_Paths":
        return _Paths(*(column[index] for column in self))


def _widest_paths(problem: SearchProblem, stays: Integers, width: int, floor: int) -> tuple[int, tuple[int, ...], int]:
    """The best gain above `floor` with its actions, and the largest optimistic gain among the paths given up."""
    successors, bits, stay_at = (
        np.array(problem.successors),
        _bits(problem),
        np.zeros(len(problem.successors), np.int64),
    )
    stay_at[list(problem.goals)] = stays
    paths = _Paths(*(np.array([value]) for value in (problem.start, bits[0] * 0, 0, len(stays), stays.sum())))
    history: list[tuple[Integers, Integers]] = []
    best, best_at, surrendered = floor, (0, 0), 0
    for time in range(problem.num_episodes * problem.horizon):
        step, later = time % problem.horizon, problem.num_episodes - 1 - time // problem.horizon
        if step == 0:
            paths = paths._replace(cell=np.full_like(paths.cell, problem.start))
        paths, parents, actions = _extended(paths, successors, bits, stay_at, problem.horizon - step, later)
        hope = _optimistic_gain(paths, problem.horizon - step - 1, later)
        kept = _distinct(paths, np.flatnonzero(hope > best))
        if len(kept) > width:
            order = np.argsort(-hope[kept], kind="stable")
            surrendered = max(surrendered, int(hope[kept[order[width]]]))
            kept = kept[order[:width]]
        if len(kept) == 0:
            break
        paths = paths.rows(kept)
        history.append((parents[kept], actions[kept]))
        if paths.gain.max() > best:
            best, best_at = int(paths.gain.max()), (len(history), int(paths.gain.argmax()))
    return best, _traced(history, *best_at), surrendered


def _bits(problem: SearchProblem) -> Integers:
    """`[cells, words]` the bit of each candidate in a set of candidates; zero for other cells."""
    bits = np.zeros((len(problem.successors), -(-len(problem.goals) // WORD)), np.int64)
    for index, goal in enumerate(problem.goals):
        bits[goal, index // WORD] = 1 << (index % WORD)
    return bits


def _extended(
    paths: _Paths, successors: Integers, bits: Integers, stay_at: Integers, remaining: int, later: int
) -> tuple[_Paths, Integers, Integers]:
    """Every path by every action, with the row it came from and the action; a new goal pays for `remaining` steps."""
    parents, actions = (axis.ravel() for axis in np.indices((len(paths.cell), successors.shape[1])))
    old, cell = paths.rows(parents), successors[paths.cell].ravel()
    new = ((bits[cell] & ~old.seen) != 0).any(1)
    gain = old.gain + new * (remaining + later * stay_at[cell])
    return _Paths(cell, old.seen | bits[cell], gain, old.left - new, old.worth - new * stay_at[cell]), parents, actions


def _optimistic_gain(paths: _Paths, steps: int, later: int) -> Integers:
    """A bound on what each path can come to: a new goal in every step left, the others first thing next episode."""
    found = np.minimum(paths.left, steps)
    soon: Integers = found * steps - found * (found - 1) // 2
    return paths.gain + later * paths.worth + soon


def _distinct(paths: _Paths, rows: Integers) -> Integers:
    """Of those `rows` that stand in one cell and have seen the same, the one that gained most."""
    some = paths.rows(rows)
    order = np.lexsort((-some.gain, some.cell, *some.seen.T))
    keys = np.column_stack([some.cell, some.seen])[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (keys[1:] != keys[:-1]).any(1)
    return np.asarray(rows[order[first]])


def _traced(history: list[tuple[Integers, Integers]], length: int, row: int) -> tuple[int, ...]:
    """The actions that led to `row` after `length` steps."""
    actions = []
    for parents, taken in reversed(history[:length]):
        actions.append(int(taken[row]))
        row = int(parents[row])
    return tuple(reversed(actions))
