"""Bus grid: moves and rides, the limits by dynamic programming over beliefs, and the policies that reach them."""

from functools import cache
from itertools import permutations

import pytest
import torch

import metarl
from metarl.agents.classical.bus_grid import BusExplorer, KnownBuses, Walker
from metarl.envs.bus_grid import CENTRE, CORNERS, SOURCES, STOPS, BusGrid
from metarl.evaluation.evaluator import evaluate
from metarl.seeding import generator

GRID = BusGrid()
UP, RIGHT, DOWN, LEFT, RIDE = range(5)
Layout = tuple[int, ...]


def test_a_ride_by_hand(device: str) -> None:
    """Source 0 is above the centre; here its bus goes to stop 2, beside the corner (8, 0)."""
    env = GRID.vector_env(1, device)
    env.set_tasks(GRID.tasks(layout=[[2, 0, 1, 3]]))
    corner = int(env.reset(seed=0)[0][0, 2])
    way = [(RIDE, CENTRE), (UP, (4, 5)), (RIDE, (8, 1)), (RIDE, (4, 5)), (RIDE, (8, 1)), (UP, (8, 2)), (RIDE, (8, 2))]
    for action, cell in way:
        seen, reward, terminated, *_ = env.step(torch.tensor([action], device=device))
        assert seen.tolist() == [[*cell, corner]]
        assert reward.item() == pytest.approx(-0.1)
        assert not terminated.any()


def test_arrival_ends_the_episode_and_pays() -> None:
    env = GRID.vector_env(64)
    env.set_tasks(GRID.sample(64, generator(0)))
    seen, _ = env.reset(seed=0)
    policy = Walker(GRID, 64)
    for step in range(8):
        seen, reward, terminated, _, info = env.step(policy.act(seen))
        assert terminated.tolist() == [step == 7] * 64
        torch.testing.assert_close(reward, torch.full((64,), 1.0 if step == 7 else -0.1))
    assert {tuple(cell) for cell in info["final_obs"][:, :2].tolist()} == set(CORNERS)
    assert seen[:, :2].tolist() == [list(CENTRE)] * 64


@cache
def best(cell: tuple[int, int], corner: int, layouts: frozenset[Layout], steps: int) -> float:
    """The Bayes-optimal return of the last `steps` steps, where `layouts` are still possible."""
    if steps == 0:
        return 0.0

    def then(place: tuple[int, int], left: frozenset[Layout]) -> float:
        return 1.0 if place == CORNERS[corner] else -0.1 + best(place, corner, left, steps - 1)

    x, y = cell
    values = [
        then((min(8, max(0, x + dx)), min(8, max(0, y + dy))), layouts) for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    if cell in SOURCES or cell in STOPS:
        groups: dict[tuple[int, int], set[Layout]] = {}
        for layout in layouts:
            leads = STOPS[layout[SOURCES.index(cell)]] if cell in SOURCES else SOURCES[layout.index(STOPS.index(cell))]
            groups.setdefault(leads, set()).add(layout)
        values.append(sum(len(part) / len(layouts) * then(to, frozenset(part)) for to, part in groups.items()))
    return max(values)


def test_the_limits_by_dynamic_programming() -> None:
    """Ten steps suffice to compare: a ride to anywhere and back, and the walk of eight."""
    everything = frozenset(permutations(range(4)))
    assert best(CENTRE, 0, everything, 10) == pytest.approx(0.3)
    for layout in list(everything)[::5]:
        assert best(CENTRE, 3, frozenset([layout]), 10) == pytest.approx(0.8)
    assert GRID.optimal_return().total == pytest.approx(0.8)
    assert GRID.optimal_return().kind == "exact"
    assert BusGrid(free_episodes=0).optimal_return().kind == "bound"


@pytest.mark.parametrize("distractors", [False, True])
def test_who_explores_and_who_cannot(distractors: bool) -> None:
    family = BusGrid(distractors)
    for policy, expected in ((Walker, 0.3), (BusExplorer, 0.8), (KnownBuses, 0.8)):
        result = evaluate(policy(family, 200), family.split("test"), 200)
        assert result.totals.tolist() == pytest.approx([expected] * 200)
    assert family.expert(2) is None


def test_ten_steps_tell_every_layout() -> None:
    layouts = list(permutations(range(4)))
    env = GRID.vector_env(24)
    env.set_tasks(GRID.tasks(layout=layouts))
    policy = BusExplorer(GRID, 24)
    policy.begin()
    seen, _ = env.reset(seed=0)
    for _ in range(10):
        action = policy.act(seen)
        following, reward, terminated, truncated, info = env.step(action)
        policy.observe(metarl.tasks.Transition(seen, action, reward, terminated, truncated, info["final_obs"]))
        seen = following
    assert [tuple(row) for row in policy.layout.tolist()] == layouts


def test_layouts_are_drawn_equally_often_and_can_be_narrowed() -> None:
    drawn = GRID.sample(2400, generator(0))["layout"]
    assert sorted(map(tuple, drawn.unique(dim=0).tolist())) == sorted(permutations(range(4)))
    assert drawn.unique(dim=0, return_counts=True)[1].min() > 50
    narrow = GRID.where(layout=((2, 0, 0, 0), (2, 1, 3, 3))).sample(50, generator(0))["layout"]
    assert set(narrow[:, 0].tolist()) == {2}
    with pytest.raises(ValueError, match="no order of the four stops"):
        GRID.where(layout=(0, 1)).sample(1, generator(0))
    both = BusGrid(distractors=True).sample(100, generator(0))
    assert not torch.equal(both["layout"], both["distraction"])
