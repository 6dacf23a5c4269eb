"""A vector that adapts instead of the network (CAVIA, Zintgraf et al. 2019, arXiv 1810.03642)."""

from typing import final

import torch
from torch import Tensor, nn


@final
class ContextVector(nn.Module):
    """Appends a vector of free parameters to a network's input; in the inner loop it alone changes.

    It starts every task at zero: the outer loop must not train it, since a start other than zero is nothing that the
    next layer's bias could not say. Adapt `("*.value",)`, or the path that it has in its network.

    >>> network = nn.Sequential(ContextVector(3), nn.Linear(2 + 3, 1))
    >>> network(torch.zeros(7, 2)).shape
    torch.Size([7, 1])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        self.value = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """`[..., D]` to `[..., D + width]`."""
        return torch.cat([x, self.value.expand(*x.shape[:-1], -1)], -1)
