"""The sinusoid experiment's tasks, and networks for several seeds side by side."""

import math
from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from metarl.adaptation.stacked import Data
from metarl.nn.context_vector import ContextVector
from metarl.seeding import generator

WIDTH = 40  # of both hidden layers


class Sinusoids(NamedTuple):
    """N tasks for each of S seeds, and P points of each: y = amplitude * sin(x - phase)."""

    amplitude: Tensor  # [N, S]
    phase: Tensor  # [N, S]
    x: Tensor  # [N, P, S]

    def data(self, part: slice = slice(None), told: bool = False) -> Data:
        """Inputs `[N, p, D * S]` and targets `[N, p, S]` at a part of the points."""
        x = self.x[:, part]
        tasks = [value[:, None].expand_as(x) for value in (self.amplitude, self.phase)]
        return {"x": torch.cat([x, *tasks], -1) if told else x, "y": tasks[0] * torch.sin(x - tasks[1])}


def draw_sinusoids(num_tasks: int, num_points: int, generators: Sequence[torch.Generator]) -> Sinusoids:
    """Amplitudes U[.1, 5], phases U[0, pi] and points U[-5, 5]; one generator a seed."""
    uniform = torch.stack([torch.rand(num_tasks, 2 + num_points, generator=each) for each in generators], -1)
    return Sinusoids(0.1 + 4.9 * uniform[:, 0], math.pi * uniform[:, 1], 10 * uniform[:, 2:] - 5)


@final
class Networks(nn.Module):
    """One network for each of S seeds, side by side: no slower than one, and each exactly as it would be alone.

    Inputs `[P, D * S]` have the seeds innermost, so that a context vector of width C * S gives each its own C.
    """

    def __init__(self, inputs: int, context: int, seeds: Sequence[int]) -> None:
        super().__init__()
        self._num_seeds = len(seeds)
        self.context = ContextVector(context * len(seeds)) if context else nn.Identity()
        draws = [generator(seed, "network") for seed in seeds]
        hidden = [LinearLayers(inputs + context, WIDTH, draws), nn.ReLU(), LinearLayers(WIDTH, WIDTH, draws), nn.ReLU()]
        self.body = nn.Sequential(*hidden)
        self.head = LinearLayers(WIDTH, 1, draws)

    def forward(self, x: Tensor) -> Tensor:
        """`[P, D * S]` to `[P, S]`."""
        x = self.context(x).unflatten(-1, (-1, self._num_seeds))  # [P, D + C, S]
        return self.head(self.body(x.movedim(-1, 0))).squeeze(-1).mT  # type: ignore[no-any-return]


@final
class LinearLayers(nn.Module):
    """S linear layers side by side, `[S, P, inputs]` to `[S, P, outputs]`; they start as torch's own do."""

    def __init__(self, inputs: int, outputs: int, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        uniform = torch.stack([torch.rand(inputs + 1, outputs, generator=each) for each in generators])
        weight, bias = torch.split((2 * uniform - 1) / math.sqrt(inputs), [inputs, 1], 1)
        self.weight = nn.Parameter(weight.clone())  # [S, inputs, outputs]
        self.bias = nn.Parameter(bias.clone())  # [S, 1, outputs]

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


def squared_errors(networks: Networks, data: Data) -> Tensor:
    """Mean squared error [S] of each seed's network in its task."""
    errors: Tensor = networks(data["x"]) - data["y"]
    return errors.square().mean(0)


def task_loss(networks: Networks, data: Data) -> Tensor:
    """A sum, so that no seed's gradient depends on another seed."""
    return squared_errors(networks, data).sum()
