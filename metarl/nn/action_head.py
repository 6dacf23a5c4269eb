"""The protocol of action heads: from a network's output to actions, log-probabilities and entropies.

Heads are functions of parameter tensors. In a small policy, objects of `torch.distributions` would take most of the
time of a rollout step.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


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
    def cross_entropy(self, parameters: Tensor, expert_labels: Tensor) -> Tensor:
        """Cross-entropy [...] in nats to expert labels: probabilities `[..., A]` (Discrete), else one action."""

    @abstractmethod
    def encode(self, action: Tensor) -> Tensor:
        """Actions as float vectors `[..., num_features]` with entries within [-1, 1]."""
