"""An object that lives in a process of its own; a process that dies ends in an error and never in a hang."""

import contextlib
import multiprocessing
import signal
import traceback
from collections.abc import Callable
from multiprocessing import connection
from typing import Any, final

import torch
from gymnasium.vector.utils import CloudpickleWrapper  # sends functions defined in a script or a notebook, too

FAREWELL_S = 2.0  # how long a worker may take to close before it is terminated


@final
class Worker:
    """Builds an object in a new process and calls its methods there, one at a time.

    `send` returns at once, so that several workers run side by side; `receive` waits for the result (the first one
    says that the object was built). ValueError comes back as ValueError and everything else, the death of the process
    included, as RuntimeError, with the worker's traceback in the text. Processes are spawned: threads survive no fork.
    """

    def __init__(self, build: Callable[[], Any], label: str) -> None:
        self.label = label
        self._called = "starting"
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True, name=label)
        self._process.start()
        theirs.close()  # so that the end of the process closes the pipe
        with contextlib.suppress(OSError):  # a process that died already: receive tells why
            self._pipe.send(CloudpickleWrapper(build))

    def send(self, method: str, *arguments: Any) -> None:
        """Start `object.method(*arguments)` in the worker."""
        self._called = method
        with contextlib.suppress(OSError):
            self._pipe.send((method, arguments))

    def receive(self) -> Any:
        """The result of the last call."""
        connection.wait([self._pipe, self._process.sentinel])
        try:
            failure, result = self._pipe.recv()
        except (EOFError, OSError):
            raise RuntimeError(self._obituary()) from None
        if failure is not None:
            raise failure(f"{result}\n(in {self.label})")
        return result

    def close(self) -> None:
        """End the process, by force if it does not go by itself."""
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(FAREWELL_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()

    def _obituary(self) -> str:
        self._process.join(FAREWELL_S)
        text = f"{self.label} died in {self._called!r} with exit code {self._process.exitcode}"
        if self._called == "starting":
            text += "; a script that starts workers needs `if __name__ == '__main__':` around what it runs"
        return text


def _serve(pipe: connection.Connection) -> None:
    """The worker's loop: first the object, then calls until None or the end of the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it then closes its workers
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, OSError):
        target = _answer(pipe, lambda: pipe.recv()(), keep=True)
        while target is not None and (call := pipe.recv()) is not None:
            method, arguments = call
            _answer(pipe, lambda: getattr(target, method)(*arguments))  # noqa: B023 - called at once


def _answer(pipe: connection.Connection, function: Callable[[], Any], keep: bool = False) -> Any:
    """Send what `function` returns or how it failed; with `keep` send only that it is done, and return the result."""
    try:
        result = function()
    except Exception as error:
        kind = ValueError if isinstance(error, ValueError) else RuntimeError
        pipe.send((kind, f"{error}\n\n{traceback.format_exc()}"))
        return None
    pipe.send((None, None if keep else result))
    return result
