"""A device that is out of memory says what to lower."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def out_of_memory_says(advice: str) -> Iterator[None]:
    """Turns torch's error of a full device into a MemoryError with `advice` on what takes less."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:  # torch's name for it on every device
        raise MemoryError(f"the device is out of memory: {advice}") from error
