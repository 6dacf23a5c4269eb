"""Episodic retrieval: attention to the transitions of the trial that left a similar observation."""

from typing import Any, final

from gymnasium import spaces
from torch import Tensor, nn

from metarl.nn.attention import (
    KeyValueCache,
    attend,
    attend_cached,
    attention_weights,
    check_heads,
    empty_cache,
    merge_heads,
    split_heads,
)
from metarl.nn.encoders import ObservationEncoder
from metarl.nn.layers import linear
from metarl.trials.context import Context
from metarl.trials.trajectories import Trajectories


@final
class Retrieval(nn.Module):
    """Attention from the current observation to transitions that left a similar observation, added to the token.

    The query is a linear map of the current observation. The key is a map of the observation that a transition left;
    both maps are equal at the start of training. The value is a map of the transition. There are no positions. One
    layer thus finds, at any distance, what the agent did in this state before and what followed.
    A memory alone must learn this lookup from reward; on tabular MDPs that took millions of steps.

    Raises ValueError for a width that the heads do not divide into even parts, and for a window below 1.
    """

    def __init__(self, space: spaces.Space[Any], width: int, heads: int, window: int) -> None:
        super().__init__()
        check_heads(width, heads, window)
        self.heads = heads
        self.window = window
        self.observation = ObservationEncoder(space, width)
        self.query = linear(width, width)
        self.key = linear(width, width)
        self.key.load_state_dict(self.query.state_dict())
        self.norm = nn.LayerNorm(width)
        self.value = linear(width, width)
        self.output = linear(width, width)

    def forward(
        self, token: Tensor, context: Context, cache: KeyValueCache | None = None
    ) -> tuple[Tensor, KeyValueCache]:
        """Tokens `[B, T, D]` plus what each retrieves, and the cache for the next segment."""
        y, after = attend(*self._project(token, context), self.window, cache)
        return token + self.output(merge_heads(y)), after

    def step(self, token: Tensor, context: Context, cache: KeyValueCache) -> Tensor:
        """The token `[B, D]` of one more step of every trial plus what it retrieves; the cache keeps the step."""
        y = attend_cached(*self._project(token[:, None], context[:, None]), self.window, cache)
        return token + self.output(merge_heads(y))[:, 0]  # type: ignore[no-any-return]

    def weights(self, token: Tensor, context: Context) -> Tensor:
        """Attention weights `[B, H, T, T]`: row t has the weights of step t on all steps."""
        query, key, _ = self._project(token, context)
        return attention_weights(query, key, self.window)

    def empty_cache(self, num_trials: int) -> KeyValueCache:
        return empty_cache(num_trials, self.heads, self.window, self.output.weight)

    def update_statistics(self, trajectories: Trajectories) -> None:
        """Add a batch of trials to the statistics that normalise observations."""
        self.observation.update_statistics(trajectories.observations)

    def _project(self, token: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each `[B, H, T, E]`."""
        here = self.observation(context.observation)  # [B, T, D]
        left = self.observation(context.previous_observation) * context.started[..., None]
        parts = (self.query(here), self.key(left), self.value(self.norm(token)))
        query, key, value = (split_heads(part, self.heads) for part in parts)  # [B, T, D] -> [B, H, T, E]
        return query, key, value
