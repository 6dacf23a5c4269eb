"""Recurrent memories."""

from typing import Literal, final

import torch
from torch import Tensor, nn

from metarl.nn.memory import Memory

Hidden = tuple[Tensor, ...]  # [layers, B, D] each: of a GRU its output, of an LSTM its output and its cell


@final
class RecurrentMemory(Memory[Hidden]):
    """A gated recurrent network: GRU (Cho et al. 2014, arXiv 1406.1078) or LSTM (Hochreiter and Schmidhuber 1997).

    An LSTM starts with forget gates that keep something for 1 to `trial_steps` steps, each unit for another time
    (chrono initialisation, Tallec and Ollivier 2018, arXiv 1804.11188). With gates of 1/2 nothing would be left of a
    trial's first step after 20, and no gradient would say what it was worth.
    """

    def __init__(self, cell: Literal["gru", "lstm"], width: int, layers: int, trial_steps: int) -> None:
        super().__init__()
        network = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.network = network(width, width, layers, batch_first=True)
        for name, parameter in self.network.named_parameters():
            if "weight" in name:
                for gate in parameter.data.split(width):
                    nn.init.orthogonal_(gate)
            else:
                nn.init.zeros_(parameter)
            if cell == "lstm" and name.startswith("bias_ih"):
                _keep_for(parameter.data, width, trial_steps)

    def forward(self, x: Tensor, state: Hidden | None = None) -> tuple[Tensor, Hidden]:
        single = isinstance(self.network, nn.GRU)  # whose state is a tensor, not a tuple
        y, after = self.network(x, state[0] if single and state is not None else state)
        return y, tuple(part.detach() for part in ((after,) if single else after))

    def initial_state(self, num_trials: int) -> Hidden:
        zeros = self.network.weight_hh_l0.new_zeros(self.network.num_layers, num_trials, self.network.hidden_size)
        return (zeros, zeros) if isinstance(self.network, nn.LSTM) else (zeros,)

    def step(self, x: Tensor, state: Hidden) -> tuple[Tensor, Hidden]:
        y, after = self(x[:, None], state)
        return y[:, 0], after

    def reset(self, state: Hidden, mask: Tensor) -> Hidden:
        return tuple(torch.where(mask[:, None], 0.0, part) for part in state)


def _keep_for(bias: Tensor, width: int, steps: int) -> None:
    """Set an LSTM's bias [4 * width] so that its units keep something for 1 to `steps` steps."""
    gates = bias.view(4, width)  # input, forget, cell, output
    gates[1].uniform_(1, max(2, steps - 1)).log_()
    gates[0] = -gates[1]
