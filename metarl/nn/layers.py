"""Linear layers with orthogonal initialisation."""

import math
from collections.abc import Sequence

from torch import nn


def linear(inputs: int, outputs: int, gain: float = 1.0) -> nn.Linear:
    """A linear layer that starts with orthogonal weights of the given gain and zero bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def mlp(inputs: int, hidden: Sequence[int], outputs: int, output_gain: float = 1.0) -> nn.Sequential:
    """A multi-layer perceptron with SiLU between its linear layers; `output_gain` scales the weights of the last."""
    widths = [inputs, *hidden]
    layers: list[nn.Module] = []
    for before, after in zip(widths, hidden, strict=False):
        layers += [linear(before, after, math.sqrt(2)), nn.SiLU()]
    return nn.Sequential(*layers, linear(widths[-1], outputs, output_gain))
