"""Processes that may hang: each has a time limit, and what it reports arrives at once. Needs nothing but Python."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

RECORD = "\x1e"  # before a record in JSON that ends the line (RFC 7464); all else is what a process says
LINES = 60  # of what a process said last, kept in case it fails


class Ended(NamedTuple):
    """How a process ended."""

    state: str  # done, failed or timed out
    seconds: float
    output: tuple[str, ...]  # the last lines that it printed


def run(
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    limit: float,
    on_record: Callable[[dict[str, Any]], None],
) -> Ended:
    """Run `command`, for at most `limit` seconds; `on_record` gets each record as soon as it is printed.

    The process and all that it started are killed at the limit, and when this one is interrupted.
    """
    start = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    output: deque[str] = deque(maxlen=LINES)
    reader = threading.Thread(target=_read, args=(process, output, on_record), daemon=True)
    reader.start()
    state = "timed out"
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            state = "done" if process.wait(limit) == 0 else "failed"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # what hangs in the driver cannot be killed: go on
            process.wait(5)
        reader.join(5)
    return Ended(state, time.monotonic() - start, tuple(output))


def _read(process: "subprocess.Popen[str]", output: deque[str], on_record: Callable[[dict[str, Any]], None]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            said, mark, record = line.rstrip("\n").partition(RECORD)
            if said or not mark:
                output.append(said)
            if mark:
                on_record(json.loads(record))


def install(wheels: Path, target: Path) -> None:
    """Unpack into `target` the wheels of those packages that are not installed, with no network.

    Not into a virtual environment: one made by the Python of another sees the system's packages, not that one's.
    SystemExit if there are no wheels or pip fails.
    """
    names = sorted({wheel.name.split("-")[0] for wheel in wheels.glob("*.whl")})
    if not names:
        raise SystemExit(f"no wheels in {wheels}")
    missing = [name for name in names if not _installed(name)]
    print(f"missing packages: {', '.join(missing) or 'none'}", flush=True)
    if missing:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-cache-dir"]
        chosen = ["--no-index", "--no-deps", "--find-links", str(wheels), "--target", str(target), *missing]
        if subprocess.run([*pip, *chosen], check=False).returncode != 0:
            raise SystemExit(f"pip could not install {', '.join(missing)} from {wheels}")


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
