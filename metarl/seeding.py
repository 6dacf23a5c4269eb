"""One seed becomes any number of named, independent random streams.

A stream is a pure function of the seed and its names, so nothing about random state has to be stored to resume a run:
update 17 draws its tasks from `generator(seed, "tasks", 17)` whether or not the process was killed at update 16.
"""

import hashlib

import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream called `names`, independent of every other stream of `seed`."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on `device` at the start of the stream called `names`."""
    return torch.Generator(device).manual_seed(stream_seed(seed, *names))
