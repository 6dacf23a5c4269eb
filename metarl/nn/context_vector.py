"""A context vector that adapts in place of the network (CAVIA, Zintgraf et al. 2019, arXiv 1810.03642)."""

from typing import final

import torch
from torch import Tensor, nn


@final
class ContextVector(nn.Module):
    """Appends a vector of free parameters to a network's input. In the inner loop only this vector changes.

    It is zero at the start of every task. The outer loop must not train it: the bias of the next layer can express any
    other start. To adapt it, name its parameter in the network, as `("*.value",)`.

    >>> network = nn.Sequential(ContextVector(3), nn.Linear(2 + 3, 1))
    >>> network(torch.zeros(7, 2)).shape
    torch.Size([7, 1])

    Raises ValueError if `width` is below 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        self.value = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """`[..., D]` to `[..., D + width]`."""
        return torch.cat([x, self.value.expand(*x.shape[:-1], -1)], -1)
