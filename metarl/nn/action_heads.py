"""The choice of an action head, and the head of several actions at once."""

from typing import Any, cast, final

import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.nn.action_head import ActionHead
from metarl.nn.discrete_heads import BernoulliHead, CategoricalHead, MultiCategoricalHead
from metarl.nn.gaussian_heads import GaussianHead, SquashedGaussianHead
from metarl.spaces import HybridBox, kinds


@final
class HybridHead(ActionHead):
    """Several actions of different kinds at once, independent given the network's output: a head for each."""

    def __init__(self, space: HybridBox, squashed: bool) -> None:
        super().__init__()
        self._space = space
        self.heads = nn.ModuleList(action_head(part, squashed) for part in space.parts)
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

    def cross_entropy(self, parameters: Tensor, expert_labels: Tensor) -> Tensor:
        return -self.log_prob(parameters, expert_labels)

    def encode(self, action: Tensor) -> Tensor:
        return torch.cat([head.encode(a) for head, a in zip(self._each, self._space.split(action), strict=True)], -1)

    @property
    def _each(self) -> list[ActionHead]:
        return cast(list[ActionHead], list(self.heads))

    def _split(self, parameters: Tensor) -> list[tuple[ActionHead, Tensor]]:
        """Every head with its part of the parameters."""
        return list(zip(self._each, torch.split(parameters, self._parameters_of_each, -1), strict=True))


def action_head(space: spaces.Space[Any], squashed: bool = False) -> ActionHead:
    """The head for an action space; TypeError where there is none.

    Categorical for Discrete and MultiDiscrete, Bernoulli for MultiBinary, Gaussian for Box (`squashed`: inside the
    box), one of these for each part of a HybridBox.
    """
    if isinstance(space, spaces.Discrete):
        return CategoricalHead(space)
    if isinstance(space, HybridBox):
        return HybridHead(space, squashed)
    if isinstance(space, spaces.Box):
        return SquashedGaussianHead(space) if squashed else GaussianHead(space)
    if isinstance(space, spaces.MultiDiscrete):
        return MultiCategoricalHead(space)
    if isinstance(space, spaces.MultiBinary):
        return BernoulliHead(space)
    raise TypeError(f"actions must be {kinds('action')}, got {space}")
