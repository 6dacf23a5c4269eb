"""The inner loop of gradient-based meta-learning: gradient steps inside N tasks, all tasks at once.

The parameters of all tasks are stacked, and the gradient of the sum of the tasks' losses is block diagonal: one
backward pass gives every task its own gradient, and differentiating it again gives the exact meta-gradient.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, final

import torch
from torch import Tensor

from metarl.adaptation.stacked import (
    M,
    Stacked,
    TaskData,
    call_in_tasks,
    part_of,
    select_parameters,
    size_of,
    task_chunks,
)
from metarl.adaptation.updates import InnerUpdate
from metarl.finite import first_broken


@final
@dataclass(frozen=True)
class Adapted:
    """The state of the inner loops of N tasks."""

    parameters: Stacked  # [N, ...] those that adapt
    start: Stacked  # [N, ...] their initial values
    state: Stacked  # [N, ...] the state of the update rule
    steps: Tensor  # [N] taken so far
    numbers: Tensor  # [N] the task numbers that errors name

    @property
    def num_tasks(self) -> int:
        return len(self.steps)

    def take(self, index: Tensor) -> "Adapted":
        """The tasks at `index` [n]."""
        return Adapted(
            _take(self.parameters, index),
            _take(self.start, index),
            _take(self.state, index),
            self.steps[index],
            self.numbers[index],
        )

    def put(self, index: Tensor, others: "Adapted") -> "Adapted":
        """A copy with `others` [n] in place of the tasks at `index` [n]. So tasks may step at different times."""
        return Adapted(
            _put(self.parameters, index, others.parameters),
            _put(self.start, index, others.start),
            _put(self.state, index, others.state),
            self.steps.index_copy(0, index, others.steps),
            self.numbers.index_copy(0, index, others.numbers),
        )


@final
class InnerLoop(Generic[M]):
    """Adapts a module's parameters to each of N tasks by gradient steps on the task's own loss.

    The loss of a task is any function of the module and that task's data, written as if there were one task:

    >>> from metarl.adaptation.updates import FixedStep
    >>> network = torch.nn.Linear(1, 1)
    >>> def loss(network, data):
    ...     return (network(data["x"]) - data["y"]).square().mean()
    >>> inner = InnerLoop(network, FixedStep(0.1))
    >>> adapted = inner.adapt(loss, [{"x": torch.ones(5, 3, 1), "y": torch.zeros(5, 3, 1)}] * 2)  # 5 tasks, 2 steps
    >>> adapted.parameters["weight"].shape
    torch.Size([5, 1, 1])

    Under `torch.no_grad` the adapted parameters have no graph, which needs little memory. Otherwise the graph connects
    them with the parameters of the module and of the update, for the meta-gradient.
    """

    def __init__(
        self,
        module: M,
        update: InnerUpdate,
        adapts: Sequence[str] = ("*",),
        *,
        second_order: bool = True,
        proximal: float = 0.0,
        stacked: bool | None = None,
    ) -> None:
        """`adapts`: patterns of the names of the parameters that change inside a task (see `select_parameters`).

        Without `second_order` the inner gradients count as constants (first-order MAML). `proximal` is the weight of
        |theta - start|² / 2 in the inner loss (as in iMAML, Rajeswaran et al. 2019, arXiv 1909.04630). `stacked`: all
        tasks at once or one after the other, with the same result (None: as `call_in_tasks` chooses).
        """
        if not proximal >= 0:
            raise ValueError(f"proximal must be at least 0, got {proximal}")
        self.module = module
        self.update = update
        self.names = select_parameters(module, adapts)
        self.second_order = second_order
        self.proximal = proximal
        self.stacked = stacked

    def begin(self, num_tasks: int, first_task: int = 0) -> Adapted:
        """`num_tasks` tasks, all with the module's own parameters."""
        if num_tasks < 1:
            raise ValueError(f"num_tasks must be at least 1, got {num_tasks}")
        own = dict(self.module.named_parameters())
        start = {name: own[name].expand(num_tasks, *own[name].shape) for name in self.names}
        numbers = torch.arange(first_task, first_task + num_tasks, device=next(iter(start.values())).device)
        return Adapted(start, start, self.update.initial_state(start), torch.zeros_like(numbers), numbers)

    def call(self, function: Callable[[M, Any], Any], adapted: Adapted, data: TaskData) -> Any:
        """`function(module, data of one task)` with each task's parameters; results `[N, ...]`."""
        return call_in_tasks(self.module, function, adapted.parameters, data, self.stacked)

    def step(
        self, loss: Callable[[M, Any], Tensor], adapted: Adapted, data: TaskData, chunk: int | None = None
    ) -> Adapted:
        """One inner step on the `loss` of each task's `data` [N, ...], `chunk` tasks at once (None: all).

        Raises ValueError if the loss is not one number a task or does not depend on a parameter that adapts, or if
        `valid` in the data (where there is such a mask) is all false in a task; FloatingPointError if a loss or a step
        is not finite. Errors name task and inner step.
        """
        _check_data(adapted, data)
        connected = torch.is_grad_enabled() and any(p.requires_grad for p in adapted.parameters.values())
        parts = [
            self._gradients(loss, adapted, part_of(data, part), part, connected)
            for part in task_chunks(adapted.num_tasks, chunk)
        ]
        losses = torch.cat([part for part, _ in parts])
        gradients = {name: torch.cat([part[name] for _, part in parts]) for name in self.names}
        if self.proximal:
            gradients = {name: g + self._pull(adapted, name) for name, g in gradients.items()}
        if not self.second_order:
            losses, gradients = losses.detach(), {name: g.detach() for name, g in gradients.items()}
        parameters, state = self.update(adapted.parameters, gradients, losses, adapted.steps, adapted.state)
        _check_finite({"the loss": losses} | {f"the step of {name}": p for name, p in parameters.items()}, adapted)
        return Adapted(parameters, adapted.start, state, adapted.steps + 1, adapted.numbers)

    def adapt(self, loss: Callable[[M, Any], Tensor], data: Sequence[TaskData], first_task: int = 0) -> Adapted:
        """One inner step for each of `data`, from the module's own parameters."""
        adapted = self.begin(size_of(data[0]), first_task)
        for step_data in data:
            adapted = self.step(loss, adapted, step_data)
        return adapted

    def _gradients(
        self, loss: Callable[[M, Any], Tensor], adapted: Adapted, data: TaskData, part: slice, connected: bool
    ) -> tuple[Tensor, Stacked]:
        """Losses [n] and gradients [n, ...] of the tasks in `part`, whose data is `data`."""
        parameters = {name: p[part] for name, p in adapted.parameters.items()}
        if not connected:
            parameters = {name: p.detach().requires_grad_() for name, p in parameters.items()}
        with torch.enable_grad():
            losses = call_in_tasks(self.module, loss, parameters, data, self.stacked)
            total = losses.sum()
        if losses.dim() != 1:
            raise ValueError(f"the inner loss must be one number a task, got shape {tuple(losses.shape[1:])}")
        gradients = _differentiated(total, parameters, connected and self.second_order, adapted)
        return losses, gradients

    def _pull(self, adapted: Adapted, name: str) -> Tensor:
        return self.proximal * (adapted.parameters[name] - adapted.start[name])


def mean_meta_gradient(
    outer: Callable[[slice], Tensor], num_tasks: int, parameters: Sequence[Tensor], chunk: int | None = None
) -> tuple[Tensor, list[Tensor]]:
    """Outer losses [N] of all tasks, and the gradient of their mean by `parameters`, `chunk` tasks at once.

    `outer(part)` adapts to the tasks in a slice and returns their losses [n]; its graph is freed before the next
    chunk is made, so memory does not grow with the number of tasks. A parameter without influence gets zeros.
    """
    losses: list[Tensor] = []
    total = [torch.zeros_like(p) for p in parameters]
    for part in task_chunks(num_tasks, chunk):
        outer_losses = outer(part)
        gradients = torch.autograd.grad(outer_losses.sum() / num_tasks, list(parameters), allow_unused=True)
        total = [t if g is None else t + g for t, g in zip(total, gradients, strict=True)]
        losses.append(outer_losses.detach())
    return torch.cat(losses), total


def _differentiated(total: Tensor, parameters: Stacked, create_graph: bool, adapted: Adapted) -> Stacked:
    values: Iterable[Tensor | None] = [None] * len(parameters)
    if total.requires_grad:
        values = torch.autograd.grad(total, list(parameters.values()), create_graph=create_graph, allow_unused=True)
    gradients = dict(zip(parameters, values, strict=True))
    unused = [name for name, gradient in gradients.items() if gradient is None]
    if unused:
        raise ValueError(f"{_place(adapted)}: the loss does not depend on {', '.join(unused)}, which should adapt")
    return {name: gradient for name, gradient in gradients.items() if gradient is not None}


def _take(stacked: Stacked, index: Tensor) -> Stacked:
    return {name: x[index] for name, x in stacked.items()}


def _put(stacked: Stacked, index: Tensor, others: Stacked) -> Stacked:
    return {name: x.index_copy(0, index, others[name]) for name, x in stacked.items()}


def _check_data(adapted: Adapted, data: TaskData) -> None:
    names = getattr(data, "_fields", range(len(data)))
    rows = dict(zip(names, data, strict=True)) if isinstance(data, tuple) else data
    for name, x in rows.items():
        if len(x) != adapted.num_tasks:
            raise ValueError(f"data[{name!r}] must be of {adapted.num_tasks} tasks, got {len(x)}")
    if "valid" in rows:
        empty = ~rows["valid"].flatten(1).any(1)
        if empty.any():
            raise ValueError(f"{_place(adapted, int(empty.nonzero()[0]))}: no step of the data is valid")


def _check_finite(values: dict[str, Tensor], adapted: Adapted) -> None:
    """Raise FloatingPointError, naming value and task, if one of `values` [N, ...] is not finite."""
    if broken := first_broken(values):
        what, task = broken
        raise FloatingPointError(f"{_place(adapted, task)}: {what} is not finite")


def _place(adapted: Adapted, task: int | None = None) -> str:
    if task is not None:
        return f"inner step {int(adapted.steps[task])}, task {int(adapted.numbers[task])}"
    return f"inner step {int(adapted.steps[0])}, tasks {int(adapted.numbers[0])} to {int(adapted.numbers[-1])}"
