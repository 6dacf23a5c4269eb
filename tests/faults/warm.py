"""A process that has imported everything and forks for each command: imports alone would take longer than the tests.

It has one thread, so that a fork of it is sound. One request is a line of JSON, and so is its answer.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, final

TESTS = Path(__file__).parents[1]


class Ended(NamedTuple):
    """How a command ended: its exit code, or minus the signal, and what it said."""

    code: int
    out: str
    err: str


@final
class Command:
    """A command of metarl in a process group of its own."""

    def __init__(self, warm: "Warm", pid: int, folder: Path) -> None:
        self._warm, self.pid, self._folder = warm, pid, folder

    def send(self, number: int) -> None:
        """Send a signal; nothing if the command has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float = 180.0) -> Ended | None:
        """How it ended; None, after SIGKILL, if it did not within `seconds`."""
        code = self._warm.ask({"wait": self.pid, "seconds": seconds})
        if code is None:
            self.send(signal.SIGKILL)
            self._warm.ask({"wait": self.pid, "seconds": 10})
            return None
        out, err = ((self._folder / name).read_text(errors="replace") for name in ("out.txt", "err.txt"))
        return Ended(int(code), out, err)


@final
class Warm:
    """The warm process; `with Warm() as warm: warm.start("list").wait()`."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )

    def __enter__(self) -> "Warm":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)

    def start(self, *arguments: str, folder: Path, before: str = "", closed: tuple[int, ...] = ()) -> Command:
        """Start `metarl ARGUMENTS` in `folder`, after the Python text `before`; `closed`: standard streams that are."""
        request = {"arguments": arguments, "folder": str(folder), "before": before, "closed": closed}
        return Command(self, int(self.ask(request)), folder)

    def run(self, *arguments: str, folder: Path, before: str = "", closed: tuple[int, ...] = ()) -> Ended:
        """The same to its end, which must come within three minutes."""
        ended = self.start(*arguments, folder=folder, before=before, closed=closed).wait()
        assert ended is not None, arguments
        return ended

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _serve() -> None:
    """Answer requests until the end of the input."""
    import torch.utils.tensorboard  # noqa: F401 - what commands would import
    from tqdm import tqdm

    import metarl.agents.in_context.rl2
    import metarl.agents.outer_loop.expert_labels
    import metarl.runs.training_loop  # noqa: F401
    from metarl.cli.entry import main

    tqdm.monitor_interval = 0  # no thread beside the one that forks
    with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None), contextlib.suppress(SystemExit):
        main(["evaluate", "random", "--distribution", "faults.hostile_family:make", "--num-tasks", "1"])
    for line in sys.stdin:
        request = json.loads(line)
        answer = _wait(request["wait"], request["seconds"]) if "wait" in request else _fork(request)
        print(json.dumps(answer), flush=True)


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _command(request)
    return pid


def _command(request: dict[str, Any]) -> NoReturn:
    """In the child: the command, and out."""
    from tqdm import tqdm

    from metarl.cli.entry import main

    tqdm.set_lock(threading.RLock())  # that of tqdm is shared between forks, and dies with one that is killed
    code: Any = 70
    try:
        os.setsid()
        os.chdir(request["folder"])
        for stream, name in ((0, os.devnull), (1, "out.txt"), (2, "err.txt")):
            handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, stream)
            os.close(handle)
        exec(request["before"], {})
        for stream in request["closed"]:  # a pipe whose reader has left
            reader, writer = os.pipe()
            os.close(reader)
            os.dup2(writer, stream)
        main(request["arguments"])
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError:
            code = 120  # as Python itself does
        os._exit(code if isinstance(code, int) else 1)


def _wait(pid: int, seconds: float) -> int | None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


if __name__ == "__main__":
    _serve()
