"""What both sides of the comparison with learn2learn are given: networks, losses and data of N tasks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl import seeding
from metarl.adaptation.stacked import Data
from metarl.functional.losses import likelihood_ratio
from metarl.nn.gaussian_heads import GaussianHead
from metarl.nn.layers import linear, mlp
from metarl.nn.transformer import TransformerMemory

INNER_STEPS = 3


@final
@dataclass(frozen=True)
class Problem:
    """A network, its size of an inner step, the loss of one task and the data of all."""

    name: str
    module: nn.Module
    step_size: float
    loss: Callable[[Any, Any], Tensor]
    data: Sequence[Data]  # [N, ...], of each inner step and last of the outer loss

    @property
    def num_tasks(self) -> int:
        return len(next(iter(self.data[0].values())))

    def loss_of(self, module: nn.Module, step: int, task: int) -> Tensor:
        return self.loss(module, {name: x[task] for name, x in self.data[step].items()})


@final
class Policy(nn.Module):
    """A Gaussian policy: data of any shape [...] in, log-probabilities [...] of its actions `[..., 2]` out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.head = GaussianHead(spaces.Box(-1.0, 1.0, (2,), np.float32))

    def forward(self, data: Data) -> Tensor:
        return self.head.log_prob(self.head(self.network(data["observation"])), data["action"])


@final
class AttentionNetwork(nn.Module):
    """Trials `[R, T, 2]` to `[R, T, 2]`, each step from the steps up to it."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.encoder, self.output = linear(2, width), linear(width, 2)
        self.memory = TransformerMemory(width, layers=1, heads=2, window=4)

    def forward(self, observation: Tensor) -> Tensor:
        x: Tensor = self.output(self.memory(self.encoder(observation))[0])
        return x


def problems(tasks: int = 5) -> Iterator[Problem]:
    """In float64. The attention policy is so sensitive that larger steps would make the ratios overflow."""
    yield regression(tasks)
    yield reinforcement("policy, MLP", two_layers, 0.05, (tasks, 4, 10))
    yield reinforcement("policy, attention", AttentionNetwork, 0.0005, (tasks, 4, 10))


def regression(tasks: int, rows: int = 10) -> Problem:
    """Sinusoids, each task with its own amplitude and phase (Finn et al. 2017, arXiv 1703.03400, section 5.1)."""
    stream = seeding.generator(0, "sinusoids")
    amplitude, phase = torch.rand(2, tasks, 1, 1, generator=stream, dtype=torch.float64)
    x = 10 * torch.rand(INNER_STEPS + 1, tasks, rows, 1, generator=stream, dtype=torch.float64) - 5
    y = (0.1 + 4.9 * amplitude) * (x + torch.pi * phase).sin()
    network = initialised(lambda: mlp(1, (40, 40), 1)).double()
    data = [{"x": inputs, "y": targets} for inputs, targets in zip(x, y, strict=True)]
    return Problem("regression, MLP", network, 0.01, squared_error, data)


def reinforcement(
    name: str,
    network: Callable[[], nn.Module],
    step_size: float,
    shape: tuple[int, int, int],
    inner_steps: int = INNER_STEPS,
    dtype: torch.dtype = torch.float64,
) -> Problem:
    """Policy gradients on made-up experience of shape `[N, R, T]`: N tasks, R rollouts, T steps.

    Its log-probabilities are recorded before any inner step, so that after the first the ratios are not 1.
    """
    policy = initialised(lambda: Policy(network())).to(dtype)
    stream = seeding.generator(0, name)
    data = [experience(policy, shape, dtype, stream) for _ in range(inner_steps + 1)]
    return Problem(name, policy, step_size, surrogate, data)


@torch.no_grad()
def experience(policy: nn.Module, shape: tuple[int, int, int], dtype: torch.dtype, stream: torch.Generator) -> Data:
    seen = {key: torch.randn(*shape, 2, generator=stream, dtype=dtype) for key in ("observation", "action")}
    return seen | {
        "old_log_prob": policy({key: x.flatten(0, 1) for key, x in seen.items()}).view(shape),
        "advantage": torch.randn(shape, generator=stream, dtype=dtype),
        "valid": torch.rand(shape, generator=stream) < 0.9,
    }


def squared_error(network: nn.Module, data: Data) -> Tensor:
    return nn.functional.mse_loss(network(data["x"]), data["y"])


def surrogate(policy: nn.Module, data: Data) -> Tensor:
    return likelihood_ratio(policy(data), data["old_log_prob"], data["advantage"], data["valid"])


def two_layers() -> nn.Module:
    return mlp(2, (64, 64), 2)


def initialised(make: Callable[[], nn.Module]) -> nn.Module:
    with seeding.initialising(0):
        return make()
