"""What tests of the inner loop share: small policies in float64, their losses, and exact numerical derivatives."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from metarl import seeding
from metarl.functional import losses as surrogates
from metarl.nn.gaussian_heads import GaussianHead
from metarl.nn.memory import Memory
from metarl.nn.recurrent import RecurrentMemory
from metarl.nn.transformer import TransformerMemory

TASKS, ROLLOUTS, STEPS, WIDTH = 3, 2, 6, 8


class Policy(nn.Module):
    """Observations [R, T, 2] in, log-probabilities [R, T] of actions out."""

    def __init__(self, memory: Memory[Any] | None) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, WIDTH)
        self.memory = memory
        self.output = nn.Linear(WIDTH, 2)
        self.head = GaussianHead(spaces.Box(-0.1, 0.1, (2,), np.float32))

    def log_prob(self, observation: Tensor, action: Tensor) -> Tensor:
        return self.head.log_prob(self.parameters_of(observation), action)

    def parameters_of(self, observation: Tensor) -> Tensor:
        token = self.encoder(observation).tanh()
        x: Tensor = self.head(self.output(token if self.memory is None else self.memory(token)[0]))
        return x


def made(kind: str, seed: int = 0) -> Policy:
    with seeding.initialising(seed):
        memory: Memory[Any] | None = None
        if kind == "attention":
            memory = TransformerMemory(WIDTH, 1, 2, 4)  # a window shorter than the trial: the masked path too
        elif kind == "gru":
            memory = RecurrentMemory("gru", WIDTH, 1, 10)
        return Policy(memory).double()


def batch(seed: int, tasks: int = TASKS) -> dict[str, Tensor]:
    """What one inner step learns from; the log-probabilities are yet to be recorded."""
    stream = torch.Generator().manual_seed(seed)
    shape = (tasks, ROLLOUTS, STEPS)
    return {
        "observation": torch.randn(*shape, 2, generator=stream, dtype=torch.float64),
        "action": 0.1 * torch.randn(*shape, 2, generator=stream, dtype=torch.float64),
        "advantage": torch.randn(shape, generator=stream, dtype=torch.float64),
        "done": torch.rand(shape, generator=stream) < 0.3,
        "valid": torch.rand(shape, generator=stream) < 0.9,
    }


def log_prob(policy: Policy, data: dict[str, Tensor]) -> Tensor:
    return policy.log_prob(data["observation"], data["action"])


def ratio_loss(policy: Policy, data: dict[str, Tensor]) -> Tensor:
    old = data["old_log_prob"]
    return surrogates.likelihood_ratio(log_prob(policy, data), old, data["advantage"], data["valid"])


def dice_loss(policy: Policy, data: dict[str, Tensor]) -> Tensor:
    return surrogates.dice(log_prob(policy, data), data["advantage"], data["done"], data["valid"])


def dice_by_ratios(policy: Policy, data: dict[str, Tensor]) -> Tensor:
    """DiCE as an honest function, without stopped gradients: products of ratios to what was recorded, step by step."""
    log_ratio = log_prob(policy, data) - data["old_log_prob"]
    total = log_ratio.new_zeros(())
    for rollout in range(log_ratio.shape[0]):
        so_far = log_ratio.new_zeros(())
        for t in range(log_ratio.shape[1]):
            before = so_far
            so_far = so_far + data["valid"][rollout, t] * log_ratio[rollout, t]
            total = total - (so_far.exp() - before.exp()) * data["advantage"][rollout, t]
            so_far = so_far * ~data["done"][rollout, t]
    return total / data["valid"].sum()


def directional(function: Callable[[], Tensor], parameters: Sequence[Tensor], direction: Sequence[Tensor]) -> Tensor:
    """The derivative of a scalar along `direction`, by central differences of eighth order."""
    h, total = 2e-4, torch.zeros((), dtype=torch.float64)
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    for k, weight in weights.items():
        for sign in (1, -1):
            _shift(parameters, direction, sign * k * h)
            total += sign * weight / h * function().detach()
            _shift(parameters, direction, -sign * k * h)
    return total


def random_direction(gradient: Sequence[Tensor]) -> list[Tensor]:
    """Half of it along `gradient`, so that the derivative is no small difference of large terms."""
    stream = torch.Generator().manual_seed(7)
    parts = [torch.randn(g.shape, generator=stream, dtype=g.dtype) for g in gradient]
    return [
        d / dot(parts, parts).sqrt() + g / dot(gradient, gradient).sqrt() for d, g in zip(parts, gradient, strict=True)
    ]


def dot(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(xs, ys, strict=True)]).sum()


@torch.no_grad()
def _shift(parameters: Sequence[Tensor], direction: Sequence[Tensor], length: float) -> None:
    for p, d in zip(parameters, direction, strict=True):
        p.add_(d, alpha=length)


def adapted_one_by_one(
    policy: Policy, inner: Callable[[Policy, Any], Tensor], data: Sequence[dict[str, Tensor]], size: float
) -> list[dict[str, Tensor]]:
    """Adapted parameters of every task by a plain loop over tasks and steps."""
    caller, adapted = _Caller(policy, inner), []
    for task in range(len(data[0]["done"])):
        parameters: dict[str, Tensor] = dict(caller.named_parameters())
        for step_data in data:
            own = {name: x[task] for name, x in step_data.items()}
            with sdpa_kernel(SDPBackend.MATH):
                loss = torch.func.functional_call(caller, parameters, (own,))
            gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
            parameters = {n: p - size * g for (n, p), g in zip(parameters.items(), gradients, strict=True)}
        adapted.append({name.removeprefix("policy."): p for name, p in parameters.items()})
    return adapted


class _Caller(nn.Module):
    def __init__(self, policy: Policy, function: Callable[[Policy, Any], Tensor]) -> None:
        super().__init__()
        self.policy = policy
        self.function = function

    def forward(self, data: dict[str, Tensor]) -> Tensor:
        return self.function(self.policy, data)
