"""Functions of tensors, recorded once as a CUDA graph and replayed, so that the host does not launch each kernel.

A GPU with small networks waits for the host, which needs more time to launch a kernel than the GPU to run it. A graph
is launched as a whole: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, Generic, TypeVar, cast, final

import torch
from torch import Tensor

T = TypeVar("T")


def wanted(choice: bool | None, device: torch.device) -> bool:
    """Whether to use graphs on `device`. Only CUDA devices have them; None means no, until they are measured there."""
    return bool(choice) and device.type == "cuda"


@final
class Captured(Generic[T]):
    """A function of tensors as a CUDA graph: it gives the same numbers, and all its kernels are launched at once.

    Arguments are tensors, or dictionaries, tuples and dataclasses of tensors. All other tensors that the function reads
    must stay at their place in memory, like parameters that are changed in place. It must not copy values to the host.
    The first call with arguments of new shapes is an ordinary call, which creates everything that is created at first
    use. The second call records the graph; it and all later calls replay it. There is one graph at a time.

    Random numbers must come from `generators`; `manual_seed` before a call has the same effect as in an ordinary call.
    """

    def __init__(self, function: Callable[..., T], generators: Sequence[torch.Generator] = ()) -> None:
        self._function = function
        self._generators = generators
        self._shapes: list[tuple[torch.Size, torch.dtype]] = []
        self._stream: torch.cuda.Stream | None = None
        self._inputs: Any = ()
        self._recorded: tuple[torch.cuda.CUDAGraph, T] | None = None

    def __call__(self, *inputs: Any) -> T:
        """The result of the function, in tensors that later calls do not change."""
        shapes = [(x.shape, x.dtype) for x in _tensors(inputs)]
        if shapes != self._shapes:
            self._recorded = None  # first, so that its memory is free
            self._shapes, self._inputs = shapes, _mapped(torch.clone, inputs)
            return self._ordinary()
        for own, given in zip(_tensors(self._inputs), _tensors(inputs), strict=True):
            own.copy_(given)
        if self._recorded is None:
            self._recorded = self._record()
        graph, outputs = self._recorded
        graph.replay()
        return cast(T, _mapped(torch.clone, outputs))

    def _ordinary(self) -> T:
        """On the stream that will record, since autograd and libraries keep what belongs to a stream."""
        device = next(_tensors(self._inputs)).device
        if self._stream is None:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        here = torch.cuda.current_stream(device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            outputs = self._function(*self._inputs)
        here.wait_stream(self._stream)
        return outputs

    def _record(self) -> tuple[torch.cuda.CUDAGraph, T]:
        graph = torch.cuda.CUDAGraph()
        _register(graph, self._generators)
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                outputs = self._function(*self._inputs)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise RuntimeError(f"this cannot be a CUDA graph, so use cuda_graphs=False: {error}") from error
        return graph, outputs


def _register(graph: torch.cuda.CUDAGraph, generators: Sequence[torch.Generator]) -> None:
    """Let the graph draw from `generators`; the newest torch does so by itself and warns that this is not needed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for generator in generators:
            graph.register_generator_state(generator)


def _tensors(x: Any) -> Iterator[Tensor]:
    """All tensors in `x`, in a fixed order."""
    if isinstance(x, Tensor):
        yield x
    for part in _parts(x):
        yield from _tensors(part)


def _parts(x: Any) -> list[Any]:
    if isinstance(x, dict):
        return list(x.values())
    if isinstance(x, (tuple, list)):
        return list(x)
    return [getattr(x, field.name) for field in fields(x)] if is_dataclass(x) else []


def _mapped(function: Callable[[Tensor], Tensor], x: Any) -> Any:
    """`x` with `function` of each of its tensors in their place."""
    if isinstance(x, Tensor):
        return function(x)
    if isinstance(x, dict):
        return {name: _mapped(function, part) for name, part in x.items()}
    if isinstance(x, (tuple, list)):
        return type(x)(_mapped(function, part) for part in x)
    if is_dataclass(x) and not isinstance(x, type):
        return replace(x, **{field.name: _mapped(function, getattr(x, field.name)) for field in fields(x)})
    return x
