"""MiniGrid's environments: a hidden goal, and layouts by their seed."""

from typing import Any

import gymnasium
import numpy as np
import pytest

import metarl
from metarl.seeding import generator
from metarl.testing import check_distribution

pytest.importorskip("minigrid")
LEFT, RIGHT, FORWARD = range(3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("minigrid-hidden-goal", {}),
        ("minigrid", {"max_episode_steps": 20}),
        ("minigrid", {"environment": "MiniGrid-Dynamic-Obstacles-5x5-v0", "max_episode_steps": 20}),
    ],
    ids=str,
)
def test_families_keep_the_contract(name: str, options: dict[str, Any]) -> None:
    check_distribution(metarl.make(name, **options))


def play(env: Any, actions: list[int], **reset: Any) -> list[Any]:
    seen = [np.asarray(env.reset(**reset)[0]).tolist()]
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        seen.append((np.asarray(observation).tolist(), reward, terminated, truncated, info["success"]))
        if terminated or truncated:
            break
    return seen


def test_the_goal_pays_where_the_task_says_and_is_never_seen() -> None:
    family = metarl.make("minigrid-hidden-goal", size=5, max_episode_steps=20)
    actions = [FORWARD, FORWARD, RIGHT, FORWARD, FORWARD]
    env = family.env()
    near, far = (play(env, actions, options={"task": {"goal": goal}}) for goal in ([3, 1], [3, 3]))
    assert near[0] == [0, 0, 0]
    assert near[1] == far[1] == ([1, 0, 0], 0, False, False, False)
    assert near[2] == ([2, 0, 0], pytest.approx(1 - 0.9 * 2 / 20), True, False, True)
    assert [step[0] for step in far[1:]] == [[1, 0, 0], [2, 0, 0], [2, 0, 1], [2, 1, 1], [2, 2, 1]]
    assert far[5][1:] == (pytest.approx(1 - 0.9 * 5 / 20), True, False, True)


def test_an_episode_without_the_goal_is_cut_off() -> None:
    family = metarl.make("minigrid-hidden-goal", max_episode_steps=7)
    steps = play(family.env(family.tasks(goal=[[4, 4]])), [LEFT] * 9)
    assert len(steps) == 1 + 7
    assert steps[-1][2:] == (False, True, False)


def test_goals_are_all_cells_but_the_start() -> None:
    family = metarl.make("minigrid-hidden-goal", size=5)
    goals = family.sample(400, generator(0))["goal"]
    cells, counts = goals.unique(dim=0, return_counts=True)
    assert {tuple(cell) for cell in cells.tolist()} == {(x, y) for x in (1, 2, 3) for y in (1, 2, 3)} - {(1, 1)}
    assert counts.min() > 25


LAYOUTS = ["FourRooms", "DoorKey-6x6", "MultiRoom-N2-S4", "GoToDoor-6x6", "Dynamic-Obstacles-6x6", "LavaCrossingS9N2"]


@pytest.mark.parametrize("environment", LAYOUTS)
def test_a_layout_comes_back_in_every_episode(environment: str) -> None:
    family = metarl.make("minigrid", environment=f"MiniGrid-{environment}-v0")
    env: Any = family.env()

    def layout(**reset: Any) -> tuple[str, str]:
        env.reset(**reset)
        found = env.unwrapped.hash(), env.unwrapped.mission
        env.step(FORWARD)
        return found

    first = layout(seed=0, options={"task": {"seed": 5}})
    assert layout() == layout() == first
    assert layout(seed=1, options={"task": {"seed": 5}}) == first
    assert len({layout(options={"task": {"seed": seed}}) for seed in range(5)}) > 1


def test_train_and_test_layouts_are_apart() -> None:
    family = metarl.make("minigrid")
    env: Any = family.env()

    def layouts(split: str) -> set[str]:
        found = set()
        for task in family.split(split).sample(60, generator(0))["seed"].tolist():
            env.reset(options={"task": {"seed": task}})
            found.add(env.unwrapped.hash())
        return found

    train, test = layouts("train"), layouts("test")
    assert len(train) == len(test) == 60
    assert not train & test


def test_what_moves_in_a_layout_moves_otherwise_in_the_next_episode() -> None:
    family = metarl.make("minigrid", environment="MiniGrid-Dynamic-Obstacles-8x8-v0")
    env = family.env(family.sample(1, generator(0)))
    waiting = [LEFT] * 6
    first, second = play(env, waiting, seed=0), play(env, waiting)
    assert first[0] == second[0]
    assert first != second
    assert play(env, waiting, seed=0) == first


def test_the_view_is_minigrids_in_ones_and_zeros() -> None:
    family = metarl.make("minigrid", environment="MiniGrid-DoorKey-8x8-v0")
    env = family.env(family.tasks(seed=[11]))
    plain = gymnasium.make("MiniGrid-DoorKey-8x8-v0", disable_env_checker=True)
    raw: Any = plain.reset(seed=11)[0]
    seen = env.reset(seed=0)[0]
    for action in (LEFT, FORWARD, RIGHT, FORWARD):
        parts = np.split(seen, np.cumsum([49 * 11, 49 * 6, 49 * 3]))
        image = np.stack([part.reshape(7, 7, -1).argmax(-1) for part in parts[:3]], -1)
        assert image.tolist() == raw["image"].tolist()
        assert parts[3].argmax() == raw["direction"]
        assert seen.sum() == 3 * 49 + 1
        seen, raw = env.step(action)[0], plain.step(action)[0]


def test_success_is_a_mission_accomplished() -> None:
    """Lava ends an episode, too."""
    family = metarl.make("minigrid", environment="MiniGrid-LavaGapS5-v0")
    env = family.env(family.tasks(seed=[0]))
    ends = [play(env, np.random.default_rng(seed).integers(0, 3, 60).tolist(), seed=0)[-1] for seed in range(20)]
    assert {(reward > 0, success) for _, reward, terminated, _, success in ends if terminated} >= {(False, False)}
    assert all(success == (reward > 0) for _, reward, _, _, success in ends)


def test_steps_are_the_environments_own_unless_given() -> None:
    assert metarl.make("minigrid").horizon == 100
    family = metarl.make("minigrid", max_episode_steps=9)
    assert family.name == "minigrid-fourrooms-v0"
    assert len(play(family.env(family.tasks(seed=[3])), [LEFT] * 20)) == 1 + 9


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("minigrid", {"environment": "MiniGrid-FourRoom-v0"}, "no environment .*it has MiniGrid-FourRooms-v0, "),
        (
            "minigrid",
            {"environment": "BabyAI-GoToRedBallGrey-v0"},
            "limit of its own for each layout: give max_episode_steps=",
        ),
        ("minigrid-hidden-goal", {"size": 3}, "size of at least 4"),
        ("minigrid-hidden-goal", {"max_episode_steps": 0}, "max_episode_steps >= 1"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metarl.make(name, **options)
