"""How parameters move inside a task: fixed steps, learned step sizes, a learned optimiser."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from metarl.stacked import Stacked


class Update(nn.Module, ABC):
    """One inner step in N tasks at once. Its own parameters, if any, are meta-learned and shared by all tasks."""

    @abstractmethod
    def initial_state(self, parameters: Stacked) -> Any:
        """What the update remembers from step to step, before the first."""

    @abstractmethod
    def forward(
        self, parameters: Stacked, gradients: Stacked, loss: Tensor, step: int, state: Any
    ) -> tuple[Stacked, Any]:
        """New parameters [N, ...] and state from the gradients [N, ...] of the loss [N] at inner step 0, 1, ..."""


@final
class FixedStep(Update):
    """theta - size * gradient (MAML, Finn et al. 2017, arXiv 1703.03400).

    One size for each step; the last holds for all steps that follow.
    """

    def __init__(self, *sizes: float) -> None:
        super().__init__()
        for size in sizes or (0.0,):
            _check_size(size)
        self._sizes = sizes

    def initial_state(self, parameters: Stacked) -> None:
        return None

    def forward(
        self, parameters: Stacked, gradients: Stacked, loss: Tensor, step: int, state: None
    ) -> tuple[Stacked, None]:
        size = self._sizes[min(step, len(self._sizes) - 1)]
        return {name: p - size * gradients[name] for name, p in parameters.items()}, None


@final
class StepPerParameter(Update):
    """theta - sizes * gradient, with one learned size for every single parameter (Meta-SGD, Li et al. 2017, 1707.09835).

    Sizes may become negative: the direction is learned too.
    """

    def __init__(self, parameters: Mapping[str, Tensor], size: float) -> None:
        """`parameters` [...] are those that adapt, not stacked."""
        super().__init__()
        _check_size(size)
        # PyTorch allows no dot in the name of a parameter
        self.sizes = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(torch.full_like(p, size)) for name, p in parameters.items()}
        )

    def initial_state(self, parameters: Stacked) -> None:
        return None

    def forward(
        self, parameters: Stacked, gradients: Stacked, loss: Tensor, step: int, state: None
    ) -> tuple[Stacked, None]:
        return {name: p - self.sizes[name.replace(".", "/")] * gradients[name] for name, p in parameters.items()}, None


@final
class StepPerLayer(Update):
    """theta - sizes[step, layer] * gradient, sizes learned (MAML++, Antoniou et al. 2019, arXiv 1810.09502).

    Parameters of one module are one layer. The last step's sizes hold for all steps that follow.
    """

    def __init__(self, names: Sequence[str], num_steps: int, size: float) -> None:
        """`names` are those of the parameters that adapt."""
        super().__init__()
        _check_size(size)
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}")
        layers = list(dict.fromkeys(_layer(name) for name in names))
        self._column = {name: layers.index(_layer(name)) for name in names}
        self.sizes = nn.Parameter(torch.full((num_steps, len(layers)), size))

    def initial_state(self, parameters: Stacked) -> None:
        return None

    def forward(
        self, parameters: Stacked, gradients: Stacked, loss: Tensor, step: int, state: None
    ) -> tuple[Stacked, None]:
        sizes = self.sizes[min(step, len(self.sizes) - 1)]
        return {name: p - sizes[self._column[name]] * gradients[name] for name, p in parameters.items()}, None


@final
class LearnedOptimiser(Update):
    """An LSTM whose cell state is the parameters (Ravi and Larochelle 2017, openreview rJY0-Kcll).

    theta_{t+1} = f_t * theta_t - i_t * gradient_t

    The gates f_t and i_t of each single parameter are learned functions of its gradient and the loss, both read by an
    ordinary LSTM, of its value and of the gate before. The same small network serves all parameters. It starts as
    gradient descent with step size about `size` and hardly any decay.
    """

    def __init__(self, size: float, width: int = 16) -> None:
        super().__init__()
        _check_size(size)
        if not size < 1:
            raise ValueError(f"size is the value of a gate at the start and must be below 1, got {size}")
        self.reader = nn.LSTMCell(4, width)
        self.input_gate = nn.Linear(width + 2, 1)
        self.forget_gate = nn.Linear(width + 2, 1)
        for gate, bias in ((self.input_gate, math.log(size / (1 - size))), (self.forget_gate, 7.0)):
            nn.init.normal_(gate.weight, std=1e-2)
            nn.init.constant_(gate.bias, bias)

    def initial_state(self, parameters: Stacked) -> tuple[Tensor, ...]:
        """The reader's hidden and cell state [N P, width], and the last gates [N P, 2], of P parameters a task."""
        rows = sum(p.numel() for p in parameters.values())
        zeros = self.input_gate.weight.new_zeros(rows, self.reader.hidden_size)
        return zeros, zeros, zeros.new_zeros(rows, 2)

    def forward(
        self, parameters: Stacked, gradients: Stacked, loss: Tensor, step: int, state: tuple[Tensor, ...]
    ) -> tuple[Stacked, tuple[Tensor, ...]]:
        theta, gradient = _flat(parameters), _flat(gradients)  # [N, P]
        hidden, cell, gates = state
        signal = torch.cat([logarithmic(gradient), logarithmic(loss[:, None].expand_as(gradient))], -1)
        hidden, cell = self.reader(signal.flatten(0, 1), (hidden, cell))
        rows = theta.reshape(-1, 1)
        forget = self.forget_gate(torch.cat([hidden, rows, gates[:, :1]], -1)).sigmoid()
        take = self.input_gate(torch.cat([hidden, rows, gates[:, 1:]], -1)).sigmoid()
        theta = forget.view_as(theta) * theta - take.view_as(theta) * gradient
        return _unflat(theta, parameters), (hidden, cell, torch.cat([forget, take], -1))


def logarithmic(x: Tensor, decades: float = 10.0) -> Tensor:
    """Numbers of any size as two of order one, `[..., 2]` (Andrychowicz et al. 2016, arXiv 1606.04474, appendix A).

    (log|x| / p, sign x) where |x| >= exp(-p), else (-1, exp(p) x), with p = `decades` (of e).
    """
    smallest = math.exp(-decades)
    large = x.abs() >= smallest
    size = torch.where(large, x.abs().clamp(min=smallest).log() / decades, -1.0)
    return torch.stack([size, torch.where(large, x.sign(), x / smallest)], -1)


def _flat(stacked: Stacked) -> Tensor:
    """[N, P] from parameters [N, ...]."""
    return torch.cat([p.flatten(1) if p.dim() > 1 else p[:, None] for p in stacked.values()], 1)


def _unflat(flat: Tensor, like: Stacked) -> Stacked:
    parts = flat.split([p[0].numel() for p in like.values()], 1)
    return {name: part.view_as(p) for part, (name, p) in zip(parts, like.items(), strict=True)}


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _check_size(size: float) -> None:
    if not (math.isfinite(size) and size > 0):
        raise ValueError(f"step sizes must be positive, got {size}")
