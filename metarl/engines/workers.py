"""An object in a process of its own. If that process dies or hangs, the caller gets an error and does not hang."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import connection
from typing import Any, final

import torch
from gymnasium.vector.utils import CloudpickleWrapper

from metarl.foreign import ForeignError, described

FAREWELL_S = 2.0  # how long a worker may take to close before it is terminated
START_S = 60.0  # how long it may take to start, at least: imports alone take seconds


class WorkerLost(ForeignError):
    """A worker died or exceeded its time limit; the text names the worker, the call and the cause."""


@final
class Worker:
    """Builds an object in a new process and calls its methods there, one at a time.

    `send` returns at once, so that several workers run at the same time. `receive` waits for the result; the first one
    means that the object was built. A ValueError in the worker is raised here as ValueError, any other error or an
    exit() as ForeignError, both with the worker's traceback. WorkerLost is raised if the process died or took longer
    than `timeout` seconds for a call (None: no limit); the process is then ended. It ends with its parent, too.
    Processes are spawned, because threads do not survive a fork. Only one that is no daemon may have workers itself.
    """

    def __init__(self, build: Callable[[], Any], label: str, timeout: float | None = None, daemon: bool = True) -> None:
        self._timeout = timeout
        self._dismissed: float | None = None
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=daemon, name=label)
        self._process.start()
        theirs.close()  # so that the end of the process closes the pipe
        self.rebuild(build, label)

    def rebuild(self, build: Callable[[], Any], label: str) -> None:
        """Start to build another object in the same process, which is much faster than another process."""
        self.label = label
        self._called, self._since = "starting", time.monotonic()
        with contextlib.suppress(OSError):  # a process that died already: receive tells why
            self._pipe.send(CloudpickleWrapper(build))

    def send(self, method: str, *arguments: Any) -> None:
        """Start `object.method(*arguments)` in the worker."""
        self._called, self._since = method, time.monotonic()
        with contextlib.suppress(OSError):
            self._pipe.send((method, arguments))

    def receive(self) -> Any:
        """The result of the last call."""
        if not connection.wait([self._pipe, self._process.sentinel], self._patience):
            self._process.kill()
            raise WorkerLost(
                f"{self.label} gave no answer to {self._called!r} in {self._limit:g} seconds, which is its timeout"
            )
        try:
            failure, result = self._pipe.recv()
        except (EOFError, OSError):
            raise WorkerLost(self._obituary()) from None
        if failure is not None:
            raise failure(f"{result}\n(in {self.label})")
        return result

    def dismiss(self) -> None:
        """Ask the process to end; `close` waits for it. To end several, dismiss all of them first."""
        if self._dismissed is None:
            self._dismissed = time.monotonic()
            with contextlib.suppress(OSError):
                self._pipe.send(None)

    def close(self) -> None:
        """End the process, by force if it does not end by itself."""
        self.dismiss()
        self._process.join(max(0.0, (self._dismissed or 0.0) + FAREWELL_S - time.monotonic()))
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()

    @property
    def _limit(self) -> float | None:
        """Seconds that the last call may take."""
        if self._timeout is None or self._called != "starting":
            return self._timeout
        return max(self._timeout, START_S)

    @property
    def _patience(self) -> float | None:
        """Seconds that are left of them."""
        return None if self._limit is None else max(0.0, self._since + self._limit - time.monotonic())

    def _obituary(self) -> str:
        self._process.join(FAREWELL_S)
        text = f"{self.label} died in {self._called!r} with exit code {self._process.exitcode}"
        if self._called != "starting":
            return text
        if getattr(sys.modules.get("__main__"), "__file__", None) == "<stdin>":
            return (
                f"{text}; a script from standard input cannot start workers: they read it again, so keep it in a file"
            )
        return f"{text}; a script that starts workers needs `if __name__ == '__main__':` around what it runs"


def _serve(pipe: connection.Connection) -> None:
    """The worker's loop: an object, calls of it, perhaps another object, until None or the end of the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it then closes its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    target: Any = None
    with contextlib.suppress(EOFError, OSError):
        while (call := pipe.recv()) is not None:
            if isinstance(call, tuple):
                method, arguments = call
                _answer(pipe, lambda: getattr(target, method)(*arguments))  # noqa: B023 - called at once
                continue
            _close(target)
            target = _answer(pipe, call, keep=True)
            if target is None:
                return
    _close(target)


def _end_with_parent() -> None:
    """End this process with the one that started it, in the middle of an endless step, too."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _close(target: Any) -> None:
    """Close what is given up; what it raises then is of no use to anybody."""
    with contextlib.suppress(BaseException):
        if hasattr(target, "close"):
            target.close()


def _answer(pipe: connection.Connection, function: Callable[[], Any], keep: bool = False) -> Any:
    """Send what `function` returns or how it failed; with `keep` send only that it is done, and return the result."""
    try:
        result = function()
    except BaseException as error:  # exit(), too: the caller is to hear of it
        kind = ValueError if isinstance(error, ValueError) else ForeignError
        text = str(error) if isinstance(error, (ValueError, ForeignError)) else described(error)
        pipe.send((kind, f"{text}\n\n{traceback.format_exc()}"))
        return None
    pipe.send((None, None if keep else result))
    return result
