"""A small convolutional network for observations that are images."""

import math
from itertools import pairwise
from typing import final

from gymnasium import spaces
from torch import Tensor, nn

from metarl.spaces import SMALLEST, channels_first, image_shape, is_image, scaled_pixels

COARSEST = 5  # largest shorter side, in cells, of the last layer's output


FIRST_CHANNELS, CHANNELS = 16, 32


@final
class Convolutions(nn.Module):
    """Images `[..., *space.shape]` as normalised features `[..., size]`.

    Pixels are scaled to [0, 1]. Each layer halves the sides, until the shorter one has at most 5 cells.
    Images are stored as integers; only the batch that passes through is converted to floats.

    >>> import torch
    >>> network = Convolutions(spaces.Box(0, 255, (64, 64, 3), "uint8"))
    >>> network(torch.zeros(7, 5, 64, 64, 3, dtype=torch.uint8)).shape == (7, 5, network.size)
    True

    Raises ValueError for a space that is not one of images, or whose images have a side of fewer than 8 pixels.
    """

    def __init__(self, space: spaces.Box) -> None:
        super().__init__()
        if not is_image(space):
            raise ValueError(f"images are uint8 with sides of at least {SMALLEST} pixels, got {space}")
        self._space = space
        channels, *sides = image_shape(space)
        depth = math.ceil(math.log2(min(sides) / COARSEST))
        widths = [channels, FIRST_CHANNELS, *[CHANNELS] * (depth - 1)]
        self.layers = nn.Sequential(*(layer for pair in pairwise(widths) for layer in (_halving(*pair), nn.SiLU())))
        self.size = widths[-1] * math.prod(math.ceil(side / 2**depth) for side in sides)
        self.norm = nn.LayerNorm(self.size)

    def forward(self, observation: Tensor) -> Tensor:
        x = scaled_pixels(channels_first(observation, self._space), self._space)
        y: Tensor = self.layers(x.reshape(-1, *x.shape[-3:]))  # [..., C, H, W] -> [N, C, H, W] -> [N, C', h, w]
        # [N, C', h, w] -> [..., size]
        return self.norm(y.reshape(*x.shape[:-3], -1))  # type: ignore[no-any-return]


def _halving(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
    nn.init.orthogonal_(layer.weight, math.sqrt(2))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
