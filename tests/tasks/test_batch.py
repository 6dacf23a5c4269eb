"""Batches of tasks and the priors they come from."""

import json
from typing import Any

import numpy as np
import pytest
import torch

import metarl
from metarl.seeding import generator
from metarl.tasks.batch import Tasks

BANDIT = metarl.make("bernoulli-bandit", arms=2)
GRID = metarl.make("grid-navigation")
POINT = metarl.make("point-navigation")


def test_tasks_are_indexed_by_name_and_by_place() -> None:
    tasks = BANDIT.tasks(means=[[0.0, 0.1], [0.2, 0.3], [0.4, 0.5]])
    assert len(tasks) == 3
    assert tasks["means"].shape == (3, 2)
    cases: list[tuple[Any, list[float]]] = [
        (1, [0.2]),
        (-1, [0.4]),
        (slice(1, 3), [0.2, 0.4]),
        ([2, 0], [0.4, 0.0]),
    ]
    for index, expected in cases:
        assert tasks[index]["means"][:, 0].tolist() == pytest.approx(expected)
    assert len(tasks[torch.tensor([True, False, True])]) == 2
    with pytest.raises(IndexError):
        tasks[3]


def test_repeat_is_task_major_and_where_chooses() -> None:
    tasks = GRID.tasks(goal=[[4, 4], [2, 0]])
    assert tasks.repeat(2)["goal"].tolist() == [[4, 4], [4, 4], [2, 0], [2, 0]]
    mixed = tasks.where(torch.tensor([False, True]), GRID.tasks(goal=[[0, 3], [0, 4]]))
    assert mixed["goal"].tolist() == [[0, 3], [2, 0]]


def test_the_vector_is_scaled_from_the_bounds(device: str) -> None:
    tasks = GRID.tasks(goal=[[0, 4], [2, 1]]).to(device)
    assert tasks.device.type == device
    assert tasks.vector().tolist() == [[-1.0, 1.0], [0.0, -0.5]]
    assert tasks.vector().dtype == torch.float32


def test_the_vector_has_a_place_for_every_number() -> None:
    tasks = metarl.make("tabular-mdp", states=2, actions=3).sample(4, generator(0))
    assert tasks.vector().shape == (4, 2 * 3 + 2 * 3 * 2)


def test_json_keeps_tasks_exactly() -> None:
    tasks = POINT.sample(5, generator(0))
    assert torch.equal(POINT.tasks(**json.loads(json.dumps(tasks.to_json())))["goal"], tasks["goal"])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"means": [[0.5, 1.5]]}, r"task 0: parameter 'means' must lie in \[0, 1\], got 1.5 at \[1\]"),
        ({"means": [[0.5, 0.5], [float("nan"), 0.5]]}, "task 1: .*got nan"),
        ({"means": [[0.5, 0.5, 0.5]]}, r"needs shape \[N, \*\(2,\)\], got \(1, 3\)"),
        ({"means": 0.5}, "needs shape"),
        ({"goal": [[0, 0]]}, r"has the parameters \['means'\], got \['goal'\]"),
        ({}, r"has the parameters \['means'\], got \[\]"),
    ],
)
def test_impossible_tasks_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BANDIT.tasks(**parameters)


def test_parameters_need_the_same_number_of_tasks() -> None:
    mdp = metarl.make("tabular-mdp", states=2, actions=2)
    with pytest.raises(ValueError, match="same number of tasks"):
        mdp.tasks(rewards=np.zeros((2, 2, 2)), transitions=np.full((3, 2, 2, 2), 0.5))


def test_samples_depend_on_the_generator_and_on_nothing_else(device: str) -> None:
    once, again = (POINT.sample(3, generator(5, "tasks", device=device)) for _ in range(2))
    other = POINT.sample(3, generator(6, "tasks", device=device))
    assert isinstance(once, Tasks)
    assert once.device.type == device
    assert torch.equal(once["goal"], again["goal"])
    assert not torch.equal(once["goal"], other["goal"])


def test_a_generator_that_goes_on_gives_new_tasks() -> None:
    stream = generator(0)
    assert not torch.equal(POINT.sample(3, stream)["goal"], POINT.sample(3, stream)["goal"])


def test_splits_of_one_prior_never_share_a_stream() -> None:
    train, test = (POINT.split(name).sample(1000, generator(0))["goal"] for name in ("train", "test"))
    assert not (train[:, None] == test[None]).all(-1).any()


@pytest.mark.parametrize("count", [0, -1])
def test_samples_hold_at_least_one_task(count: int) -> None:
    with pytest.raises(ValueError, match="num_tasks must be at least 1"):
        POINT.sample(count, generator(0))


def test_where_narrows_and_composes() -> None:
    narrow = POINT.where(goal=(-0.1, 0.2)).split("test").where(goal=((0.0, 0.1), 0.2))
    assert narrow.split_name == "test"
    goal = narrow.sample(500, generator(0))["goal"]
    assert 0 <= goal[:, 0].min() < 0.02
    assert 0.1 <= goal[:, 1].min() < 0.11
    assert 0.18 < goal.max() <= 0.2
    assert narrow == POINT.split("test").where(goal=((0.0, 0.1), 0.2))  # the last bounds count


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"goal": (0.3, 0.2)}, r"need -1 <= low <= high <= 1, got \(0.3,\) and \(0.2,\)"),
        ({"goal": (0.0, 1.5)}, "need -1 <= low <= high <= 1"),
        ({"goal": (float("nan"), 0.2)}, "need -1 <= low"),
        ({"goal": ((0.0, 0.1, 0.2), 0.3)}, "need 1 or 2 numbers for each bound"),
        ({"mass": (0.0, 1.0)}, r"no task parameter 'mass'; it has \['goal'\]"),
    ],
)
def test_impossible_bounds_are_refused(bounds: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        POINT.where(**bounds)


def test_unknown_splits_are_refused() -> None:
    with pytest.raises(ValueError, match="has the splits train, test, ood; got 'validation'"):
        POINT.split("validation")


def test_options_are_the_fields_of_the_family() -> None:
    assert BANDIT.split("test").options == {"arms": 2, "pulls": 10}
