"""CUDA graphs on the CPU: what was recorded is replayed on the same memory, and no line of Python runs again.

A recorded operation knows only the tensors that it read and wrote. What a function takes from the host (a number that
changes, a tensor that was replaced) is therefore as stale in a replay as it is on a GPU; and what CUDA refuses while it
records is refused here: asking for a value, making a tensor of the host's numbers, and random numbers of a generator
that the graph does not know. It says nothing of streams, kernels and memory that is used again.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from metarl import cuda_graphs

aten = torch.ops.aten
REFUSED = {
    aten._local_scalar_dense.default,
    aten.is_nonzero.default,
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.lift_fresh.default,
}
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}
# these draw only for dropout, of which there is none
WITHOUT_DROPOUT = {aten._scaled_dot_product_flash_attention_for_cpu.default}


class Graph(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Stands in for `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._generators: set[int] = set()  # by address: each dispatch wraps a generator anew
        self._operations: list[tuple[bool, Any, Any, Any, list[Tensor]]] = []
        self._memory: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._states: list[tuple[torch.Generator, Tensor]] = []
        self.replays = 0

    def register_generator_state(self, generator: torch.Generator) -> None:
        self._generators.add(_address(generator))
        self._states.append((generator, generator.get_state()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._check(func, args, kwargs or {})
        # aliases keep the shapes of now, which an operation such as transpose_ changes in place
        known_args, known_kwargs = tree_map(_alias, (args, kwargs or {}))
        if func._schema.is_mutable:
            self._keep(x for x in tree_flatten(args)[0] if isinstance(x, Tensor))
        output = func(*args, **(kwargs or {}))
        written = [_alias(x) for x in tree_flatten(output)[0] if isinstance(x, Tensor)]
        if not _only_looks(func, known_args, written):
            # oneDNN's LSTM computes other bits where no gradient is wanted
            self._operations.append((torch.is_grad_enabled(), func, known_args, known_kwargs, written))
        return output

    def replay(self) -> None:
        self.replays += 1
        for gradients, func, args, kwargs, written in self._operations:
            with torch.set_grad_enabled(gradients):
                again = [x for x in tree_flatten(func(*args, **kwargs))[0] if isinstance(x, Tensor)]
            for before, now in zip(written, again, strict=True):
                if before.data_ptr() != now.data_ptr():
                    before.copy_(now)

    def undo(self) -> None:
        """Leave no trace of the recording, which on a GPU computes nothing."""
        for now, before in self._memory.values():
            now.copy_(before)
        for generator, state in self._states:
            generator.set_state(state)

    def _keep(self, tensors: Iterable[Tensor]) -> None:
        for x in tensors:
            storage = x.untyped_storage()
            if storage.data_ptr() not in self._memory:
                self._memory[storage.data_ptr()] = storage, storage.clone()  # type: ignore[no-untyped-call]

    def _check(self, func: Any, args: Any, kwargs: Any) -> None:
        if func in REFUSED or (func in INDEXING and any(_is_mask(index) for index in args[1])):
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        generators = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Generator)]
        draws = torch.Tag.nondeterministic_seeded in func.tags and func not in WITHOUT_DROPOUT
        if draws and not generators:
            raise RuntimeError(f"{func}: random numbers without a generator")
        if any(_address(generator) not in self._generators for generator in generators):
            raise RuntimeError(f"{func}: an unexpected generator used during capture")


def _address(generator: torch.Generator) -> int:
    return int(generator._cdata)  # type: ignore[attr-defined]


def _alias(x: Any) -> Any:
    return x.detach() if isinstance(x, Tensor) else x


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype == torch.bool


def _only_looks(func: Any, args: Any, written: list[Tensor]) -> bool:
    """Whether it makes another view of memory, or changes a shape in place: nothing to do in a replay."""
    if torch.Tag.inplace_view in func.tags:
        return True
    if func._schema.is_mutable or not written:
        return not written and not func._schema.is_mutable
    read = {x.untyped_storage().data_ptr() for x in tree_flatten(args)[0] if isinstance(x, Tensor)}
    return all(x.untyped_storage().data_ptr() in read for x in written)


class Stream:
    def __init__(self, device: torch.device | None = None) -> None:
        pass

    def wait_stream(self, other: "Stream") -> None:
        pass


@contextlib.contextmanager
def recording(graph: Graph, stream: Stream | None) -> Iterator[None]:
    """Stands in for `torch.cuda.graph`."""
    assert stream is not None
    with graph:
        yield
    graph.undo()


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], list[Graph]]:
    """Turns simulated graphs on or off, and returns a list of all that are recorded from then on."""

    def switch(on: bool) -> list[Graph]:
        made: list[Graph] = []

        def new() -> Graph:
            made.append(Graph())
            return made[-1]

        monkeypatch.setattr(cuda_graphs, "wanted", lambda choice, device: on)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", new)
        monkeypatch.setattr(torch.cuda, "graph", recording)
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "current_stream", Stream)
        monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
        return made

    return switch
