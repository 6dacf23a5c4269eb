"""Random actions of every kind of space, and what environments make of actions."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate

from metarl import seeding
from metarl.spaces import (
    bounds_of,
    channels_first,
    image_shape,
    is_image,
    original_action,
    plain_space,
    sample_actions,
)

COUNT = 40_000


@pytest.mark.parametrize(
    ("space", "options"),
    [
        (spaces.Discrete(3, start=-4), [(-4, -3, -2)]),
        (spaces.MultiDiscrete([2, 4], start=[0, 7]), [(0, 1), (7, 8, 9, 10)]),
        (spaces.MultiBinary(2), [(0, 1), (0, 1)]),
    ],
    ids=str,
)
def test_integers_are_drawn_evenly(space: Any, options: list[tuple[int, ...]], device: str) -> None:
    actions = sample_actions(space, COUNT, seeding.generator(0, device=device)).cpu()
    assert actions.shape == (COUNT, *space.shape)
    for column, values in zip(actions.reshape(COUNT, -1).unbind(1), options, strict=True):
        shares = [(column == value).double().mean().item() for value in values]
        assert shares == pytest.approx([1 / len(values)] * len(values), abs=0.015)
        assert sum(shares) == pytest.approx(1)  # there are no other values


def test_numbers_are_drawn_evenly(device: str) -> None:
    space = spaces.Box(np.array([-2, 0], np.float32), np.array([-1, 8], np.float32))
    actions = sample_actions(space, COUNT, seeding.generator(0, device=device)).cpu()
    share = (actions - torch.tensor([-2, 0])) / torch.tensor([1, 8])
    moments = torch.stack([(power + 1) * (share**power).mean(0) for power in (1, 2, 3)])  # of a uniform share all 1
    torch.testing.assert_close(moments, torch.ones(3, 2), atol=0.02, rtol=0)
    assert space.contains(actions.amin(0).numpy())
    assert space.contains(actions.amax(0).numpy())


def test_bounds() -> None:
    assert bounds_of(spaces.Discrete(3, start=-4)) == (-4, -2)
    assert np.array(bounds_of(spaces.MultiDiscrete([2, 4], start=[0, 7]))).tolist() == [[0, 7], [1, 10]]
    assert bounds_of(spaces.MultiBinary(2)) == (0, 1)
    assert np.array(bounds_of(spaces.Box(-1, 1, (2,)))).tolist() == [[-1, -1], [1, 1]]


def test_a_box_that_is_open_on_a_side_is_two_units_wide() -> None:
    inf = np.inf
    space = spaces.Box(np.array([-inf, 5, -inf, -inf], np.float32), np.array([inf, inf, -7, 9], np.float32))
    actions = sample_actions(space, 1000, seeding.generator(0))
    edges = torch.tensor([[-1.0, 5, -9, -1], [1, 7, -7, 9]])
    assert (actions >= edges[0]).all()
    assert (actions <= edges[1]).all()
    torch.testing.assert_close(torch.stack([actions.amin(0), actions.amax(0)]), edges, atol=0.1, rtol=0)


def test_a_space_of_another_kind_has_no_random_actions() -> None:
    with pytest.raises(TypeError, match=r"no actions can be drawn from Text"):
        sample_actions(spaces.Text(3), 2, seeding.generator(0))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=4),
        spaces.MultiDiscrete([2, 3], start=[5, 0]),
        spaces.MultiBinary(2),
        spaces.Box(-1, 1, ()),
        spaces.Box(-3, 3, (2, 2), np.int8),
        spaces.Dict(
            {"b": spaces.Tuple([spaces.Discrete(2, start=1), spaces.Box(0, 9, ())]), "a": spaces.MultiBinary(3)}
        ),
    ],
    ids=str,
)
def test_a_batch_of_actions_is_one_action_after_the_other(space: spaces.Space[Any]) -> None:
    actions = sample_actions(plain_space(space, "action"), 5, seeding.generator(0)).numpy()
    if isinstance(space, spaces.Box | spaces.Dict):
        actions = 1.5 * actions  # some leave the space
    batched = original_action(space, actions, 5)
    assert batch_space(space, 5).contains(batched)
    for one, action in zip(iterate(batch_space(space, 5), batched), actions, strict=True):
        alone = original_action(space, action)
        assert space.contains(alone)
        np.testing.assert_array_equal(spaces.flatten(space, one), spaces.flatten(space, alone))


def test_the_channels_of_an_image_are_found_by_the_sides_that_are_equal() -> None:
    shapes = {
        (9, 9, 17): (17, 9, 9),  # planes of a go board, last
        (17, 9, 9): (17, 9, 9),  # and first
        (8, 8, 8): (8, 8, 8),
        (3, 40, 60): (3, 40, 60),
        (40, 60, 3): (3, 40, 60),
        (4, 84, 84): (4, 84, 84),
        (84, 84, 4): (4, 84, 84),
        (21, 30): (1, 21, 30),
        (4, 40, 60, 3): (12, 40, 60),  # a stack of colour pictures
        (4, 3, 40, 60): (12, 40, 60),
    }
    found = {shape: image_shape(spaces.Box(0, 255, shape, np.uint8)) for shape in shapes}
    assert found == shapes


@pytest.mark.parametrize("shape", [(9, 9, 17), (17, 9, 9), (2, 10, 12, 3), (2, 3, 10, 12), (11, 13)])
def test_channels_come_first_without_a_pixel_in_another_place(shape: tuple[int, ...]) -> None:
    space = spaces.Box(0, 255, shape, np.uint8)
    assert is_image(space)
    pixels = torch.arange(2 * int(np.prod(shape))).remainder(251).to(torch.uint8).reshape(2, *shape)
    x = channels_first(pixels, space)
    assert tuple(x.shape[1:]) == image_shape(space)
    channel, row, column = 1 if len(shape) > 2 else 0, 3, 5
    stacked = len(shape) == 4
    picture = pixels[:, 0] if stacked else pixels
    first = shape in ((17, 9, 9), (2, 3, 10, 12))
    expected = (
        picture[:, row, column]
        if len(shape) == 2
        else (picture[:, channel, row, column] if first else picture[:, row, column, channel])
    )
    assert torch.equal(x[:, channel, row, column], expected)


def test_enormous_bounds_of_actions_are_none_and_those_of_observations_stay() -> None:
    largest = float(np.finfo(np.float32).max)
    space = spaces.Box(np.array([-largest, -2e9, -1e8, 0]), np.array([largest, 5, 1e8, 1e30]), dtype=np.float64)
    plain = plain_space(space, "action")
    assert isinstance(plain, spaces.Box)
    assert plain.low.tolist() == [-np.inf, -np.inf, -1e8, 0]
    assert plain.high.tolist() == [np.inf, 5, 1e8, np.inf]
    seen = plain_space(space, "observation")
    assert isinstance(seen, spaces.Box)
    assert np.isfinite(seen.low[:3]).all()
    drawn = sample_actions(plain, 1000, seeding.generator(0))
    assert drawn.isfinite().all()
    assert original_action(space, np.array([7e10, 0, 0, 0])).tolist() == [7e10, 0, 0, 0]  # only the space clips


class Mission(spaces.Space[str]):
    """A text of a kind that gymnasium cannot flatten."""


def test_an_entry_that_is_no_numbers_is_named() -> None:
    inner = spaces.Dict({"view": spaces.Box(0, 1, (2,)), "task": spaces.Tuple((spaces.Discrete(2), Mission()))})
    with pytest.raises(ValueError, match=r"no numbers: \['task'\]\[1\].*FilterObservation"):
        plain_space(inner, "observation")
    with pytest.raises(ValueError, match="must be Box, Discrete or MultiDiscrete"):
        plain_space(Mission(), "observation")
