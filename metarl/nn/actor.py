"""The network of an in-context agent: encoder, memory and action head."""

from typing import Any, final

import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.nn.action_heads import action_head
from metarl.nn.encoders import ContextEncoder
from metarl.nn.layers import linear
from metarl.nn.memory import Memory
from metarl.nn.retrieval import Retrieval
from metarl.nn.transformer import TransformerMemory
from metarl.trials.context import Context
from metarl.trials.trajectories import Trajectories


@final
class Actor(nn.Module):
    """The policy network of an in-context agent: encoder, retrieval (optional), memory, action head."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        retrieval: Retrieval | None,
        memory: Memory,
        width: int,
    ) -> None:
        super().__init__()
        self.head = action_head(action_space)
        self.encoder = ContextEncoder(observation_space, self.head, width)
        self.retrieval = retrieval
        self.memory = memory
        self.output = linear(width, self.head.num_outputs, 0.01)

    def forward(self, context: Context, past: Any = (None, None)) -> tuple[Tensor, Tensor, Any]:
        """Memory `[B, T, D]`, action parameters `[B, T, P]`, and the past for the next segment of the same trials."""
        retrieved, remembered = past
        token = self.encoder(context)  # [B, T, D]
        if self.retrieval is not None:
            token, retrieved = self.retrieval(token, context, retrieved)
        memory, remembered = self.memory(token, remembered)
        return memory, self.head(self.output(memory)), (retrieved, remembered)

    def initial_state(self, num_trials: int) -> Any:
        """The state at the start of `num_trials` trials."""
        cache = None if self.retrieval is None else self.retrieval.empty_cache(num_trials)
        return cache, self.memory.initial_state(num_trials)

    def step(self, context: Context, state: Any) -> tuple[Tensor, Any]:
        """Action parameters `[B, P]` of one more step, and the state after it. May change the given state in place."""
        cache, remembered = state
        token = self.encoder(context)
        if self.retrieval is not None:
            token = self.retrieval.step(token, context, cache)
        memory, remembered = self.memory.step(token, remembered)
        return self.head(self.output(memory)), (cache, remembered)

    def reset(self, state: Any, mask: Tensor) -> Any:
        """The state after the trials where `mask` [B] is true were forgotten. May change the given state in place."""
        cache, remembered = state
        if cache is not None:
            cache.reset(mask)
        return cache, self.memory.reset(remembered, mask)

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
