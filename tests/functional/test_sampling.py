"""Draws have the right moments, and each entry keeps its luck whatever the others are."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl import seeding
from metarl.functional import sampling as draws

COUNT = 200_000


def stream() -> torch.Generator:
    return seeding.generator(0, "test")


def test_between_goes_from_low_to_high_in_every_coordinate() -> None:
    low, high = np.array([0.0, -2.0]), np.array([1.0, 2.0])
    points = draws.between(low, high, torch.tensor([[0.0, 0.0], [0.5, 0.25], [1.0, 1.0]]))
    assert points.dtype == torch.float32
    assert points.tolist() == [[0, -2], [0.5, -1], [1, 2]]


def test_uniform_has_its_mean_and_variance_in_every_coordinate() -> None:
    low, high = np.array([0.0, -2.0]), np.array([1.0, 2.0])
    drawn = draws.uniform(COUNT, low, high, stream())
    assert drawn.shape == (COUNT, 2)
    torch.testing.assert_close(drawn.mean(0), torch.tensor([0.5, 0.0]), atol=0.01, rtol=0)
    torch.testing.assert_close(drawn.var(0), torch.tensor([1 / 12, 16 / 12]), atol=0, rtol=0.01)


@pytest.mark.parametrize("shape", [1.0, 2.5, 40.0])
def test_gamma_has_its_mean_and_variance(shape: float) -> None:
    drawn = draws.gamma(torch.full((COUNT,), shape), stream())
    assert float(drawn.mean()) == pytest.approx(shape, abs=4 * (shape / COUNT) ** 0.5)
    assert float(drawn.var()) == pytest.approx(shape, rel=4 * ((2 + 6 / shape) / COUNT) ** 0.5)


def test_gamma_of_shape_one_is_exponential() -> None:
    drawn = draws.gamma(torch.ones(COUNT), stream())
    for quantile in (0.01, 0.5, 3.0):
        below = float((drawn < quantile).double().mean())
        assert below == pytest.approx(1 - torch.tensor(-quantile).exp().item(), abs=4 * (0.25 / COUNT) ** 0.5)


def test_beta_and_dirichlet_have_their_means() -> None:
    share = draws.beta(torch.full((COUNT,), 3.0), torch.ones(COUNT), stream())
    assert float(share.mean()) == pytest.approx(0.75, abs=0.002)
    rows = draws.dirichlet(torch.tensor([1.0, 2.0, 5.0]).expand(COUNT, 3), stream())
    torch.testing.assert_close(rows.sum(-1), torch.ones(COUNT))
    torch.testing.assert_close(rows.mean(0), torch.tensor([0.125, 0.25, 0.625]), atol=0.002, rtol=0)


def test_choice_follows_the_weights() -> None:
    weights = torch.tensor([0.0, 1.0, 0.0, 3.0, 0.0])
    share = torch.bincount(draws.choice(weights.expand(COUNT, 5), stream()), minlength=5) / COUNT
    assert share[[0, 2, 4]].sum() == 0
    assert float(share[3]) == pytest.approx(0.75, abs=0.005)
    assert draws.choice(torch.zeros(3, 5), stream()).max() < 5


@pytest.mark.parametrize("draw", [draws.gamma, draws.choice])
def test_rows_do_not_disturb_each_other(draw: Callable[[Tensor, torch.Generator], Tensor]) -> None:
    one = torch.rand(50, 8, generator=seeding.generator(1)) + 1
    other = one.clone()
    other[::2] *= torch.arange(1, 9)
    first, second = (draw(rows, stream()) for rows in (one, other))
    assert torch.equal(first[1::2], second[1::2])
    assert not torch.equal(first[::2], second[::2])
