"""Whether numbers are finite, and where the first is that is not."""

from collections.abc import Mapping

import torch
from torch import Tensor


def finite_rows(values: Tensor) -> Tensor:
    """For each row of `values` [N, ...] whether all of it is finite: bools [N], for which no device is waited for."""
    return values.isfinite().reshape(len(values), -1).all(1)


def first_broken(values: Mapping[str, Tensor]) -> tuple[str, int] | None:
    """Name and row of the first of `values`, each [N, ...], that is not finite; None if all are.

    All on one device, which is asked once where all are finite.
    """
    finite = {name: finite_rows(x) for name, x in values.items()}
    if bool(torch.cat(list(finite.values())).all()):
        return None
    name, rows = next((name, rows) for name, rows in finite.items() if not bool(rows.all()))
    return name, int(rows.logical_not().nonzero()[0])
