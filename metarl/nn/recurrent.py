"""Recurrent memories."""

from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from metarl.nn.memory import Memory


@final
class RecurrentMemory(Memory):
    """A gated recurrent network: GRU (Cho et al. 2014, arXiv 1406.1078) or LSTM (Hochreiter and Schmidhuber 1997)."""

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
        # `state` is [layers, B, D] for a GRU, two of these for an LSTM
        return y, tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()

    def initial_state(self, num_trials: int) -> tuple[Tensor, ...]:
        zeros = self.network.weight_hh_l0.new_zeros(self.network.num_layers, num_trials, self.network.hidden_size)
        return (zeros, zeros) if isinstance(self.network, nn.LSTM) else (zeros,)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        y, after = self.network(x[:, None], state if isinstance(self.network, nn.LSTM) else state[0])
        return y[:, 0], after if isinstance(self.network, nn.LSTM) else (after,)

    def reset(self, state: tuple[Tensor, ...], mask: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.where(mask[:, None], 0.0, part) for part in state)
