"""Hidden rooms: moves and pays by hand, the published limits, and planners that get exactly what they promise."""

import numpy as np
import pytest
import torch

import metarl
from metarl.agents.classical.ordered_goals import BayesOptimalGoals, KnownGoals, WithoutLastGoal
from metarl.envs.hidden_rooms import CELLS, HiddenRooms
from metarl.evaluation.evaluator import evaluate
from metarl.optima import ordered_goals
from metarl.seeding import generator
from metarl.trials.player import play

ROOMS = HiddenRooms()
STAY, UP, RIGHT, DOWN, LEFT = range(5)


def test_goals_appear_in_order(device: str) -> None:
    """First goal (-1, 1), second (-5, -1), third (1, 1); a third goal that nobody was shown costs as any other cell."""
    env = ROOMS.vector_env(1, device)
    env.set_tasks(ROOMS.tasks(corners=[[1, 2, 2]]))
    assert CELLS[int(env.reset(seed=0)[0])] == (0, 0)
    way = [RIGHT, UP, LEFT, LEFT, STAY, DOWN, *[LEFT] * 4, DOWN, STAY]
    rewards = [-0.1, -0.1, -0.1, 1, 1, -0.1, *[-0.1] * 4, 10, 10]
    for action, expected in zip(way, rewards, strict=True):
        _, reward, *_ = env.step(torch.tensor([action], device=device))
        assert reward.item() == pytest.approx(expected)
    assert CELLS[int(env.state[0, 0])] == (-5, -1)
    seen = [env.step(torch.tensor([action], device=device))[:2] for action in [UP, *[RIGHT] * 6, UP]]
    assert CELLS[int(seen[-1][0])] == (1, 1)
    assert [reward.item() for _, reward in seen] == pytest.approx([-0.1] * 7 + [100])


def test_walls_and_corridors() -> None:
    table = ROOMS.successors()
    assert len(CELLS) == 33
    for cell, (x, y) in enumerate(CELLS):
        ends = {CELLS[to] for to in table[cell].tolist()}
        assert (x, y) in ends
        assert all(abs(a - x) + abs(b - y) <= 1 for a, b in ends)
    reached, steps = {(0, 0)}, 0
    while (7, 1) not in reached:
        reached |= {CELLS[to] for cell in reached for to in table[CELLS.index(cell)].tolist()}
        steps += 1
    assert steps == 8


def test_the_published_limits() -> None:
    optimum = ROOMS.optimal_return()
    assert optimum.kind == "exact"
    assert optimum.total == pytest.approx(2809.0, abs=0.05)
    assert ROOMS.known_goals_return() == pytest.approx(3376.6, abs=0.05)
    two = ordered_goals.solve(ordered_goals.problem(ROOMS, goals=2))
    assert two.value == pytest.approx(369.8, abs=0.05)
    assert ROOMS.optimal_return(2).kind == "bound"
    assert ROOMS.expert(2) is None


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (BayesOptimalGoals, ROOMS.optimal_return().total),
        (WithoutLastGoal, 369.8),
        (KnownGoals, ROOMS.known_goals_return()),
    ],
)
def test_policies_get_what_is_computed(policy: type, expected: float) -> None:
    """One task of each kind, so that there is no noise."""
    env = ROOMS.vector_env(48)
    corners = torch.cartesian_prod(torch.arange(4), torch.arange(4), torch.arange(3))
    env.set_tasks(ROOMS.tasks(corners=corners))
    returns = sum(step.transition.reward.double() for step in play(policy(ROOMS, 48), env, 1, seed=0))
    assert torch.as_tensor(returns).mean().item() == pytest.approx(expected, abs=0.05)


def test_what_was_learned_is_kept_for_the_next_episode() -> None:
    family = HiddenRooms(num_episodes=2)
    returns = evaluate(BayesOptimalGoals(family, 100), family, 100).returns.mean(0)
    assert returns[1] == pytest.approx(family.known_goals_return(), rel=0.03)
    assert returns[1] > returns[0] + 200


def test_where_narrows_the_goals() -> None:
    left = ROOMS.where(corners=((0, 0, 2), (1, 3, 2)))
    assert isinstance(left, HiddenRooms)
    assert len(left.goals()) == 8
    assert left.optimal_return().total > ROOMS.optimal_return().total
    drawn = left.sample(50, generator(0))["corners"]
    assert set(drawn[:, 0].tolist()) == {0, 1}
    assert set(drawn[:, 2].tolist()) == {2}
    with pytest.raises(ValueError, match="no goals lie within"):
        ROOMS.where(corners=(0.2, 0.8)).sample(1, generator(0))


def test_a_plan_by_hand() -> None:
    """A goal in one of two cells beside the start, ends of a line: look left, and if it is not there go right."""
    line = ((0, 1), (0, 2), (1, 2))
    problem = ordered_goals.OrderedGoalsProblem(line, 1, ((0,), (2,)), (1.0,), 0.5, 3)
    # found at once: 3 steps pay; else back through the middle, and one step pays
    assert ordered_goals.solve(problem).value == pytest.approx((3 + (-0.5 - 0.5 + 1)) / 2)
    with pytest.raises(ValueError, match="at least one task"):
        ordered_goals.solve(ordered_goals.OrderedGoalsProblem(line, 1, (), (1.0,), 0.5, 3))


def test_every_task_is_drawn_equally_often() -> None:
    corners = ROOMS.sample(4800, generator(0))["corners"] @ torch.tensor([12, 3, 1])
    counts = corners.bincount(minlength=48).numpy()
    assert len(counts) == 48
    assert np.abs(counts - 100).max() < 50
    assert metarl.make("hidden-rooms") == ROOMS
