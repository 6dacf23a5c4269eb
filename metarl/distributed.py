"""Several processes that train one agent, each on its share of every batch, by torchrun and torch.distributed.

Counts, means and decisions are over the batch of all processes together. Every process must call these functions in the
same order. In a single process they equal the plain operation, bit for bit, and cost nothing.
"""

import contextlib
import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """One vector [P] of all tensors, one after the other."""
    return torch.cat([x.reshape(-1) for x in tensors])


def unflatten(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The inverse of `flatten`: views of `vector` [P] with the shapes of `like`."""
    parts = torch.split(vector, [x.numel() for x in like])
    return [part.view_as(x) for part, x in zip(parts, like, strict=True)]


def size() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0. Only the first writes files and logs."""
    return dist.get_rank() if size() > 1 else 0


def stream_names() -> tuple[str | int, ...]:
    """The last names of a random stream, so that each process draws trials of its own. Empty in a single process."""
    return ("rank", rank()) if size() > 1 else ()


def equal_share(count: int, name: str) -> int:
    """The share of each process in `count` things. Raises ValueError, with `name`, if they do not divide equally."""
    if count % size():
        raise ValueError(f"{name} must be a multiple of the {size()} processes, got {count}")
    return count // size()


@contextlib.contextmanager
def joined(device: str = "auto") -> Iterator[None]:
    """Joins the processes that torchrun started to one group, inside the `with`. Each uses the GPU of its local rank.

    Without torchrun, or inside a group, it does nothing. Raises ValueError if GPUs are asked for and a process has none
    of its own.
    """
    if not dist.is_available() or dist.is_initialized() or not dist.is_torchelastic_launched():
        yield
        return
    gpu = device != "cpu" and torch.cuda.is_available()
    if gpu:
        _take_gpu(device, int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo")
    yield
    dist.destroy_process_group()  # not after an exception: the others may be gone, and would be waited for


def average(tensors: Sequence[Tensor]) -> None:
    """Replace tensors of one type by their means over the processes, in one message."""
    if size() == 1:
        return
    vector = _summed(flatten(tensors)) / size()
    for tensor, mean_of_all in zip(tensors, unflatten(vector, tensors), strict=True):
        tensor.copy_(mean_of_all)


def averaged(x: Tensor) -> Tensor:
    """The mean over processes of a tensor `x` that has the same shape in all."""
    return x if size() == 1 else _summed(x) / size()


def total(x: Tensor) -> Tensor:
    """The sum over processes of a tensor `x` that has the same shape in all."""
    return x if size() == 1 else _summed(x)


def mean(x: Tensor) -> Tensor:
    """The mean [] of all elements of `x` in all processes; it has the same size in each."""
    return averaged(x.mean())


def mean_and_variance(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean squared deviation `[...]` of the rows `[N, ...]` of all processes, N in each."""
    own, variance = rows.mean(0), rows.var(0, correction=0)
    if size() == 1:
        return own, variance
    together = averaged(own)
    return together, averaged(variance + (own - together).square())


def mean_and_deviation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [] of all elements of `x` in all processes; it has the same size in each."""
    if size() == 1:
        return x.mean(), x.std(correction=0)
    together, variance = mean_and_variance(x.flatten())
    return together, variance.sqrt()


def largest(number: int) -> int:
    """The largest `number` of all processes."""
    return number if size() == 1 else int(_reduced(torch.tensor(number), dist.ReduceOp.MAX))


def averaged_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """The mean of each metric over the processes in which it is not NaN."""
    if size() == 1:
        return metrics
    values = torch.tensor(list(metrics.values()), dtype=torch.float64)
    known = ~values.isnan()
    sums, counts = _summed(torch.stack([values.nan_to_num(0.0, math.inf, -math.inf), known.double()]))
    return dict(zip(metrics, (sums / counts).tolist(), strict=True))


def from_first(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the first process, in all processes. Names, shapes and types must be the same in all."""
    copies = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
    if size() > 1:
        for copy in copies.values():
            with _needing_all():
                dist.broadcast(copy, 0)
    return copies


def check_same(settings: str) -> None:
    """Raise ValueError unless all processes were started with the same settings."""
    number = int.from_bytes(hashlib.sha256(settings.encode()).digest()[:7], "little")
    if largest(number) != -largest(-number):
        raise ValueError("the processes differ in their options, task distribution, seed or steps: start all alike")


def first_to_fail() -> bool:
    """Whether no other process failed before this one. The first to fail reports the error, the others end silently."""
    if size() == 1:
        return True
    key = f"metarl/failed/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    try:
        store, _, _ = next(rendezvous("env://", timeout=timedelta(seconds=5)))
        return bool(store.add(key, 1) == 1)  # torchrun itself keeps the store, whichever process ends
    except (ValueError, RuntimeError):  # nobody keeps count any more: better twice than never
        return True


def _take_gpu(device: str, local_rank: int) -> None:
    if device not in ("auto", "cuda"):
        raise ValueError(f"device {device}: each of several processes takes a GPU of its own; give cuda or cpu")
    if local_rank >= torch.cuda.device_count():
        raise ValueError(f"{torch.cuda.device_count()} GPUs for {local_rank + 1} or more processes on this machine")
    torch.cuda.set_device(local_rank)


def _summed(x: Tensor) -> Tensor:
    return _reduced(x, dist.ReduceOp.SUM)


def _reduced(x: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
    result = x.detach().clone().contiguous()
    with _needing_all():
        dist.all_reduce(result, operation)
    return result


@contextlib.contextmanager
def _needing_all() -> Iterator[None]:
    """Turns the backend's errors after the loss of a process into one clear ConnectionError."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(
            f"process {rank()} of {size()} stops, since another has ended or cannot be reached; go on from the last "
            f"checkpoint with the same command and --resume ({str(error).partition('. ')[0]})"
        ) from error
