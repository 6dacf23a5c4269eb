"""What belongs to the whole process, so that environments and policies must leave it alone."""

import contextlib
import os
import random
import signal
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def random_states() -> dict[str, object]:
    """The global random states by the name of their module, as values that can be compared."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - read only, to see that nobody draws from it
    return {
        "random": random.getstate(),
        "numpy.random": (kind, np.asarray(keys).tobytes(), *rest),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "torch.cuda": [state.numpy().tobytes() for state in _cuda_states()],
    }


@contextlib.contextmanager
def fresh_random_states() -> Iterator[None]:
    """Inside, the global random states are where nobody could put them, so that seeding shows; then as before."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - put back below
    start_anew()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002 - where it was
        torch.set_rng_state(before[2])


def start_anew() -> None:
    """Put the global random states at a place of their own each time; those of GPUs stay."""
    seed = random.SystemRandom().getrandbits(32)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - only here, inside `fresh_random_states`
    torch.default_generator.manual_seed(seed)


def settings() -> dict[str, Any]:
    """Settings of the process by their names in words."""
    lasting = [thread.name for thread in threading.enumerate() if not thread.daemon]
    return {
        "the working directory": _folder(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's number of threads": torch.get_num_threads(),
        "numpy's error handling": np.geterr(),
        "signal handlers": {number: signal.getsignal(number) for number in SIGNALS},
        "threads, of which some still run": lasting,
    }


def restore(before: Mapping[str, Any]) -> None:
    """Put back what can be put back of `settings`."""
    now = settings()
    if before["the working directory"] not in (None, now["the working directory"]):
        os.chdir(before["the working directory"])
    torch.set_default_dtype(before["torch's default dtype"])
    torch.set_grad_enabled(before["torch's gradient mode"])
    if before["torch's number of threads"] != now["torch's number of threads"]:
        torch.set_num_threads(before["torch's number of threads"])
    np.seterr(**before["numpy's error handling"])
    if before["signal handlers"] != now["signal handlers"]:
        for number, handler in before["signal handlers"].items():
            signal.signal(number, handler)


def _folder() -> str | None:
    with contextlib.suppress(OSError):  # a folder that was removed has no name
        return os.getcwd()
    return None


def _cuda_states() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
