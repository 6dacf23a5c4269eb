"""Environments that do harm: an error that names environment and task, no word too much, nobody left behind."""

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from faults.hostile_family import HARMS, RAISES, RETURNS
from faults.tally import LONG, Tally, some
from faults.test_processes import last_line, until
from faults.warm import Warm

Promise = Callable[[str], AbstractContextManager[Tally]]
FAMILY = "faults.hostile_family:make"
SMALL = ["--batch-steps", "60", "--width", "8", "--n-epochs", "1", "--critic-epochs", "0", "--num-minibatches", "1"]


def test_what_an_environment_raises_or_returns(warm: Warm, tmp_path: Path, promise: Promise) -> None:
    evaluate = ["evaluate", "random", "--num-tasks", "3", "--device", "cpu"]
    train = ["train", "rl2", "--memory", "gru", *SMALL, "--total-timesteps", "120", "--device", "cpu"]
    with promise("a misbehaving environment: one line with environment and task, no exit code 0") as tally:
        for kind in [*some(list(RAISES), 5), *some(list(RETURNS), 3)]:
            for arguments in (evaluate, train) if LONG else (evaluate,):
                place = ["--distribution", FAMILY, "--env-kwargs", f"kind={kind}"]
                ended = warm.run(*arguments, *place, folder=tmp_path)
                line = last_line(ended.err)
                named = "environment 0 of hostile-v1" in line and "'wind': " in line
                expected = 130 if kind == "interrupt" else 2
                fine = ended.code == expected and named and "Traceback" not in ended.err
                tally.expect(fine, f"{kind}, {arguments[0]}: {ended.code}, {line}")


@pytest.mark.skipif(not LONG, reason="each takes seconds; tests/cli has one of them")
def test_check_finds_every_harm(warm: Warm, tmp_path: Path, promise: Promise) -> None:
    kinds = ["sound", *HARMS, *RAISES, *RETURNS]
    with promise("metarl check cannot be hung, silenced or deceived, and accuses nobody") as tally:
        for kind in kinds:
            arguments = ["check", FAMILY, "--env-kwargs", f"kind={kind}", "--timeout", "5", "--seed", "-1"]
            ended = warm.run(*arguments, folder=tmp_path)
            said = "BROKEN" in ended.out
            fine = ended.code == (0 if kind == "sound" else 1) and said == (kind != "sound")
            tally.expect(fine and ended.out.startswith("checking hostile-v1"), f"{kind}: {ended}")
        long = warm.run("check", FAMILY, "--env-kwargs", "steps=1000000", "--timeout", "60", folder=tmp_path)
        tally.expect(long.code == 0, f"an endless horizon: {long}")


def children(pid: int) -> set[int]:
    """Processes that this one started."""
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_workers_end_with_their_parent(warm: Warm, tmp_path: Path, promise: Promise) -> None:
    """In the middle of an endless step."""
    with promise("a worker ends with its parent") as tally:
        for _ in range(3 if LONG else 1):
            place = ["--distribution", FAMILY, "--env-kwargs", "kind=spins", "workers=1"]
            parent = warm.start("evaluate", "random", *place, "--num-tasks", "1", "--device", "cpu", folder=tmp_path)
            until(lambda pid=parent.pid: bool(children(pid)))  # type: ignore[misc]
            workers = children(parent.pid)
            parent.send(signal.SIGKILL)
            parent.wait()
            gone = until(lambda pids=workers: not any(map(alive, pids)))  # type: ignore[misc]
            tally.expect(workers and gone, f"{workers} live on")
            for pid in workers if not gone else ():
                os.kill(pid, signal.SIGKILL)
