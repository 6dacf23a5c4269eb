"""The network of an in-context agent: encoder, memory and action head."""

from typing import Any, NamedTuple, final

import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.nn.action_heads import action_head
from metarl.nn.attention import KeyValueCache
from metarl.nn.encoders import ContextEncoder
from metarl.nn.layers import linear
from metarl.nn.memory import Memory
from metarl.nn.retrieval import Retrieval
from metarl.nn.transformer import TransformerMemory
from metarl.trials.context import Context
from metarl.trials.trajectories import Trajectories


class ActorState(NamedTuple):
    """What an actor carries from step to step and from segment to segment."""

    retrieved: KeyValueCache | None  # None: no retrieval
    remembered: Any  # the state of its own kind of memory


@final
class Actor(nn.Module):
    """The policy network of an in-context agent: encoder, retrieval (optional), memory, action head."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        retrieval: Retrieval | None,
        memory: Memory[Any],
        width: int,
        squashed: bool = False,
    ) -> None:
        super().__init__()
        self.head = action_head(action_space, squashed)
        self.encoder = ContextEncoder(observation_space, self.head, width)
        self.retrieval = retrieval
        self.memory = memory
        self.output = linear(width, self.head.num_outputs, 0.01)

    def forward(self, context: Context, state: ActorState | None = None) -> tuple[Tensor, Tensor, ActorState]:
        """Memory `[B, T, D]`, action parameters `[B, T, P]`, and the state after these steps of the same trials."""
        retrieved, remembered = (None, None) if state is None else state
        token = self.encoder(context)  # [B, T, D]
        if self.retrieval is not None:
            token, retrieved = self.retrieval(token, context, retrieved)
        memory, remembered = self.memory(token, remembered)
        return memory, self.head(self.output(memory)), ActorState(retrieved, remembered)

    def initial_state(self, num_trials: int) -> ActorState:
        """The state at the start of `num_trials` trials."""
        cache = None if self.retrieval is None else self.retrieval.empty_cache(num_trials)
        return ActorState(cache, self.memory.initial_state(num_trials))

    def step(self, context: Context, state: ActorState) -> tuple[Tensor, ActorState]:
        """Action parameters `[B, P]` of one more step, and the state after it. May change the given state in place."""
        cache, remembered = state
        token = self.encoder(context)
        if self.retrieval is not None:
            assert cache is not None
            token = self.retrieval.step(token, context, cache)
        memory, remembered = self.memory.step(token, remembered)
        return self.head(self.output(memory)), ActorState(cache, remembered)

    def reset(self, state: ActorState, mask: Tensor) -> ActorState:
        """The state after the trials where `mask` [B] is true were forgotten. May change the given state in place."""
        cache, remembered = state
        if cache is not None:
            cache.reset(mask)
        return ActorState(cache, self.memory.reset(remembered, mask))

    def update_statistics(self, trajectories: Trajectories) -> None:
        """Add a batch of trials to the statistics that normalise observations and rewards."""
        self.encoder.update_statistics(trajectories)
        if self.retrieval is not None:
            self.retrieval.update_statistics(trajectories)

    @torch.no_grad()
    def attention_weights(self, context: Context) -> Tensor | None:
        """Attention weights `[B, layers, heads, T, T]` in trials `[B, T]`, retrieval first; None without attention.

        Row t has the weights of step t on all steps.
        """
        token, layers = self.encoder(context), []
        if self.retrieval is not None:
            layers.append(self.retrieval.weights(token, context)[:, None])
            token, _ = self.retrieval(token, context)
        if isinstance(self.memory, TransformerMemory):
            layers.append(self.memory.attention_weights(token))
        return torch.cat(layers, 1) if layers else None
