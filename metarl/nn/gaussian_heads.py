"""Action heads for continuous actions: normal distributions, as they are or squashed into the box."""

import math
from typing import final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.nn.action_head import ActionHead
from metarl.spaces import center_and_scale

LARGEST_SQUASHED = 1 - 1e-6  # a float32 action nearer to the edge has no finite logarithm of its density
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(16)


@final
class GaussianHead(ActionHead):
    """Continuous actions: independent normal distributions around the network's output.

    The parameters `[..., 2 * A]` are means, then logarithms of standard deviations, in units of half the box.
    The standard deviations are free parameters of the head: they do not depend on the observation.
    Samples are not clipped, because the environment clips. Log-probabilities are those of the samples.
    Numbers without width are constants, which add nothing to probabilities and entropies.
    """

    def __init__(self, space: spaces.Box) -> None:
        super().__init__()
        self.num_outputs = self.num_features = int(np.prod(space.shape))
        self._shape = space.shape
        center, scale = center_and_scale(space)
        self.center: Tensor
        self.scale: Tensor
        self.register_buffer("center", torch.from_numpy(center).flatten(), persistent=False)
        self.register_buffer("scale", torch.from_numpy(scale).flatten(), persistent=False)
        self.moves: Tensor | None  # [A] 0 where an action is a constant, else 1; None: all move
        self.register_buffer("moves", None if scale.all() else (self.scale > 0).float(), persistent=False)
        self.log_std = nn.Parameter(torch.full((self.num_outputs,), -0.5))

    def forward(self, output: Tensor) -> Tensor:
        return torch.cat([output, self.log_std.expand_as(output)], -1)  # [..., A] -> [..., 2 A]

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        mean, log_std = parameters.chunk(2, -1)
        noise = torch.empty_like(mean).normal_(generator=generator)  # [..., A]
        return self.denormalise(mean + log_std.exp() * noise)

    def mode(self, parameters: Tensor) -> Tensor:
        return self.denormalise(parameters.chunk(2, -1)[0])

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        mean, log_std = parameters.chunk(2, -1)
        error = (self.normalise(action) - mean) / log_std.exp()  # [..., A]
        return self.total(-0.5 * error.square() - log_std - 0.5 * math.log(2 * math.pi))

    def entropy(self, parameters: Tensor) -> Tensor:
        return self.total(parameters.chunk(2, -1)[1] + 0.5 * math.log(2 * math.pi * math.e))

    def kl_divergence(self, parameters: Tensor, other: Tensor) -> Tensor:
        (mean, log_std), (other_mean, other_log_std) = parameters.chunk(2, -1), other.chunk(2, -1)
        spread = (2 * log_std).exp() + (mean - other_mean).square()
        return self.total(other_log_std - log_std + spread / (2 * (2 * other_log_std).exp()) - 0.5)

    def cross_entropy(self, parameters: Tensor, expert_labels: Tensor) -> Tensor:
        return -self.log_prob(parameters, expert_labels)

    def encode(self, action: Tensor) -> Tensor:
        return self.normalise(action).clamp(-1, 1)

    def total(self, x: Tensor) -> Tensor:
        """The sum [...] of `x` [..., A] over all numbers of an action but constants."""
        return x.sum(-1) if self.moves is None else (x * self.moves).sum(-1)

    def normalise(self, action: Tensor) -> Tensor:
        """Actions `[..., *shape]` as `[..., A]` in units of half the box; constants are 0."""
        x = action.flatten(action.dim() - len(self._shape)) - self.center
        return x / self.scale if self.moves is None else x * self.moves / (self.scale + 1 - self.moves)

    def denormalise(self, x: Tensor) -> Tensor:
        """The inverse: `[..., A]` to `[..., *shape]`."""
        return (self.center + self.scale * x).reshape(*x.shape[:-1], *self._shape)


@final
class SquashedGaussianHead(ActionHead):
    """Continuous actions inside the box: hyperbolic tangents of independent normal distributions.

    The parameters `[..., 2 * A]` are means, then logarithms of standard deviations, before the tangent. No action needs
    to be clipped, so no gradient is lost at the edges (Haarnoja et al. 2018, arXiv 1801.01290, appendix C).
    `mode` is the tangent of the mean, which is the median.
    """

    def __init__(self, space: spaces.Box) -> None:
        super().__init__()
        self._normal = GaussianHead(space)
        self.num_outputs = self.num_features = self._normal.num_outputs
        self.nodes: Tensor
        self.weights: Tensor
        self.register_buffer("nodes", torch.as_tensor(NODES, dtype=torch.float32), persistent=False)
        self.register_buffer("weights", torch.as_tensor(WEIGHTS / WEIGHTS.sum(), dtype=torch.float32), persistent=False)

    def forward(self, output: Tensor) -> Tensor:
        return self._normal(output)  # type: ignore[no-any-return]

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        mean, log_std = parameters.chunk(2, -1)
        noise = torch.empty_like(mean).normal_(generator=generator)  # [..., A]
        return self._normal.denormalise((mean + log_std.exp() * noise).tanh())

    def mode(self, parameters: Tensor) -> Tensor:
        return self._normal.denormalise(parameters.chunk(2, -1)[0].tanh())

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        before = self._normal.normalise(action).clamp(-LARGEST_SQUASHED, LARGEST_SQUASHED).atanh()
        return self._normal.log_prob(parameters, self._normal.denormalise(before)) - self._normal.total(
            _log_slope(before)
        )

    def entropy(self, parameters: Tensor) -> Tensor:
        """That of the normal distribution and the mean log-slope of the tangent, by Gauss-Hermite quadrature."""
        mean, log_std = parameters.chunk(2, -1)
        before = mean[..., None] + log_std.exp()[..., None] * self.nodes  # [..., A, 16]
        return self._normal.entropy(parameters) + self._normal.total((_log_slope(before) * self.weights).sum(-1))

    def kl_divergence(self, parameters: Tensor, other: Tensor) -> Tensor:
        return self._normal.kl_divergence(parameters, other)  # a bijection of both changes nothing

    def cross_entropy(self, parameters: Tensor, expert_labels: Tensor) -> Tensor:
        return -self.log_prob(parameters, expert_labels)

    def encode(self, action: Tensor) -> Tensor:
        return self._normal.encode(action)


def _log_slope(x: Tensor) -> Tensor:
    """log(1 - tanh(x)²), without overflow."""
    return 2 * (math.log(2) - x - nn.functional.softplus(-2 * x))
