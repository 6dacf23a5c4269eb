"""Grid navigation and dark room: moves, walls, rewards, goals, and returns known exactly."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import metarl
from metarl.envs.grids import DarkRoom, GoalGrid, GridNavigation
from metarl.seeding import generator
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskVectorEnv

GRID = GridNavigation()
STAY, UP, RIGHT, DOWN, LEFT = range(5)


def to_the_goal(cell: Tensor, env: TaskVectorEnv) -> Tensor:
    """The shortest way: first along x, then along y."""
    family = env.distribution
    assert isinstance(family, GoalGrid)
    dx = env.tasks["goal"][:, 0] - cell // family.side
    dy = env.tasks["goal"][:, 1] - cell % family.side
    along_y = torch.where(dy > 0, UP, torch.where(dy < 0, DOWN, STAY))
    return torch.where(dx > 0, RIGHT, torch.where(dx < 0, LEFT, along_y))


def each_goal(grid: GoalGrid, repeats: int = 1) -> Tasks:
    return grid.tasks(goal=grid.goals()).repeat(repeats)


def test_a_walk_by_hand(device: str) -> None:
    """On a 5x5 grid with the goal at (1, 2); cells are numbered 5 x + y, and walls stop a move."""
    env = GRID.vector_env(1, device)
    env.set_tasks(GRID.tasks(goal=[[1, 2]]))
    assert env.reset(seed=0)[0].tolist() == [0]
    moves = [LEFT, DOWN, UP, RIGHT, UP, STAY, UP, DOWN, LEFT]
    cells = [0, 0, 1, 6, 7, 7, 8, 7, 2]
    rewards = [-0.1] * 4 + [1, 1, -0.1, 1, -0.1]
    for move, cell, expected in zip(moves, cells, rewards, strict=True):
        observation, reward, terminated, truncated, _ = env.step(torch.tensor([move], device=device))
        assert observation.tolist() == [cell]
        assert reward.item() == pytest.approx(expected)
        assert not (terminated | truncated).any()


def test_an_episode_is_cut_at_the_horizon_and_starts_again() -> None:
    env = GRID.vector_env(2)
    env.set_tasks(each_goal(GRID)[:2])
    env.reset(seed=0)
    for step in range(1, 31):
        observation, _, terminated, truncated, info = env.step(torch.full((2,), UP))
        assert not terminated.any()
        assert truncated.tolist() == [step in (15, 30)] * 2
        assert info["final_obs"].tolist() == [min((step - 1) % 15 + 1, 4)] * 2
        assert observation.tolist() == [min(step % 15, 4)] * 2


@pytest.mark.parametrize(
    ("grid", "expected"),
    [(GRID, 11.0714), (DarkRoom(), 16.543)],
    ids=["grid-navigation", "dark-room"],
)
def test_known_goal(grid: GoalGrid, expected: float, episode_returns: Callable[..., Tensor]) -> None:
    assert episode_returns(grid, each_goal(grid), to_the_goal).mean().item() == pytest.approx(expected, abs=5e-4)


def test_known_goal_of_the_large_room(episode_returns: Callable[..., Tensor]) -> None:
    """Mean over all 100 cells; the published protocol keeps 80 of them for training."""
    room = DarkRoom("dpt")
    tasks = room.tasks(goal=[(x, y) for x in range(10) for y in range(10)])
    assert episode_returns(room, tasks, to_the_goal).mean().item() == pytest.approx(91.99, abs=5e-3)


@pytest.mark.parametrize(
    ("grid", "expected"),
    [(GRID, -1.17), (DarkRoom(), 20 / 81)],
    ids=["grid-navigation", "dark-room"],
)
def test_random_moves(grid: GoalGrid, expected: float, episode_returns: Callable[..., Tensor]) -> None:
    stream = generator(0)
    tasks = each_goal(grid, 2000)
    total = episode_returns(grid, tasks, lambda cell, env: torch.randint(5, cell.shape, generator=stream))
    assert total.mean().item() == pytest.approx(expected, abs=0.02)


def test_goals_of_the_splits() -> None:
    assert len(GRID.goals()) == 21
    assert all(max(goal) >= 2 for goal in GRID.goals())
    assert sorted(GridNavigation(split_name="ood").goals()) == [(0, 1), (1, 0), (1, 1)]
    train, test, ood = (set(DarkRoom("dpt", split_name=name).goals()) for name in ("train", "test", "ood"))
    assert (len(train), len(test)) == (80, 20)
    assert not train & test
    assert ood < test
    assert GRID.splits_share_tasks
    assert DarkRoom().splits_share_tasks
    assert not DarkRoom("dpt").splits_share_tasks


def test_every_goal_is_drawn_equally_often() -> None:
    goal = GRID.sample(21_000, generator(0))["goal"]
    counts = (goal[:, 0] * 5 + goal[:, 1]).bincount(minlength=25)
    assert set(counts.nonzero().flatten().tolist()) == {5 * x + y for x, y in GRID.goals()}
    assert counts[counts > 0].float().sub(1000).abs().max() < 5 * 1000**0.5


def test_where_keeps_goals_within_bounds_or_says_that_there_are_none() -> None:
    corner = GRID.where(goal=(3, 4)).sample(100, generator(0))["goal"]
    assert corner.unique(dim=0).tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]
    with pytest.raises(ValueError, match="no goal of the train split lies within"):
        GRID.where(goal=(0, 1)).sample(1, generator(0))


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="need variant 'ad' or 'dpt', got '9x9'"):
        metarl.make("dark-room", variant="9x9")
