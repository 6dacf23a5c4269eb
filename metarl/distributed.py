"""Several processes that train one agent, each on its share of every batch; torchrun starts them, torch.distributed
lets them meet.

What is counted, averaged or decided over a batch is that of all processes together, and every process must ask for it
in the same order. In a single process all of this is what the plain operation gives, bit for bit, and costs nothing.
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
    """The inverse: views of `vector` [P] with the shapes of `like`."""
    parts = torch.split(vector, [x.numel() for x in like])
    return [part.view_as(x) for part, x in zip(parts, like, strict=True)]


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0: the first alone writes files and logs."""
    return dist.get_rank() if size() > 1 else 0


def stream_names() -> tuple[str | int, ...]:
    """What a random stream's names end with, so that each process draws trials of its own; nothing in a single one."""
    return ("rank", rank()) if size() > 1 else ()


def equal_share(count: int, name: str) -> int:
    """This process's part of `count` things, as many in each; ValueError that names them if that cannot be."""
    if count % size():
        raise ValueError(f"{name} must be a multiple of the {size()} processes, got {count}")
    return count // size()


@contextlib.contextmanager
def joined(device: str = "auto") -> Iterator[None]:
    """Inside, the processes that torchrun started are one group, each with the GPU of its local rank unless on the CPU.

    Nothing happens without torchrun, or if there is a group already. Raises ValueError if a process has no GPU of its
    own where GPUs are asked for.
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
    """The mean of the tensors that the processes have, of one shape."""
    return x if size() == 1 else _summed(x) / size()


def total(x: Tensor) -> Tensor:
    """Their sum."""
    return x if size() == 1 else _summed(x)


def mean(x: Tensor) -> Tensor:
    """The mean of all elements of the tensors that the processes have, of one size."""
    return averaged(x.mean())


def mean_and_variance(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean squared deviation `[...]` of the rows `[N, ...]` of all processes, N in each."""
    own, variance = rows.mean(0), rows.var(0, correction=0)
    if size() == 1:
        return own, variance
    together = averaged(own)
    return together, averaged(variance + (own - together).square())


def mean_and_deviation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of all elements of the tensors that the processes have, of one size."""
    if size() == 1:
        return x.mean(), x.std(correction=0)
    together, variance = mean_and_variance(x.flatten())
    return together, variance.sqrt()


def largest(number: int) -> int:
    """The largest of the numbers that the processes give."""
    return number if size() == 1 else int(_reduced(torch.tensor(number), dist.ReduceOp.MAX))


def averaged_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """Each metric's mean over the processes in which it is a number."""
    if size() == 1:
        return metrics
    values = torch.tensor(list(metrics.values()), dtype=torch.float64)
    known = ~values.isnan()
    sums, counts = _summed(torch.stack([values.nan_to_num(0.0, math.inf, -math.inf), known.double()]))
    return dict(zip(metrics, (sums / counts).tolist(), strict=True))


def from_first(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The first process's tensors, in all; names, shapes and types must be the same."""
    copies = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
    if size() > 1:
        for copy in copies.values():
            with _needing_all():
                dist.broadcast(copy, 0)
    return copies


def check_same(settings: str) -> None:
    """ValueError unless all processes were started with the same settings."""
    number = int.from_bytes(hashlib.sha256(settings.encode()).digest()[:7], "little")
    if largest(number) != -largest(-number):
        raise ValueError("the processes differ in their options, task distribution, seed or steps: start all alike")


def first_to_fail() -> bool:
    """Whether no other process failed before: one of them says why training ended, and the others follow silently."""
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
    """Makes one clear error of whatever the backend says when a process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(
            f"process {rank()} of {size()} stops, since another has ended or cannot be reached; go on from the last "
            f"checkpoint with the same command and --resume ({str(error).partition('. ')[0]})"
        ) from error
