"""One seed becomes any number of named, independent random streams.

A stream is a pure function of the seed and its names, so nothing about random state has to be stored to resume a run:
update 17 draws its tasks from `generator(seed, "tasks", 17)` whether or not the process was killed at update 16.
"""

import contextlib
import hashlib
import operator
import random
from collections.abc import Iterator

import numpy as np
import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called `names`, independent of every other stream of `seed`."""
    text = "/".join(part if isinstance(part, str) else str(operator.index(part)) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device` at the start of the stream called `names`."""
    return torch.Generator(device).manual_seed(stream_seed(seed, *names))


@contextlib.contextmanager
def initialising(seed: int) -> Iterator[None]:
    """Inside, modules made on the CPU draw their first parameters from `seed`; global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed a GPU, and leave it so
        yield


@contextlib.contextmanager
def borrowed_randomness(seed: int) -> Iterator[None]:
    """Inside, the global random state of Python, numpy and torch starts at `seed`; after it, it is what it was.

    Stable-Baselines3 draws initial weights, actions and minibatches from it, and takes no generator.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    gpus = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=gpus):
        try:
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed a GPU not yet in use
            if gpus:
                torch.cuda.manual_seed_all(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
