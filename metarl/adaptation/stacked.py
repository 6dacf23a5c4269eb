"""Calls one network in all tasks at once, with different parameters in every task.

Stacked parameters have a first dimension for tasks: `[N, ...]`. Data is a dictionary or a named tuple of tensors
`[N, ...]`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeVar, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

Stacked = dict[str, Tensor]  # [N, ...] by the parameter's name
Data = Mapping[str, Tensor]  # [N, ...] for all tasks, or [...] inside one
TaskData = Data | tuple[Any, ...]  # the same; tuples, named or not, may hold tuples
B = TypeVar("B", bound=TaskData)
M = TypeVar("M", bound=nn.Module)


def select_parameters(module: nn.Module, patterns: Sequence[str] = ("*",)) -> tuple[str, ...]:
    """Names of the parameters that match any of the shell-style `patterns`, in the module's order.

    `("*",)` matches all, `("output.*",)` a head, `("*.query_key_value.*",)` the attention maps of a Transformer.
    Raises ValueError if a pattern matches nothing, or if a parameter that it matches is frozen.
    """
    parameters = dict(module.named_parameters())
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in parameters):
            raise ValueError(f"no parameter matches {pattern!r}: there are {', '.join(parameters) or 'none'}")
    names = tuple(name for name in parameters if any(fnmatchcase(name, pattern) for pattern in patterns))
    frozen = [name for name in names if not parameters[name].requires_grad]
    if frozen:
        raise ValueError(f"{', '.join(frozen)} cannot adapt: frozen (requires_grad is False)")
    if not names:
        raise ValueError("nothing can adapt: no pattern was given")
    return names


def call_in_tasks(
    module: M, function: Callable[[M, Any], Any], parameters: Stacked, data: TaskData, stacked: bool | None = None
) -> Any:
    """`function(module, data of one task)` in every task, each with its own parameters; results `[N, ...]`.

    `parameters` may be some of the module's parameters; all tasks share the others. With `stacked` all tasks run at
    once, else one after the other, with the same result. None: at once, unless the module is recurrent (PyTorch's fused
    GRU and LSTM take one set of weights). Random draws differ between tasks.
    """
    if stacked is None:
        stacked = not any(isinstance(part, nn.RNNBase) for part in module.modules())
    # the fused attention kernels have no second derivative, and none takes one more dimension for tasks
    with sdpa_kernel(SDPBackend.MATH):
        bound = _Bound(module, function)
        if stacked:
            return vmap(bound.call, randomness="different")(parameters, _plain(data))
        with torch.backends.cudnn.flags(enabled=False):  # cuDNN's recurrent kernels have no second derivative either
            tasks = zip(_unbound(parameters), _unbound(_plain(data)), strict=True)
            results = [bound.call(own, own_data) for own, own_data in tasks]
    return tree_map(lambda *parts: torch.stack(parts), *results)


def tasks_at_once(rows: int, device: torch.device) -> int:
    """The number of tasks, of `rows` samples each, to differentiate together: enough to fill the device.

    On a CPU some ten thousand rows were fastest (two layers of 64). Fewer rows spend the time on calls, more on cache
    misses.
    """
    return max(1, (16_384 if device.type == "cpu" else 262_144) // max(1, rows))


def task_chunks(num_tasks: int, size: int | None) -> Iterator[slice]:
    """Consecutive slices of at most `size` tasks (None: all)."""
    size = num_tasks if size is None else size
    if size < 1:
        raise ValueError(f"tasks are taken at least 1 at once, got {size}")
    for first in range(0, num_tasks, size):
        yield slice(first, min(first + size, num_tasks))


@final
class _Bound(nn.Module):
    """A function of a module, as a module: functional_call then replaces the parameters for all its methods."""

    def __init__(self, module: M, function: Callable[[M, Any], Any]) -> None:
        super().__init__()
        self.module = module
        self._function = function

    def forward(self, data: TaskData) -> Any:
        return self._function(self.module, data)

    def call(self, parameters: Stacked, data: TaskData) -> Any:
        return functional_call(self, {f"module.{name}": value for name, value in parameters.items()}, (data,))


def part_of(data: B, part: slice) -> B:
    """The data of some of the tasks."""
    sliced: B = tree_map(lambda x: x[part], _plain(data))
    return sliced


def size_of(data: TaskData) -> int:
    """The number of tasks that data is of."""
    return len(tree_leaves(_plain(data))[0])


def _plain(data: TaskData) -> TaskData:
    """Data as torch takes it apart: of mappings it knows dictionaries only."""
    return data if isinstance(data, tuple) else dict(data)


def _unbound(stacked: TaskData) -> list[Any]:
    # not by an index for each task: the gradient of each would be a whole stack of zeros but for one row
    leaves, structure = tree_flatten(stacked)
    return [tree_unflatten(list(row), structure) for row in zip(*(x.unbind() for x in leaves), strict=True)]
