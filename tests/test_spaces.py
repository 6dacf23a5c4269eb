"""Random actions of every kind of space."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from metarl import seeding
from metarl.spaces import sample_actions


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=-4),
        spaces.MultiDiscrete([2, 4], start=[0, 7]),
        spaces.Box(np.array([-2, 0], np.float32), np.array([-1, 8], np.float32)),
    ],
    ids=str,
)
def test_random_actions_are_uniform_over_the_space(space: Any, device: str) -> None:
    actions = sample_actions(space, 40_000, seeding.generator(0, device=device)).cpu()
    assert all(action in space for action in actions[:100].numpy())
    if isinstance(space, spaces.Box):
        low, width = torch.from_numpy(space.low), torch.from_numpy(space.high - space.low)
        share = ((actions - low) / width).double()
        moments = [(share**power).mean(0) * (power + 1) for power in (1, 2, 3)]  # all 1 for a uniform share
        torch.testing.assert_close(torch.stack(moments), torch.ones(3, 2, dtype=torch.float64), atol=0.02, rtol=0)
    else:
        columns = actions.reshape(40_000, -1).unbind(1)
        firsts, counts = (
            np.ravel(x).tolist() for x in (space.start, getattr(space, "nvec", getattr(space, "n", None)))
        )
        for column, first, count in zip(columns, firsts, counts, strict=True):
            shares = torch.bincount(column - first, minlength=count) / 40_000
            torch.testing.assert_close(shares, torch.full((count,), 1 / count), atol=0.015, rtol=0)


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
