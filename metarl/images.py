"""Images as observations: which spaces are images, and a small convolutional network for them."""

import math
from itertools import pairwise
from typing import Any, TypeGuard, final

import torch
from gymnasium import spaces
from torch import Tensor, nn

SMALLEST = 8  # pixels of a side; what is smaller is a table of numbers
COARSEST = 5  # cells of the shorter side in which the convolutions end, at most
GRID = 4  # cells of a side in `coarse`
FIRST_CHANNELS, CHANNELS = 16, 32


def is_image(space: spaces.Space[Any]) -> TypeGuard[spaces.Box]:
    """Whether a space is one of images: a uint8 Box [H, W], [H, W, C] or [C, H, W] with sides of at least 8 pixels."""
    if not isinstance(space, spaces.Box) or space.dtype != "uint8" or len(space.shape) not in (2, 3):
        return False
    return min(image_shape(space)[1:]) >= SMALLEST


def image_shape(space: spaces.Box) -> tuple[int, int, int]:
    """Channels, height and width; the channels are the last axis unless the first is shorter than it."""
    if len(space.shape) == 2:
        return 1, space.shape[0], space.shape[1]
    first, middle, last = space.shape
    return (first, middle, last) if _channels_first(space) else (last, first, middle)


def channels_first(observation: Tensor, space: spaces.Box) -> Tensor:
    """Images `[..., *space.shape]` as `[..., C, H, W]`, of the same type."""
    if len(space.shape) == 2:
        return observation.unsqueeze(-3)
    return observation if _channels_first(space) else observation.movedim(-1, -3)


def coarse(observation: Tensor, space: spaces.Box) -> Tensor:
    """Brightness from 0 to 1 of 4 x 4 cells, `[..., 16]`: all that a linear baseline sees of images `[..., *shape]`."""
    x = _scaled(channels_first(observation, space), space).mean(-3)
    return nn.functional.adaptive_avg_pool2d(x.reshape(-1, 1, *x.shape[-2:]), GRID).reshape(*x.shape[:-2], -1)


@final
class Convolutions(nn.Module):
    """Images `[..., *space.shape]` as normalised features `[..., size]`.

    Pixels are scaled to [0, 1]; each layer halves the sides, until the shorter one has at most 5 cells. Integers stay
    integers up to here: only what is being looked at is ever held as floats.

    >>> network = Convolutions(spaces.Box(0, 255, (64, 64, 3), "uint8"))
    >>> network(torch.zeros(7, 5, 64, 64, 3, dtype=torch.uint8)).shape == (7, 5, network.size)
    True

    Raises ValueError for a space whose images have a side of fewer than 8 pixels, or that is none of images.
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
        x = _scaled(channels_first(observation, self._space), self._space)
        y: Tensor = self.layers(x.reshape(-1, *x.shape[-3:]))
        return self.norm(y.reshape(*x.shape[:-3], -1))  # type: ignore[no-any-return]


def _halving(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
    nn.init.orthogonal_(layer.weight, math.sqrt(2))
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _channels_first(space: spaces.Box) -> bool:
    return len(space.shape) == 3 and space.shape[0] < space.shape[2]


def _scaled(observation: Tensor, space: spaces.Box) -> Tensor:
    return observation.to(torch.get_default_dtype()) / max(1, int(space.high.max()))
