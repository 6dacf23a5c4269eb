"""Action heads: from a network's output to actions, log-probabilities and entropies.

Heads are functions of parameter tensors. In a small policy, objects of `torch.distributions` would take most of the
time of a rollout step.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, cast, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.spaces import HybridBox, center_and_scale, kinds


class ActionHead(nn.Module, ABC):
    """A family of probability distributions over actions, whose parameters `[..., P]` come from a network's output."""

    num_outputs: int  # width of the network's output
    num_features: int  # width of `encode`: an action as the input of a network

    @abstractmethod
    def forward(self, output: Tensor) -> Tensor:
        """Parameters `[..., P]` of the distribution from a network's output `[..., num_outputs]`."""

    @abstractmethod
    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """One action `[..., *action shape]` for each parameter vector `[..., P]`."""

    @abstractmethod
    def mode(self, parameters: Tensor) -> Tensor:
        """The most likely action `[..., *action shape]`."""

    @abstractmethod
    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        """Log-probability [...] in nats of a whole action: the sum over its dimensions."""

    @abstractmethod
    def entropy(self, parameters: Tensor) -> Tensor:
        """Entropy [...] in nats."""

    @abstractmethod
    def kl_divergence(self, parameters: Tensor, other: Tensor) -> Tensor:
        """Kullback-Leibler divergence [...] in nats from the distribution to the one with the `other` parameters."""

    @abstractmethod
    def cross_entropy(self, parameters: Tensor, advice: Tensor) -> Tensor:
        """Cross-entropy [...] in nats to expert labels: probabilities `[..., A]` (Discrete), else one action."""

    @abstractmethod
    def encode(self, action: Tensor) -> Tensor:
        """Actions as float vectors `[..., num_features]` with entries within [-1, 1]."""


@final
class CategoricalHead(ActionHead):
    """Discrete actions; the parameters `[..., A]` are logits.

    >>> head = CategoricalHead(spaces.Discrete(3))
    >>> head.mode(torch.tensor([[0.0, 2.0, 1.0]]))
    tensor([1])
    """

    def __init__(self, space: spaces.Discrete) -> None:
        super().__init__()
        self.num_outputs = self.num_features = int(space.n)
        self._start = int(space.start)

    def forward(self, output: Tensor) -> Tensor:
        return output

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.empty_like(parameters).exponential_(generator=generator)
        return (parameters - noise.log()).argmax(-1) + self._start  # the Gumbel-max trick

    def mode(self, parameters: Tensor) -> Tensor:
        return parameters.argmax(-1) + self._start

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        return parameters.log_softmax(-1).gather(-1, (action - self._start)[..., None]).squeeze(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        log_probs = parameters.log_softmax(-1)
        return -(log_probs.exp() * log_probs).sum(-1)

    def kl_divergence(self, parameters: Tensor, other: Tensor) -> Tensor:
        log_probs = parameters.log_softmax(-1)
        return (log_probs.exp() * (log_probs - other.log_softmax(-1))).sum(-1)

    def cross_entropy(self, parameters: Tensor, advice: Tensor) -> Tensor:
        return -(advice * parameters.log_softmax(-1)).sum(-1)

    def encode(self, action: Tensor) -> Tensor:
        options = torch.arange(self._start, self._start + self.num_features, device=action.device)
        return (action[..., None] == options).float()


@final
class MultiCategoricalHead(ActionHead):
    """K discrete choices at once, independent given the network's output.

    The parameters `[..., K * longest]` are the logits of each choice, padded to the longest with impossible options.
    Raises TypeError for a space whose shape has more than one dimension.
    """

    IMPOSSIBLE = -1e9  # the logit of an option that does not exist

    def __init__(self, space: spaces.MultiDiscrete) -> None:
        super().__init__()
        if space.nvec.ndim != 1:
            raise TypeError(f"actions must be a flat MultiDiscrete, got {space}")
        counts = torch.as_tensor(space.nvec, dtype=torch.int64)
        self.num_outputs = self.num_features = int(counts.sum())
        self._longest = int(counts.max())
        option = torch.arange(self._longest)
        place = (counts.cumsum(0) - counts)[:, None] + option
        self.place: Tensor  # [K * longest] index into the network's outputs; -1: no such option
        self.first: Tensor  # [K] the first option of each choice
        self.kept: Tensor  # [num_features] indices of the [K * longest] options that exist
        exists = option < counts[:, None]
        self.register_buffer("place", torch.where(exists, place, -1).flatten(), persistent=False)
        self.register_buffer("kept", exists.flatten().nonzero().flatten(), persistent=False)
        self.register_buffer("first", torch.as_tensor(space.start, dtype=torch.int64), persistent=False)

    def forward(self, output: Tensor) -> Tensor:
        return nn.functional.pad(output, (0, 1), value=self.IMPOSSIBLE)[..., self.place]

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.empty_like(parameters).exponential_(generator=generator)
        return self._choices(parameters - noise.log()).argmax(-1) + self.first

    def mode(self, parameters: Tensor) -> Tensor:
        return self._choices(parameters).argmax(-1) + self.first

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        index = (action - self.first)[..., None]
        return self._choices(parameters).log_softmax(-1).gather(-1, index).squeeze(-1).sum(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        log_probs = self._choices(parameters).log_softmax(-1)
        return -(log_probs.exp() * log_probs).sum((-2, -1))

    def kl_divergence(self, parameters: Tensor, other: Tensor) -> Tensor:
        log_probs = self._choices(parameters).log_softmax(-1)
        return (log_probs.exp() * (log_probs - self._choices(other).log_softmax(-1))).sum((-2, -1))

    def cross_entropy(self, parameters: Tensor, advice: Tensor) -> Tensor:
        return -self.log_prob(parameters, advice)

    def encode(self, action: Tensor) -> Tensor:
        options = torch.arange(self._longest, device=action.device)
        chosen = (action - self.first)[..., None] == options
        return chosen.flatten(-2)[..., self.kept].float()

    def _choices(self, parameters: Tensor) -> Tensor:
        """The logits of each choice, `[..., K, longest]`."""
        return parameters.reshape(*parameters.shape[:-1], -1, self._longest)


@final
class BernoulliHead(ActionHead):
    """Several switches at once, on (1) or off (0), independent given the network's output.

    The parameters are the logits of being on. Actions are encoded as 1 and -1.
    """

    def __init__(self, space: spaces.MultiBinary) -> None:
        super().__init__()
        if len(space.shape) != 1:
            raise TypeError(f"actions must be a flat MultiBinary, got {space}")
        self.num_outputs = self.num_features = space.shape[0]

    def forward(self, output: Tensor) -> Tensor:
        return output

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.empty_like(parameters).uniform_(generator=generator)
        return (noise < parameters.sigmoid()).long()

    def mode(self, parameters: Tensor) -> Tensor:
        return (parameters > 0).long()

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        return nn.functional.logsigmoid(self.encode(action) * parameters).sum(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        return (nn.functional.softplus(parameters) - parameters * parameters.sigmoid()).sum(-1)

    def kl_divergence(self, parameters: Tensor, other: Tensor) -> Tensor:
        chance = parameters.sigmoid()
        on, off = (nn.functional.logsigmoid(x * parameters) - nn.functional.logsigmoid(x * other) for x in (1, -1))
        return (chance * on + (1 - chance) * off).sum(-1)

    def cross_entropy(self, parameters: Tensor, advice: Tensor) -> Tensor:
        return -self.log_prob(parameters, advice)

    def encode(self, action: Tensor) -> Tensor:
        return 2.0 * action - 1.0


@final
class GaussianHead(ActionHead):
    """Continuous actions: independent normal distributions around the network's output.

    The parameters `[..., 2 * A]` are means, then logarithms of standard deviations, in units of half the box.
    The standard deviations are free parameters of the head: they do not depend on the observation.
    Samples are not clipped, because the environment clips. Log-probabilities are those of the samples.
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
        self.log_std = nn.Parameter(torch.full((self.num_outputs,), -0.5))

    def forward(self, output: Tensor) -> Tensor:
        return torch.cat([output, self.log_std.expand_as(output)], -1)  # [..., A] -> [..., 2 A]

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        mean, log_std = parameters.chunk(2, -1)
        noise = torch.empty_like(mean).normal_(generator=generator)  # [..., A]
        return self._denormalise(mean + log_std.exp() * noise)

    def mode(self, parameters: Tensor) -> Tensor:
        return self._denormalise(parameters.chunk(2, -1)[0])

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        mean, log_std = parameters.chunk(2, -1)
        error = (self._normalise(action) - mean) / log_std.exp()  # [..., A]
        return (-0.5 * error.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        return (parameters.chunk(2, -1)[1] + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def kl_divergence(self, parameters: Tensor, other: Tensor) -> Tensor:
        (mean, log_std), (other_mean, other_log_std) = parameters.chunk(2, -1), other.chunk(2, -1)
        spread = (2 * log_std).exp() + (mean - other_mean).square()
        return (other_log_std - log_std + spread / (2 * (2 * other_log_std).exp()) - 0.5).sum(-1)

    def cross_entropy(self, parameters: Tensor, advice: Tensor) -> Tensor:
        return -self.log_prob(parameters, advice)

    def encode(self, action: Tensor) -> Tensor:
        return self._normalise(action).clamp(-1, 1)

    def _normalise(self, action: Tensor) -> Tensor:
        """Actions `[..., *shape]` as `[..., A]` in units of half the box."""
        return (action.flatten(action.dim() - len(self._shape)) - self.center) / self.scale

    def _denormalise(self, x: Tensor) -> Tensor:
        """The inverse: `[..., A]` to `[..., *shape]`."""
        return (self.center + self.scale * x).reshape(*x.shape[:-1], *self._shape)


@final
class HybridHead(ActionHead):
    """Several actions of different kinds at once, independent given the network's output: a head for each."""

    def __init__(self, space: HybridBox) -> None:
        super().__init__()
        self._space = space
        self.heads = nn.ModuleList(action_head(part) for part in space.parts)
        self._outputs = [head.num_outputs for head in self._each]
        self.num_outputs, self.num_features = sum(self._outputs), sum(head.num_features for head in self._each)
        with torch.no_grad():
            self._parameters_of_each = [head(torch.zeros(head.num_outputs)).shape[-1] for head in self._each]

    def forward(self, output: Tensor) -> Tensor:
        pieces = zip(self._each, torch.split(output, self._outputs, -1), strict=True)
        return torch.cat([head(piece) for head, piece in pieces], -1)

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        return self._space.join([head.sample(p, generator) for head, p in self._split(parameters)])

    def mode(self, parameters: Tensor) -> Tensor:
        return self._space.join([head.mode(p) for head, p in self._split(parameters)])

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        parts = zip(self._split(parameters), self._space.split(action), strict=True)
        return torch.stack([head.log_prob(p, a) for (head, p), a in parts]).sum(0)

    def entropy(self, parameters: Tensor) -> Tensor:
        return torch.stack([head.entropy(p) for head, p in self._split(parameters)]).sum(0)

    def kl_divergence(self, parameters: Tensor, other: Tensor) -> Tensor:
        pairs = zip(self._split(parameters), self._split(other), strict=True)
        return torch.stack([head.kl_divergence(p, q) for (head, p), (_, q) in pairs]).sum(0)

    def cross_entropy(self, parameters: Tensor, advice: Tensor) -> Tensor:
        return -self.log_prob(parameters, advice)

    def encode(self, action: Tensor) -> Tensor:
        return torch.cat([head.encode(a) for head, a in zip(self._each, self._space.split(action), strict=True)], -1)

    @property
    def _each(self) -> list[ActionHead]:
        return cast(list[ActionHead], list(self.heads))

    def _split(self, parameters: Tensor) -> list[tuple[ActionHead, Tensor]]:
        """Every head with its part of the parameters."""
        return list(zip(self._each, torch.split(parameters, self._parameters_of_each, -1), strict=True))


def action_head(space: spaces.Space[Any]) -> ActionHead:
    """The head for an action space; TypeError where there is none.

    Categorical for Discrete and MultiDiscrete, Bernoulli for MultiBinary, Gaussian for Box, one of
    these for each part of a HybridBox.
    """
    if isinstance(space, spaces.Discrete):
        return CategoricalHead(space)
    if isinstance(space, HybridBox):
        return HybridHead(space)
    if isinstance(space, spaces.Box):
        return GaussianHead(space)
    if isinstance(space, spaces.MultiDiscrete):
        return MultiCategoricalHead(space)
    if isinstance(space, spaces.MultiBinary):
        return BernoulliHead(space)
    raise TypeError(f"actions must be {kinds('action')}, got {space}")
