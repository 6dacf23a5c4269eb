"""Inner updates: how parameters change inside a task, by fixed step sizes, learned ones or a learned optimiser."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn

from metarl.adaptation.stacked import Stacked


class InnerUpdate(nn.Module, ABC):
    """One inner step in N tasks at once. Its own parameters, if any, are meta-learned and shared by all tasks."""

    @abstractmethod
    def initial_state(self, parameters: Stacked) -> Stacked:
        """The state `[N, ...]` of the update before the first step."""

    @abstractmethod
    def forward(
        self, parameters: Stacked, gradients: Stacked, loss: Tensor, steps: Tensor, state: Stacked
    ) -> tuple[Stacked, Stacked]:
        """New parameters and state `[N, ...]` from the gradients `[N, ...]` of the loss [N].

        `steps` [N] is the number of inner steps that each task has taken before.
        """


@final
class FixedStep(InnerUpdate):
    """theta - sizes[step] * gradient (MAML, Finn et al. 2017, arXiv 1703.03400).

    The last size holds for all later steps.
    """

    def __init__(self, *sizes: float) -> None:
        super().__init__()
        _check_sizes(sizes)
        self._sizes: Tensor
        self.register_buffer("_sizes", torch.tensor(sizes, dtype=torch.float64), persistent=False)

    def initial_state(self, parameters: Stacked) -> Stacked:
        return {}

    def forward(
        self, parameters: Stacked, gradients: Stacked, loss: Tensor, steps: Tensor, state: Stacked
    ) -> tuple[Stacked, Stacked]:
        size = self._sizes[steps.clamp(max=len(self._sizes) - 1)]
        return {name: p - _like(size, p) * gradients[name] for name, p in parameters.items()}, state


@final
class StepPerParameter(InnerUpdate):
    """theta - sizes[step] * gradient, with one learned size for every single parameter (Meta-SGD).

    Li et al. 2017, arXiv 1707.09835. Sizes may become negative, so the direction is learned too. The paper has the same
    sizes in all steps. Here several initial `sizes` give each step its own, and the last holds for all later steps.
    """

    def __init__(self, parameters: Mapping[str, Tensor], *sizes: float) -> None:
        """`parameters` [...] are those that adapt, not stacked; `sizes` are the initial values of the learned ones."""
        super().__init__()
        _check_sizes(sizes)
        # PyTorch allows no dot in the name of a parameter
        self.sizes = nn.ParameterDict(
            {
                name.replace(".", "/"): nn.Parameter(torch.stack([torch.full_like(p, size) for size in sizes]))
                for name, p in parameters.items()
            }
        )
        self._last = len(sizes) - 1

    def initial_state(self, parameters: Stacked) -> Stacked:
        return {}

    def forward(
        self, parameters: Stacked, gradients: Stacked, loss: Tensor, steps: Tensor, state: Stacked
    ) -> tuple[Stacked, Stacked]:
        step = steps.clamp(max=self._last)
        return {
            name: p - self.sizes[name.replace(".", "/")][step] * gradients[name] for name, p in parameters.items()
        }, state


@final
class StepPerLayer(InnerUpdate):
    """theta - sizes[step, layer] * gradient, sizes learned (MAML++, Antoniou et al. 2019, arXiv 1810.09502).

    The parameters of one module are one layer. The sizes of the last step hold for all later steps.
    """

    def __init__(self, names: Sequence[str], *sizes: float) -> None:
        """`names` are the parameters that adapt; `sizes` are the initial values for each step, in all layers."""
        super().__init__()
        _check_sizes(sizes)
        layers = list(dict.fromkeys(_layer(name) for name in names))
        self._column = {name: layers.index(_layer(name)) for name in names}
        self.sizes = nn.Parameter(torch.tensor(sizes)[:, None].repeat(1, len(layers)))

    def initial_state(self, parameters: Stacked) -> Stacked:
        return {}

    def forward(
        self, parameters: Stacked, gradients: Stacked, loss: Tensor, steps: Tensor, state: Stacked
    ) -> tuple[Stacked, Stacked]:
        sizes = self.sizes[steps.clamp(max=len(self.sizes) - 1)]  # [N, layers]
        return {
            name: p - _like(sizes[:, self._column[name]], p) * gradients[name] for name, p in parameters.items()
        }, state


@final
class LearnedOptimiser(InnerUpdate):
    """An LSTM whose cell state is the parameters (Ravi and Larochelle 2017, openreview rJY0-Kcll).

    theta_{t+1} = f_t * theta_t - i_t * gradient_t

    The gates f_t and i_t of each single parameter are learned functions of its gradient and the loss, both read by an
    ordinary LSTM, of its value and of the gate before. The same small network serves all parameters. It starts as
    gradient descent with step size about `size` and hardly any decay.
    """

    def __init__(self, size: float, width: int = 16) -> None:
        super().__init__()
        _check_sizes([size])
        if not size < 1:
            raise ValueError(f"size is the value of a gate at the start and must be below 1, got {size}")
        self.reader = nn.LSTMCell(4, width)
        self.input_gate = nn.Linear(width + 2, 1)
        self.forget_gate = nn.Linear(width + 2, 1)
        for gate, bias in ((self.input_gate, math.log(size / (1 - size))), (self.forget_gate, 7.0)):
            nn.init.normal_(gate.weight, std=1e-2)
            nn.init.constant_(gate.bias, bias)

    def initial_state(self, parameters: Stacked) -> Stacked:
        """The reader's hidden and cell state `[N, P, width]` and the last gates `[N, P, 1]`, P parameters a task."""
        rows = _flat(parameters)[..., None]
        wide = torch.zeros_like(rows).expand(-1, -1, self.reader.hidden_size)
        return {"hidden": wide, "cell": wide, "forget": torch.zeros_like(rows), "take": torch.zeros_like(rows)}

    def forward(
        self, parameters: Stacked, gradients: Stacked, loss: Tensor, steps: Tensor, state: Stacked
    ) -> tuple[Stacked, Stacked]:
        theta, gradient = _flat(parameters)[..., None], _flat(gradients)[..., None]  # [N, P, 1]
        signal = torch.cat([logarithmic(gradient), logarithmic(loss[:, None, None].expand_as(gradient))], -1)
        before = (state["hidden"].flatten(0, 1), state["cell"].flatten(0, 1))
        hidden, cell = (x.view_as(state["hidden"]) for x in self.reader(signal.flatten(0, 1), before))
        forget = self.forget_gate(torch.cat([hidden, theta, state["forget"]], -1)).sigmoid()
        take = self.input_gate(torch.cat([hidden, theta, state["take"]], -1)).sigmoid()
        theta = forget * theta - take * gradient
        return _unflat(theta, parameters), {"hidden": hidden, "cell": cell, "forget": forget, "take": take}


def logarithmic(x: Tensor, decades: float = 10.0) -> Tensor:
    """Numbers `[..., 1]` of any magnitude as two numbers within about [-1, 1], `[..., 2]`.

    (log|x| / p, sign x) where |x| >= exp(-p), else (-1, exp(p) x), with p = `decades` (of e).
    Andrychowicz et al. 2016, arXiv 1606.04474, appendix A.
    """
    smallest = math.exp(-decades)
    large = x.abs() >= smallest
    size = torch.where(large, x.abs().clamp(min=smallest).log() / decades, -1.0)
    return torch.cat([size, torch.where(large, x.sign(), x / smallest)], -1)


def _flat(stacked: Stacked) -> Tensor:
    """[N, P] from parameters [N, ...]."""
    return torch.cat([p.reshape(len(p), -1) for p in stacked.values()], 1)


def _unflat(flat: Tensor, like: Stacked) -> Stacked:
    """Parameters shaped `like` these from `[N, P, 1]`."""
    parts = torch.split(flat, [p[0].numel() for p in like.values()], 1)
    return {name: part.reshape(p.shape) for part, (name, p) in zip(parts, like.items(), strict=True)}


def _like(size: Tensor, parameter: Tensor) -> Tensor:
    """[N] with as many dimensions as `parameter` [N, ...], and of its type."""
    return size.view(-1, *[1] * (parameter.dim() - 1)).to(parameter.dtype)


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _check_sizes(sizes: Sequence[float]) -> None:
    if not sizes:
        raise ValueError("a step size is needed")
    for size in sizes:
        if not (math.isfinite(size) and size > 0):
            raise ValueError(f"step sizes must be positive, got {size}")
