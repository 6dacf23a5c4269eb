"""Optimal search against expectimax over beliefs, published values and bounds."""

import functools

import numpy as np
import pytest

import metarl
from metarl.optima.goal_search import (
    GoalCells,
    SearchProblem,
    assignment_bound,
    distances,
    problem,
    returns_of_path,
    search,
    shortest_actions,
)


def grid(name: str, split: str = "train", episodes: int | None = None, **options: object) -> SearchProblem:
    family = metarl.make(name, **options).split(split)
    assert isinstance(family, GoalCells)
    return problem(family, episodes)


def corridor(goals: tuple[int, ...], horizon: int, episodes: int, cost: float = 0.0, start: int = 2) -> SearchProblem:
    """Five cells in a row; actions: stay, left, right."""
    moves = tuple((cell, max(cell - 1, 0), min(cell + 1, 4)) for cell in range(5))
    return SearchProblem(moves, start, goals, horizon, episodes, cost)


def expectimax(task: SearchProblem) -> float:
    """The Bayes-optimal return by recursion over beliefs, with no idea of paths or of known goals."""

    @functools.cache
    def value(left: int, cell: int, possible: frozenset[int]) -> float:
        if left == 0:
            return 0.0
        if left % task.horizon == 0:
            cell = task.start
        best = -np.inf
        for following in set(task.successors[cell]):
            hit = (following in possible) / len(possible)
            worth = (1 + task.step_cost) * hit - task.step_cost
            if hit > 0:
                worth += hit * value(left - 1, following, frozenset({following}))
            if hit < 1:
                worth += (1 - hit) * value(left - 1, following, possible - {following})
            best = max(best, worth)
        return float(best)

    return value(task.horizon * task.num_episodes, task.start, frozenset(task.goals))


@pytest.mark.parametrize(
    "task",
    [
        corridor((0, 4), 3, 2),
        corridor((0, 1, 4), 4, 2, cost=0.3),
        corridor((0, 1, 2, 3, 4), 5, 3, cost=0.1),
        corridor((2,), 2, 2),
        corridor((0, 4), 1, 3),  # out of reach
        corridor((1, 3, 4), 3, 1, start=0),
    ],
)
def test_equals_expectimax(task: SearchProblem) -> None:
    plan = search(task)
    assert plan.exact
    assert plan.total == pytest.approx(expectimax(task))


def test_equals_expectimax_on_a_grid() -> None:
    corners = metarl.make("grid-navigation").where(goal=((2, 0), (3, 2)))
    assert isinstance(corners, GoalCells)
    task = problem(corners, 1)
    assert len(task.goals) == 6
    assert search(task).total == pytest.approx(expectimax(task))


def test_grid_navigation_is_solved_exactly() -> None:
    plan = search(grid("grid-navigation"))
    assert plan.exact
    assert plan.per_episode == pytest.approx((4.0, 11.0714, 11.0714, 11.0714), abs=5e-5)
    assert plan.total == pytest.approx(37.2143, abs=5e-5)


def test_dark_room_is_bracketed() -> None:
    plan = search(grid("dark-room"), width=200)
    assert 132.8 < plan.total < plan.bound < 135.5
    assert plan.per_episode[0] == pytest.approx(2.593, abs=5e-4)
    assert plan.per_episode[-1] == pytest.approx(16.543, abs=5e-4)


def test_one_episode_of_the_dark_room_is_exact() -> None:
    plan = search(grid("dark-room", episodes=1), width=200)
    assert plan.exact
    assert plan.total == pytest.approx(210 / 81)  # a new cell in each of 20 steps


@pytest.mark.parametrize("width", [1, 5, 50])
def test_a_narrow_search_still_brackets(width: int) -> None:
    task = corridor((0, 1, 3, 4), 6, 3, cost=0.2)
    plan = search(task, width)
    assert plan.total <= expectimax(task) + 1e-9 <= plan.bound + 2e-9


def test_bound_holds_for_the_known_goal_too() -> None:
    task = corridor((4,), 5, 2)
    assert task.stays.tolist() == [4]
    assert assignment_bound(task) == 8
    assert search(task).per_episode == (4.0, 4.0)


def test_returns_of_a_path_by_hand() -> None:
    """Right, right, then staying finds 3 and 4 in the first episode, and 0 never."""
    returns = returns_of_path(corridor((0, 3, 4), 3, 2), (2, 2, 0, 0, 0, 0))
    assert returns == pytest.approx(((0 + 3 + 2) / 3, (0 + 3 + 2) / 3))


def test_distances_and_ways() -> None:
    successors = np.array(corridor((0,), 1, 1).successors)
    assert distances(successors).tolist() == [[abs(a - b) for b in range(5)] for a in range(5)]
    assert shortest_actions(successors)[1].tolist() == [2, 0, 1, 1, 1]


def test_one_way_streets() -> None:
    one_way = np.array([[1, 1], [1, 1]])
    assert distances(one_way).tolist() == [[0, 1], [2, 0]]  # 2, as many as there are cells: no way back


@pytest.mark.parametrize(("goals", "horizon", "episodes"), [((), 3, 1), ((1,), 0, 1), ((1,), 3, 0)])
def test_impossible_problems_are_refused(goals: tuple[int, ...], horizon: int, episodes: int) -> None:
    with pytest.raises(ValueError, match="need goals, horizon >= 1 and num_episodes >= 1"):
        corridor(goals, horizon, episodes)
