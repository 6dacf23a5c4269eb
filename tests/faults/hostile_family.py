"""Families that do harm in a step, by name: `metarl check faults.hostile_family:make --env-kwargs kind=hangs`."""

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from broken_environments import Walk

import metarl


def _raise(error: BaseException) -> Any:
    raise error


def _deep(level: int = 0) -> int:
    return _deep(level + 1)


class Odd(BaseException):
    """Of no kind that anybody expects."""


# what ends as an error that names environment and task
RAISES: dict[str, Callable[[], Any]] = {
    "exits": lambda: sys.exit(0),
    "exits-with-1": lambda: sys.exit(1),
    "exits-in-words": lambda: sys.exit("bye"),
    "generator-exit": lambda: _raise(GeneratorExit()),
    "odd": lambda: _raise(Odd("odd")),
    "key-error": lambda: RETURNS["no such kind"],
    "zero-division": lambda: 1 / 0,
    "assertion": lambda: _raise(AssertionError()),
    "stop-iteration": lambda: next(iter(())),
    "recursion": _deep,
    "memory": lambda: _raise(MemoryError("too much")),
    "os-error": lambda: open("/no/such/file"),  # noqa: SIM115 - it is not there
    "broken-pipe": lambda: _raise(BrokenPipeError()),
    "runtime": lambda: torch.zeros(2) @ torch.zeros(3),
    "unicode": lambda: b"\xff".decode(),
    "warning": lambda: _raise(UserWarning("take care")),
    "timeout": lambda: _raise(TimeoutError()),
    "import": lambda: __import__("no_such_module"),
    "interrupt": lambda: _raise(KeyboardInterrupt()),
}
# what changes the process, hangs it or ends it
HARMS: dict[str, Callable[[], Any]] = {
    "seeds-numpy": lambda: np.random.seed(0),  # noqa: NPY002 - the flaw
    "seeds-python": lambda: random.seed(0),
    "seeds-torch": lambda: torch.manual_seed(0),
    "default-dtype": lambda: torch.set_default_dtype(torch.float64),
    "moves": lambda: os.chdir("/"),
    "numpy-errors": lambda: np.seterr(all="raise"),
    "signals": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "threads": lambda: threading.Thread(target=time.sleep, args=(60,)).start(),
    "leaves": lambda: os._exit(0),
    "crashes": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "hangs": lambda: time.sleep(3600),
    "stops": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}
RETURNS: dict[str, Any] = {
    "four-values": (np.zeros(1, np.float32), 0.0, False, {}),
    "nothing": None,
    "nan": (np.full(1, np.nan, np.float32), 0.0, False, False, {}),
    "infinite-reward": (np.zeros(1, np.float32), float("inf"), False, False, {}),
    "words": (np.array(["left"]), 0.0, False, False, {}),
    "shape": (np.zeros(3, np.float32), 0.0, False, False, {}),
    "reward-in-words": (np.zeros(1, np.float32), "much", False, False, {}),
    "ends-in-words": (np.zeros(1, np.float32), 0.0, "yes", False, {}),
    "no-info": (np.zeros(1, np.float32), 0.0, False, False, None),
    "objects": (np.array([object()]), 0.0, False, False, {}),
}


class Hostile(Walk):
    """Does what its kind says in every step."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    def step(self, action: Any) -> Any:
        if self._kind == "spins":
            while True:
                pass
        if self._kind in RETURNS:
            return RETURNS[self._kind]
        {**RAISES, **HARMS}.get(self._kind, lambda: None)()
        return super().step(action)


def make(kind: str = "sound", steps: int = 5, workers: int = 0) -> metarl.TaskDistribution:
    """The family whose environments do this."""
    return metarl.from_gym(
        lambda: Hostile(kind), {"wind": (0.0, 1.0)}, name="hostile-v1", max_episode_steps=steps, workers=workers
    )
