"""The face that all engines share: tasks, masks, automatic resets and errors."""

from collections.abc import Callable

import pytest
import torch

import metarl
from metarl.engines.gym_vector import GymVectorEnv
from metarl.seeding import generator
from metarl.tasks.distribution import TaskVectorEnv

GRID = metarl.make("grid-navigation")
POINT = metarl.make("point-navigation")
BuildEnv = Callable[..., TaskVectorEnv]


def native(family: metarl.TaskDistribution, num_envs: int, device: str = "cpu") -> TaskVectorEnv:
    return family.vector_env(num_envs, device)


@pytest.fixture(params=[native, GymVectorEnv])
def build(request: pytest.FixtureRequest) -> BuildEnv:
    """Both engines run the same families: a loop over single environments is the slow twin of the native engine."""
    engine: BuildEnv = request.param
    return engine


def test_both_engines_walk_alike(device: str) -> None:
    tasks = POINT.sample(5, generator(0))
    fast, slow = POINT.vector_env(5, device), GymVectorEnv(POINT, 5, device)
    stream = generator(1)
    for env in (fast, slow):
        env.set_tasks(tasks)
        env.reset(seed=0)
    for _ in range(2 * POINT.horizon + 3):
        action = (torch.rand(5, 2, generator=stream) - 0.5).to(device)
        *one, info = fast.step(action)
        *other, slow_info = slow.step(action)
        for a, b in zip([*one, *info.values()], [*other, *slow_info.values()], strict=True):
            assert a.device.type == b.device.type == device
            torch.testing.assert_close(a, b)


def test_masked_tasks_and_resets_touch_their_slots_only(build: BuildEnv, device: str) -> None:
    env = build(GRID, 3, device)
    env.set_tasks(GRID.tasks(goal=[[0, 2], [0, 3], [0, 4]]))
    env.reset(seed=0)
    up = torch.ones(3, dtype=torch.int64, device=device)
    assert env.step(up)[1].tolist() == pytest.approx([-0.1] * 3)
    mask = torch.tensor([False, True, False], device=device)
    env.set_tasks(GRID.tasks(goal=[[4, 4], [0, 2], [4, 4]]), mask)
    assert env.tasks["goal"].tolist() == [[0, 2], [0, 2], [0, 4]]
    assert env.reset(options={"reset_mask": mask})[0].tolist() == [1, 0, 1]
    rewards = [env.step(up)[1].tolist() for _ in range(3)]
    assert rewards[0] == pytest.approx([1, -0.1, -0.1])  # the slot in the middle is one step behind
    assert rewards[1] == pytest.approx([-0.1, 1, -0.1])
    assert rewards[2] == pytest.approx([-0.1, -0.1, 1])


def test_the_first_tasks_go_into_all_slots(build: BuildEnv) -> None:
    env = build(GRID, 2)
    env.set_tasks(GRID.tasks(goal=[[0, 2], [0, 3]]), torch.tensor([True, False]))
    env.reset()
    assert env.tasks["goal"].tolist() == [[0, 2], [0, 3]]
    up = torch.ones(2, dtype=torch.int64)
    assert [env.step(up)[1].tolist() for _ in range(3)] == [
        pytest.approx(r) for r in ([-0.1, -0.1], [1, -0.1], [-0.1, 1])
    ]


def test_a_masked_reset_restarts_the_clock_of_its_slots_only(build: BuildEnv) -> None:
    env = build(GRID, 2)
    env.set_tasks(GRID.sample(2, generator(0)))
    env.reset(seed=0)
    stay = torch.zeros(2, dtype=torch.int64)
    ends: list[list[bool]] = []
    for step in range(1, 20):
        ends.append(env.step(stay)[3].tolist())
        if step == 4:
            env.reset(options={"reset_mask": torch.tensor([False, True])})
    assert [step for step, (first, _) in enumerate(ends, 1) if first] == [15]
    assert [step for step, (_, second) in enumerate(ends, 1) if second] == [19]


def test_a_soft_reset_keeps_the_tasks(build: BuildEnv) -> None:
    env = build(GRID, 2)
    tasks = GRID.tasks(goal=[[0, 2], [2, 0]])
    env.set_tasks(tasks)
    for _ in range(2):
        env.reset()
        env.step(torch.tensor([1, 2]))
        assert env.step(torch.tensor([1, 2]))[1].tolist() == [1, 1]
    assert env.tasks["goal"].tolist() == tasks["goal"].tolist()


def test_box_actions_are_clipped(build: BuildEnv, device: str) -> None:
    env = build(POINT, 1, device)
    env.set_tasks(POINT.tasks(goal=[[0.5, 0.5]]))
    env.reset(seed=0)
    following = env.step(torch.tensor([[7.0, -0.05]], device=device))[0]
    torch.testing.assert_close(following.cpu(), torch.tensor([[0.1, -0.05]]))


def test_spaces_are_batched(build: BuildEnv) -> None:
    env = build(POINT, 4)
    assert env.single_action_space == POINT.action_space
    assert env.action_space.shape == (4, 2)
    assert env.observation_space.shape == (4, 2)
    assert env.metadata["autoreset_mode"].value == "SameStep"


def test_misuse_is_refused(build: BuildEnv) -> None:
    for number in (0, -1, 2.5, float("inf"), "3", None):
        with pytest.raises(ValueError, match="num_envs must be an integer, at least 1"):
            build(GRID, number)
    env = build(GRID, 2)
    with pytest.raises(RuntimeError, match="call set_tasks before"):
        env.reset()
    with pytest.raises(ValueError, match="one task per environment: got 3 tasks for 2 environments"):
        env.set_tasks(GRID.sample(3, generator(0)))
    with pytest.raises(ValueError, match="not tasks of grid-navigation-v1"):
        env.set_tasks(POINT.sample(2, generator(0)))
    for mask in (torch.tensor([True]), torch.tensor([1, 0])):
        with pytest.raises(ValueError, match="the mask needs 2 bools, got torch"):
            env.set_tasks(GRID.sample(2, generator(0)), mask)
    env.set_tasks(GRID.sample(2, generator(0)))
    with pytest.raises(RuntimeError, match="call reset before step"):
        env.step(torch.zeros(2, dtype=torch.int64))
    env.reset()
    with pytest.raises(ValueError, match=r"actions need shape \(2,\), got \(2, 1\)"):
        env.step(torch.zeros(2, 1, dtype=torch.int64))


@pytest.mark.parametrize(
    "name", ["grid-navigation", "dark-room", "point-navigation", "tabular-mdp", "half-cheetah-velocity", "frozen-lake"]
)
def test_a_trial_has_an_episode_in_every_family(name: str) -> None:
    with pytest.raises(ValueError, match="-v1: need num_episodes >= 1, got 0"):
        metarl.make(name, num_episodes=0)
