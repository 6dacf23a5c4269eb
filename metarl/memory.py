"""Sequence memories behind one protocol: what an in-context agent remembers of its trial."""

import itertools
from abc import ABC, abstractmethod
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from metarl.attention import Attention, KeyValueCache, Past
from metarl.networks import linear


class Memory(nn.Module, ABC):
    """Reads a trial step by step with a state, or many steps at once; both give the same outputs."""

    @abstractmethod
    def forward(self, x: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        """Outputs `[B, T, D]` of T steps `[B, T, D]`, each seeing itself and the steps before it.

        Starts at the first step of a trial, or after the segment that returned `past`. Gradients stop between segments.
        """

    @abstractmethod
    def initial_state(self, num_trials: int) -> Any:
        """The state of trials that have seen nothing."""

    @abstractmethod
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Output `[B, D]` of one step `[B, D]` and the state after it; may change the given state in place."""

    @abstractmethod
    def reset(self, state: Any, mask: Tensor) -> Any:
        """The state with the trials where `mask` [B] is true forgotten; may change the given state in place."""


@final
class RecurrentMemory(Memory):
    """A gated recurrent network: GRU (Cho et al. 2014) or LSTM (Hochreiter and Schmidhuber 1997)."""

    def __init__(self, cell: Literal["gru", "lstm"], width: int, layers: int) -> None:
        super().__init__()
        network = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.network = network(width, width, layers, batch_first=True)
        for name, parameter in self.network.named_parameters():
            if "weight" in name:
                for gate in parameter.data.split(width):
                    nn.init.orthogonal_(gate)
            else:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        y, state = self.network(x, past)
        return y, tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()

    def initial_state(self, num_trials: int) -> tuple[Tensor, ...]:
        zeros = self.network.weight_hh_l0.new_zeros(self.network.num_layers, num_trials, self.network.hidden_size)
        return (zeros, zeros) if isinstance(self.network, nn.LSTM) else (zeros,)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        y, after = self.network(x[:, None], state if isinstance(self.network, nn.LSTM) else state[0])
        return y[:, 0], after if isinstance(self.network, nn.LSTM) else (after,)

    def reset(self, state: tuple[Tensor, ...], mask: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.where(mask[:, None], 0.0, part) for part in state)


@final
class Block(nn.Module):
    """One Transformer layer, normalised before each branch; the branches start small so that training starts calm."""

    def __init__(self, width: int, heads: int, window: int, layers: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, window)
        self.feedforward_norm = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(linear(width, 4 * width), nn.SiLU(), linear(4 * width, width))
        for branch in (self.attention.output, self.feedforward[2]):
            branch.weight.data.mul_((2 * layers) ** -0.5)  # type: ignore[operator]

    def forward(self, x: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        y, past = self.attention(self.attention_norm(x), past)
        x = x + y
        return x + self.feedforward(self.feedforward_norm(x)), past

    def step(self, x: Tensor, cache: KeyValueCache) -> Tensor:
        x = x + self.attention.step(self.attention_norm(x), cache)
        return x + self.feedforward(self.feedforward_norm(x))  # type: ignore[no-any-return]


@final
class TransformerMemory(Memory):
    """A causal Transformer that reads the last `window` steps; each layer looks back that far from the one below."""

    def __init__(self, width: int, layers: int, heads: int, window: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, window, layers) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, past: list[Past] | None = None) -> tuple[Tensor, list[Past]]:
        layers = self._layers()
        following = []
        for block, layer_past in zip(layers, past or itertools.repeat(None, len(layers)), strict=True):
            x, after = block(x, layer_past)
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
        """What each step of whole trials `[B, T, D]` reads: `[B, layers, heads, T, T]`."""
        weights = []
        for block in self._layers():
            weights.append(block.attention.weights(block.attention_norm(x)))
            x, _ = block(x)
        return torch.stack(weights, 1)

    def _layers(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]
