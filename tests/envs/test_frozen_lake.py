"""gymnasium's FrozenLake with hidden holes."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.envs.toy_text.frozen_lake import is_valid

import metarl
from metarl.envs.frozen_lake import is_held_out
from metarl.seeding import generator
from metarl.testing import check_distribution

LEFT, DOWN, RIGHT, UP = range(4)
BANK = [[0, 0, 0], [0, 1, 0], [1, 0, 0]]  # a way along the upper and the right side


def holes(family: Any, split: str, count: int) -> torch.Tensor:
    maps: torch.Tensor = family.split(split).sample(count, generator(0))["holes"]
    return maps


@pytest.mark.parametrize("options", [{}, {"size": 5, "slippery": True, "max_episode_steps": 30}], ids=str)
def test_the_family_keeps_the_contract(options: dict[str, Any], device: str) -> None:
    check_distribution(metarl.make("frozen-lake", **options), device=device)


def test_the_other_splits_do_too() -> None:
    for split in ("test", "ood"):
        check_distribution(metarl.make("frozen-lake").split(split), seed=1)


@pytest.mark.parametrize("split", ["train", "test", "ood"])
def test_maps_can_be_crossed_and_stay_in_their_split(split: str) -> None:
    for lake in holes(metarl.make("frozen-lake", size=5), split, 100).numpy():
        tiles = np.where(lake, "H", "F")
        tiles[0, 0], tiles[-1, -1] = "S", "G"
        assert is_valid(tiles.tolist(), 5)
        assert not lake[0, 0]
        assert not lake[-1, -1]
        assert is_held_out(lake) == (split != "train")


def test_a_fifth_of_the_maps_is_held_out_and_ood_has_more_holes() -> None:
    family = metarl.make("frozen-lake", size=6)
    rng = np.random.default_rng(0)
    share = np.mean([is_held_out(rng.random((4, 4)) < 0.2) for _ in range(4000)])
    assert share == pytest.approx(0.2, abs=0.05)
    test, ood = (holes(family, split, 200).double().mean().item() for split in ("test", "ood"))
    assert ood > test + 0.03


def walk(options: dict[str, Any], actions: list[int], seed: int = 0) -> list[tuple[int, float, bool]]:
    family = metarl.make("frozen-lake", size=3, **options)
    env = family.env(family.tasks(holes=[BANK]))
    assert env.reset(seed=seed)[0] == 0
    seen = []
    for action in actions:
        observation, reward, terminated, _, _ = env.step(action)
        seen.append((int(observation), float(reward), terminated))
        if terminated:
            break
    return seen


def test_the_far_corner_pays_and_a_hole_ends_the_episode() -> None:
    assert walk({}, [RIGHT, RIGHT, DOWN, DOWN]) == [(1, 0, False), (2, 0, False), (5, 0, False), (8, 1, True)]
    assert walk({}, [UP, RIGHT, DOWN]) == [(0, 0, False), (1, 0, False), (4, 0, True)]


def test_slippery_ice_leads_astray() -> None:
    ends = {walk({"slippery": True}, [RIGHT], seed)[0][0] for seed in range(30)}
    assert ends == {0, 1, 3}  # up, which a wall stops, right, and down


def test_two_maps_look_alike_until_a_hole() -> None:
    """Only the end of an episode tells of a hole: what is seen is the place alone."""
    family = metarl.make("frozen-lake", size=3)
    assert family.observation_space.n == 9  # type: ignore[attr-defined]
    assert not family.observations_show_tasks


def test_steps_are_those_of_gymnasium_unless_given() -> None:
    assert [metarl.make("frozen-lake", size=size).horizon for size in (4, 8)] == [100, 200]
    assert metarl.make("frozen-lake", max_episode_steps=12).horizon == 12
    with pytest.raises(ValueError, match="size of 3 to 16 tiles, got 2"):
        metarl.make("frozen-lake", size=2)
