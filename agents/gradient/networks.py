"""Policies whose parameters adapt inside a task: feed-forward, or attending to the episode so far."""

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Any, final

from gymnasium import spaces
from torch import Tensor, nn

from metarl.nn.action_heads import action_head
from metarl.nn.context_vector import ContextVector
from metarl.nn.encoders import ContextEncoder, ObservationEncoder
from metarl.nn.layers import linear
from metarl.nn.transformer import TransformerMemory
from metarl.trials.context import Context
from metarl.trials.trajectories import Trajectories


class PolicyNetwork(nn.Module, ABC):
    """A policy network: from the context to the parameters of the action head."""

    reads_past: bool  # whether a step depends on the steps before it in the episode

    def __init__(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], width: int) -> None:
        super().__init__()
        self.head = action_head(action_space)
        self.output = linear(width, self.head.num_outputs, 0.01)

    @abstractmethod
    def forward(self, context: Context) -> Tensor:
        """Parameters `[..., T, P]` of the action head at T steps of episodes; step t reads steps 0 to t."""

    @abstractmethod
    def update_statistics(self, trajectories: Trajectories) -> None:
        """Add a batch to the statistics that normalise observations and rewards."""


@final
class FeedForward(PolicyNetwork):
    """Reads the current observation only; what it knows of the task is in its parameters.

    With `context_width` above 0, a vector of that width joins the first hidden layer. CAVIA adapts this vector.
    """

    reads_past = False

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        width: int,
        layers: int,
        context_width: int = 0,
    ) -> None:
        super().__init__(observation_space, action_space, width)
        self.encoder = ObservationEncoder(observation_space, width)
        self.context = ContextVector(context_width) if context_width else nn.Identity()
        widths = [width + context_width, *[width] * (layers - 1)]
        # small features: a step on the output layer moves an action in proportion to the sum of their squares
        hidden = [layer for pair in pairwise(widths) for layer in (linear(*pair), nn.ReLU())]
        self.hidden = nn.Sequential(*hidden)

    def forward(self, context: Context) -> Tensor:
        x = self.context(self.encoder(context.observation).relu())
        return self.head(self.output(self.hidden(x)))  # type: ignore[no-any-return]

    def update_statistics(self, trajectories: Trajectories) -> None:
        self.encoder.update_statistics(trajectories.observations)


@final
class AttentionPolicy(PolicyNetwork):
    """A Transformer over the episode so far. The attention maps alone may adapt inside a task."""

    reads_past = True

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        width: int,
        layers: int,
        heads: int,
        window: int,
    ) -> None:
        super().__init__(observation_space, action_space, width)
        self.encoder = ContextEncoder(observation_space, self.head, width)
        self.memory = TransformerMemory(width, layers, heads, window)

    def forward(self, context: Context) -> Tensor:
        memory, _ = self.memory(self.encoder(context))
        return self.head(self.output(memory))  # type: ignore[no-any-return]

    def update_statistics(self, trajectories: Trajectories) -> None:
        self.encoder.update_statistics(trajectories)
