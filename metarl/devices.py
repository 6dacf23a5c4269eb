"""Where tensors live, and what to do when a device is full."""

import contextlib
from collections.abc import Iterator

import torch

from metarl import distributed

LOOK_EVERY = 32  # steps between two questions to a device


def resolve_device(device: torch.device | str) -> torch.device:
    """`auto` is the GPU if there is one, this process's own where there are several.

    ValueError for a device that is unknown or not here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}: auto, cpu, cuda or cuda:1, for example") from error
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r}: torch sees no GPU here")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r}: torch sees {torch.cuda.device_count()} GPUs here, counted from 0")
    if resolved == torch.device("cuda") and distributed.size() > 1:
        return torch.device("cuda", torch.cuda.current_device())
    return resolved


@contextlib.contextmanager
def out_of_memory_says(advice: str) -> Iterator[None]:
    """Turns torch's error of a full device, or of full memory, into a MemoryError with `advice` on what takes less."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:  # torch's name for it on every device
        raise MemoryError(f"the device is out of memory: {advice}") from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):  # the CPU's has no class of its own
            raise
        raise MemoryError(f"there is not enough memory: {advice}") from error


def may_look(device: torch.device, step: int) -> bool:
    """Whether to ask for a number after this step: on the CPU always, elsewhere every `LOOK_EVERY` steps.

    Each question waits for all that the device was asked to do.
    """
    return device.type == "cpu" or step % LOOK_EVERY == 0


def check_default_dtype() -> None:
    """ValueError unless torch makes tensors in float32, as agents need it."""
    if torch.get_default_dtype() != torch.float32:
        raise ValueError(
            f"agents learn in float32, and torch's default dtype is {torch.get_default_dtype()}: call "
            "torch.set_default_dtype(torch.float32) before"
        )
