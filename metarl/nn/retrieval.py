"""Retrieval: what happened the last times the agent was here?"""

from typing import Any, final

from gymnasium import spaces
from torch import Tensor, nn

from metarl.nn.attention import (
    KeyValueCache,
    Past,
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
    """Attention from the current observation to the transitions that left a like observation, added to the token.

    The query is a map of the current observation, the key the same map (at the start of training) of the observation
    that each remembered transition left, the value a map of that transition. So one hop finds what the agent did here
    before and what came of it, at any distance: there are no positions. A general memory has to discover this lookup
    from reward alone, and on tabular MDPs it stays on that plateau for millions of steps.
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

    def forward(self, token: Tensor, context: Context, past: Past | None = None) -> tuple[Tensor, Past]:
        """Tokens `[B, T, D]` with what each retrieves, and the past that a next segment reads."""
        y, past = attend(*self._project(token, context), self.window, past)
        return token + self.output(merge_heads(y)), past

    def step(self, token: Tensor, context: Context, cache: KeyValueCache) -> Tensor:
        """One more step `[B, D]` of every trial."""
        y = attend_cached(*self._project(token[:, None], context[:, None]), self.window, cache)
        return token + self.output(merge_heads(y))[:, 0]  # type: ignore[no-any-return]

    def weights(self, token: Tensor, context: Context) -> Tensor:
        """What each step reads `[B, H, T, T]`."""
        query, key, _ = self._project(token, context)
        return attention_weights(query, key, self.window)

    def empty_cache(self, num_trials: int) -> KeyValueCache:
        return empty_cache(num_trials, self.heads, self.window, self.output.weight)

    def update_statistics(self, trajectories: Trajectories) -> None:
        """Count a batch of trials in the normalisation of observations."""
        self.observation.update_statistics(trajectories.observations)

    def _project(self, token: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        here = self.observation(context.observation)
        left = self.observation(context.previous_observation) * context.started[..., None]
        parts = (self.query(here), self.key(left), self.value(self.norm(token)))
        query, key, value = (split_heads(part, self.heads) for part in parts)
        return query, key, value
