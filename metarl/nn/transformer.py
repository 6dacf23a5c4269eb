"""A causal Transformer (Vaswani et al. 2017, arXiv 1706.03762) as memory."""

import itertools
from typing import final

import torch
from torch import Tensor, nn

from metarl.nn.attention import Attention, KeyValueCache
from metarl.nn.layers import linear
from metarl.nn.memory import Memory


@final
class Block(nn.Module):
    """One pre-norm Transformer layer. The outputs of its branches start small, which keeps early training stable."""

    def __init__(self, width: int, heads: int, window: int, layers: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, window)
        self.feedforward_norm = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(linear(width, 4 * width), nn.SiLU(), linear(4 * width, width))
        for branch in (self.attention.output, self.feedforward[2]):
            branch.weight.data.mul_((2 * layers) ** -0.5)  # type: ignore[operator]

    def forward(self, x: Tensor, cache: KeyValueCache | None = None) -> tuple[Tensor, KeyValueCache]:
        y, after = self.attention(self.attention_norm(x), cache)
        x = x + y
        return x + self.feedforward(self.feedforward_norm(x)), after

    def step(self, x: Tensor, cache: KeyValueCache) -> Tensor:
        x = x + self.attention.step(self.attention_norm(x), cache)
        return x + self.feedforward(self.feedforward_norm(x))  # type: ignore[no-any-return]


@final
class TransformerMemory(Memory[list[KeyValueCache]]):
    """A causal Transformer. Each of its layers reads the last `window` steps of the layer below.

    `forward` raises ValueError if the trials of the given state have not all seen the same number of steps.
    """

    def __init__(self, width: int, layers: int, heads: int, window: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, window, layers) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, state: list[KeyValueCache] | None = None) -> tuple[Tensor, list[KeyValueCache]]:
        layers = self._layers()
        following = []
        for block, cache in zip(layers, state or itertools.repeat(None, len(layers)), strict=True):
            x, after = block(x, cache)
            following.append(after)
        return self.norm(x), following

    def initial_state(self, num_trials: int) -> list[KeyValueCache]:
        return [block.attention.empty_cache(num_trials) for block in self._layers()]

    def step(self, x: Tensor, state: list[KeyValueCache]) -> tuple[Tensor, list[KeyValueCache]]:
        for block, cache in zip(self._layers(), state, strict=True):
            x = block.step(x, cache)
        return self.norm(x), state

    def reset(self, state: list[KeyValueCache], mask: Tensor) -> list[KeyValueCache]:
        for cache in state:
            cache.reset(mask)
        return state

    def attention_weights(self, x: Tensor) -> Tensor:
        """Attention weights `[B, layers, heads, T, T]` in whole trials `[B, T, D]`: row t has those of step t."""
        weights = []
        for block in self._layers():
            weights.append(block.attention.weights(block.attention_norm(x)))
            x, _ = block(x)
        return torch.stack(weights, 1)

    def _layers(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]
