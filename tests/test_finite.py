import torch
from torch import Tensor

from metarl.finite import finite_rows, first_broken


def values(device: str, **broken: tuple[int, float]) -> dict[str, Tensor]:
    """An image, a count and a number in each of 3 rows, some with a broken entry in a row."""
    shapes = {"image": torch.zeros(3, 2, 2), "count": torch.zeros(3, dtype=torch.int64), "number": torch.zeros(3)}
    for name, (row, value) in broken.items():
        shapes[name][row] = value
    return {name: x.to(device) for name, x in shapes.items()}


def test_rows_are_finite_if_all_of_them_is(device: str) -> None:
    image = torch.zeros(3, 2, 2)
    image[1, 0, 1], image[2, 1, 1] = torch.nan, -torch.inf
    assert finite_rows(image.to(device)).tolist() == [True, False, False]
    assert finite_rows(torch.arange(2, device=device)).tolist() == [True, True]


def test_the_first_that_is_broken_is_named_with_its_row(device: str) -> None:
    assert first_broken(values(device)) is None
    assert first_broken(values(device, number=(2, torch.inf))) == ("number", 2)
    assert first_broken(values(device, number=(0, torch.nan), image=(1, torch.nan))) == ("image", 1)
