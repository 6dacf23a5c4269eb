"""Point navigation, dense and sparse: moves by hand, and the returns of standing still and of knowing the goal."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from metarl.envs.navigation import PointNavigation, SparsePointNavigation
from metarl.seeding import generator
from metarl.tasks.distribution import TaskVectorEnv

DENSE, SPARSE = PointNavigation(), SparsePointNavigation()


def to_the_goal(position: Tensor, env: TaskVectorEnv) -> Tensor:
    goal: Tensor = env.tasks["goal"]
    return goal - position  # clipped to .1 per axis by the environment


def test_a_dense_walk_by_hand(device: str) -> None:
    env = DENSE.vector_env(2, device)
    env.set_tasks(DENSE.tasks(goal=[[0.3, -0.15], [0.5, 0.5]]))
    env.reset(seed=0)
    actions = torch.tensor([[[1.0, -0.1], [0.0, 0.0]], [[0.1, -0.05], [0.1, 0.1]], [[0.095, 0.009], [0.0, 0.0]]])
    positions = [[0.1, -0.1], [0.2, -0.15], [0.295, -0.141]]
    for step, (action, position) in enumerate(zip(actions.to(device), positions, strict=True)):
        following, reward, terminated, truncated, info = env.step(action)
        distance = math.dist(position, [0.3, -0.15])
        assert reward[0].item() == pytest.approx(-distance, abs=1e-6)
        torch.testing.assert_close(info["final_obs"][0].cpu(), torch.tensor(position))
        assert terminated.tolist() == [step == 2, False]  # within .01 per axis
        assert not truncated.any()
    assert following[0].tolist() == [0, 0]
    assert reward[1].item() == pytest.approx(-math.dist([0.1, 0.1], [0.5, 0.5]))


def test_standing_still_and_knowing_the_goal(episode_returns: Callable[..., Tensor]) -> None:
    tasks = DENSE.sample(20_000, generator(0))
    still = episode_returns(DENSE, tasks, lambda position, env: torch.zeros_like(position))
    assert still.mean().item() == pytest.approx(-38.27, abs=5 * still.std().item() / 20_000**0.5)
    known = episode_returns(DENSE, tasks, to_the_goal)
    assert known.mean().item() == pytest.approx(-0.506, abs=5 * known.std().item() / 20_000**0.5)


def test_the_sparse_reward_begins_within_a_fifth() -> None:
    env = SPARSE.vector_env(4)
    env.set_tasks(SPARSE.tasks(goal=[[0.1, 0.05], [0.1, 0.201], [-0.1, 0.0], [0.1, 0.0]]))
    env.reset(seed=0)
    _, reward, terminated, _, _ = env.step(torch.tensor([[0.1, 0.0]]).repeat(4, 1))
    torch.testing.assert_close(reward, torch.tensor([0.95, 0.0, 0.8, 1.0]))
    assert not terminated.any()


def test_knowing_the_goal_on_the_half_circle(episode_returns: Callable[..., Tensor]) -> None:
    angle = torch.linspace(0, math.pi, 2001, dtype=torch.float64)
    tasks = SPARSE.tasks(goal=torch.stack([angle.cos(), angle.sin()], 1).clamp(-1, 1).numpy())
    assert episode_returns(SPARSE, tasks, to_the_goal).mean().item() == pytest.approx(13.38, abs=5e-3)


def test_goals_of_the_dense_splits() -> None:
    train, ood = (DENSE.split(name).sample(5000, generator(0))["goal"].abs().amax(1) for name in ("train", "ood"))
    assert 0.48 < train.max() <= 0.5
    assert 0.5 <= ood.min() < 0.52
    assert 0.98 < ood.max() <= 1


def test_goals_of_the_sparse_splits() -> None:
    goals = {name: SparsePointNavigation(split_name=name).goals() for name in ("train", "test", "ood")}
    assert [len(goals[name]) for name in ("train", "test", "ood")] == [80, 20, 100]
    for name, points in goals.items():
        assert all(math.hypot(*point) == pytest.approx(1) for point in points)
        assert all((y < 0) == (name == "ood") for _, y in points)
    assert not set(goals["train"]) & set(goals["test"])
    assert goals["train"] == SparsePointNavigation().goals()  # the same goals every time
