"""Kills, signals, lost terminals and full disks: a run ends whole, says so, and goes on as if nothing had been."""

import json
import random
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from faults.tally import LONG, Tally, some
from faults.warm import Command, Ended, Warm

from metarl.files import leftovers
from metarl.runs.folder import Run
from metarl.training.checkpoints import load_checkpoint

Promise = Callable[[str], AbstractContextManager[Tally]]
BANDIT = ["--distribution", "bernoulli-bandit", "--env-kwargs", "arms=3", "pulls=4"]
SMALL = ["--batch-steps", "60", "--width", "8", "--n-epochs", "1", "--critic-epochs", "0", "--num-minibatches", "1"]
GRU = ["--memory", "gru", *SMALL]
SLOW_DISK = "import os, time; flush = os.fsync; os.fsync = lambda handle: (time.sleep(.02), flush(handle))"


class Kind(NamedTuple):
    """A run: what comes after `metarl train`."""

    name: str
    arguments: list[str]


FAKE = Kind("fake", ["fake_agent:FakeAgent", *BANDIT, "--pause", "0.01", "--total-timesteps", "800"])
RL2 = Kind("rl2", ["rl2", *BANDIT, *GRU, "--total-timesteps", "240"])
HOME_MADE = ["--distribution", "faults.hostile_family:make"]
LEARNERS = [
    RL2,
    Kind("grid", ["rl2", "--distribution", "grid-navigation", *GRU, "--total-timesteps", "1200"]),
    Kind("gymnasium", ["rl2", *HOME_MADE, *GRU, "--total-timesteps", "600"]),
    Kind("workers", ["rl2", *HOME_MADE, "--env-kwargs", "workers=2", *GRU, "--total-timesteps", "300"]),
    Kind("maml", ["maml", *BANDIT, "--meta-batch-size", "2", "--width", "8", "--total-timesteps", "200"]),
    Kind("fine-tuning", ["fine-tuning", *BANDIT, "--batch-steps", "60", "--total-timesteps", "600"]),
]
KILLS = [(FAKE, 40)] + [(kind, 10) for kind in LEARNERS] if LONG else [(FAKE, 5), (RL2, 1)]


def command(kind: Kind, *more: str) -> list[str]:
    return ["train", *kind.arguments, "--device", "cpu", "--run-dir", "run", "--save-every", "0", *more]


def outcome(folder: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Tensors of the last checkpoint and rows of the log, but for the time they took."""
    run = Run.open(folder / "run")
    rows = [{name: x for name, x in row.items() if name != "time/time_elapsed"} for row in run.log()]
    return load_checkpoint(run.checkpoint)[0], rows


def same(one: Path, other: Path) -> bool:
    """Whether two runs ended alike, to the last bit."""
    (tensors, rows), (others, other_rows) = outcome(one), outcome(other)
    bits = {name: x.numpy().tobytes() for name, x in tensors.items()}
    return rows == other_rows and bits == {name: x.numpy().tobytes() for name, x in others.items()}


def whole(folder: Path) -> bool:
    """Whether the last checkpoint, if there is one, can be read."""
    path = folder / "run" / "checkpoint.safetensors"
    return not path.exists() or bool(load_checkpoint(path)[0])


def finish(warm: Warm, kind: Kind, folder: Path) -> Ended:
    """Go on to the end, or start where nothing had begun."""
    begun = (folder / "run" / "config.json").exists()
    return warm.run(*command(kind, *(["--resume"] if begun else [])), folder=folder)


def new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def started(warm: Warm, kind: Kind, folder: Path, before: str = "", closed: tuple[int, ...] = ()) -> Command:
    """A run that has made its first checkpoint."""
    run = warm.start(*command(kind), folder=folder, before=before, closed=closed)
    until(lambda: (folder / "run" / "checkpoint.safetensors").exists())
    return run


def until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return condition()


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else ""


@pytest.fixture(scope="module")
def undisturbed(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], tuple[Path, float]]:
    """The folder of a run that nobody disturbed, and the seconds it took; each kind is run once."""
    done: dict[str, tuple[Path, float]] = {}

    def run(kind: Kind) -> tuple[Path, float]:
        if kind.name not in done:
            folder, began = tmp_path_factory.mktemp(kind.name), time.monotonic()
            assert warm.run(*command(kind), folder=folder).code == 0
            done[kind.name] = folder, time.monotonic() - began
        return done[kind.name]

    return run


@pytest.mark.parametrize(("kind", "tries"), KILLS, ids=[kind.name for kind, _ in KILLS])
def test_kill_9(
    kind: Kind,
    tries: int,
    warm: Warm,
    undisturbed: Callable[[Kind], tuple[Path, float]],
    tmp_path: Path,
    promise: Promise,
) -> None:
    """At any moment, again and again until the run is complete."""
    expected, seconds = undisturbed(kind)
    dice = random.Random(kind.name)
    with promise(f"kill -9 of {kind.name}, --resume: exact, the last checkpoint whole, nothing left") as tally:
        for number in range(tries):
            folder = new(tmp_path / str(number))
            for more in ([], ["--resume"]):
                if more and not (folder / "run" / "config.json").exists():
                    more = []
                run = warm.start(*command(kind, *more), folder=folder, before=SLOW_DISK if number % 2 else "")
                time.sleep(dice.uniform(0, seconds))
                run.send(signal.SIGKILL)
                run.wait()
            kept = whole(folder)
            ended = finish(warm, kind, folder)
            exact = ended.code == 0 and same(expected, folder)
            clean = not leftovers(folder / "run")
            tally.expect(kept and exact and clean, f"try {number}: whole {kept}, exact {exact}, clean {clean}: {ended}")


SIGNALS = {
    "SIGTERM": signal.SIGTERM,
    "SIGINT": signal.SIGINT,
    "SIGHUP": signal.SIGHUP,
    "SIGUSR1": signal.SIGUSR1,
}


def test_signals_save_and_say_how_to_go_on(
    warm: Warm, undisturbed: Callable[[Kind], tuple[Path, float]], tmp_path: Path, promise: Promise
) -> None:
    expected, _ = undisturbed(FAKE)
    dice = random.Random(0)
    with promise("SIGTERM, SIGINT, SIGHUP, SIGUSR1: saves, says how to go on, exact") as tally:
        for number, name in enumerate(list(SIGNALS) * (5 if LONG else 1)):
            folder = new(tmp_path / f"{number}")
            run = started(warm, FAKE, folder, before=SLOW_DISK if number % 2 else "")
            time.sleep(dice.uniform(0, 0.05))
            run.send(SIGNALS[name])
            ended = run.wait()
            assert ended is not None
            told = ended.code == 128 + SIGNALS[name] and "; go on with: metarl train" in last_line(ended.out)
            complete = ended.code == 0 and "complete" in last_line(ended.out)
            exact = finish(warm, FAKE, folder).code == 0 and same(expected, folder)
            tally.expect((told or complete) and exact, f"{name}: exact {exact}, {ended}")


def test_two_interrupts_stop_at_once(warm: Warm, tmp_path: Path, promise: Promise) -> None:
    dice = random.Random(1)
    pairs = [(signal.SIGINT, signal.SIGINT)] * 7 + [(signal.SIGTERM, signal.SIGTERM)]
    with promise("two signals, 0.5 to 30 ms apart: never hangs, the last checkpoint whole") as tally:
        for number, (first, second) in enumerate(pairs * (14 if LONG else 1)):
            folder = new(tmp_path / f"{number}")
            run = started(warm, FAKE, folder, before=SLOW_DISK if number % 2 else "")
            time.sleep(dice.uniform(0, 0.05))
            run.send(first)
            time.sleep(dice.uniform(0.0005, 0.03))
            run.send(second)
            ended = run.wait(60)
            left = [] if second == signal.SIGTERM else leftovers(folder / "run")  # that one kills without a word
            tally.expect(ended is not None and whole(folder) and not left, f"try {number}: {ended}, {left}")


NO_STREAM = "import os, sys; os.close({0}); sys.{1} = None"
LOST = {
    "reader of stdout gone": ("", (1,)),
    "reader of stderr gone": ("", (2,)),
    "both gone": ("", (1, 2)),
    "no stderr": (NO_STREAM.format(2, "stderr"), ()),
    "no stdout": (NO_STREAM.format(1, "stdout"), ()),
}


def test_a_lost_terminal_costs_nothing(
    warm: Warm, undisturbed: Callable[[Kind], tuple[Path, float]], tmp_path: Path, promise: Promise
) -> None:
    expected, _ = undisturbed(FAKE)
    with promise("a lost terminal: trains to the end, or saves when told to stop") as tally:
        for name, (before, closed) in some(list(LOST.items()), 3):
            folder = new(tmp_path / name)
            ended = warm.run(*command(FAKE), folder=folder, before=before, closed=closed)
            tally.expect(ended.code == 0 and same(expected, folder), f"{name}: {ended}")
            folder = new(tmp_path / f"{name} and SIGTERM")
            run = started(warm, FAKE, folder, before, closed)
            run.send(signal.SIGTERM)
            stopped = run.wait()
            exact = finish(warm, FAKE, folder).code == 0 and same(expected, folder)
            tally.expect(stopped and stopped.code in (0, 143) and exact, f"{name} and SIGTERM: {stopped}")


ROOM = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"
NO_SPACE = """
import errno, os
def full(handle): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
os.fsync = full
"""
FULL = {f"files of {size} bytes at most": ROOM.format(size) for size in (100, 300, 700)} | {"no space": NO_SPACE}


def test_a_full_disk_is_one_line(
    warm: Warm, undisturbed: Callable[[Kind], tuple[Path, float]], tmp_path: Path, promise: Promise
) -> None:
    expected, _ = undisturbed(FAKE)
    with promise("a full disk: one line that names a file, the last checkpoint whole, exact afterwards") as tally:
        for name, before in FULL.items():
            folder = new(tmp_path / name)
            run = started(warm, FAKE, folder)
            run.send(signal.SIGTERM)
            run.wait()
            kept = (folder / "run" / "checkpoint.safetensors").read_bytes()
            ended = warm.run(*command(FAKE, "--resume"), folder=folder, before=before)
            line = last_line(ended.err)
            told = ended.code == 2 and line.startswith("metarl: ") and "run/" in line and "Traceback" not in ended.err
            stays = (folder / "run" / "checkpoint.safetensors").read_bytes() == kept and not leftovers(folder / "run")
            exact = finish(warm, FAKE, folder).code == 0 and same(expected, folder)
            tally.expect(told and stays and exact, f"{name}: stays {stays}, exact {exact}, {ended.code}, {line}")


def test_two_processes_in_one_folder(
    warm: Warm, undisturbed: Callable[[Kind], tuple[Path, float]], tmp_path: Path, promise: Promise
) -> None:
    expected, _ = undisturbed(FAKE)
    with promise("two processes in one folder: nothing lost, a second plain train refused") as tally:
        for number in range(5 if LONG else 1):
            folder = new(tmp_path / str(number))
            run = started(warm, FAKE, folder)
            second = warm.run(*command(FAKE), folder=folder)
            tally.expect(second.code == 2 and "already holds a run" in second.err, f"{second}")
            beside = warm.start(*command(FAKE, "--resume"), folder=folder)
            ends = run.wait(), beside.wait()
            fine = all(ended is not None and ended.code == 0 for ended in ends)
            tally.expect(fine and same(expected, folder), f"{ends}")


def test_who_may_read_is_said_by_the_umask(warm: Warm, tmp_path: Path, promise: Promise) -> None:
    with promise("files of a run are readable as the umask says") as tally:
        for umask in (0o077, 0o022, 0o002):
            folder = new(tmp_path / oct(umask))
            warm.run(*command(FAKE), folder=folder, before=f"import os; os.umask({umask})")
            modes = {file.name: file.stat().st_mode & 0o777 for file in (folder / "run").iterdir()}
            tally.expect(set(modes.values()) == {0o666 & ~umask}, f"{oct(umask)}: {modes}")


DAMAGED_RUNS = {
    "config.json": json.dumps(["no run"]),
    "progress.csv": "time/total_timesteps\n" + "9" * 200_000,
    "checkpoint.safetensors": "no checkpoint",
}


def test_commands_name_the_damaged_file(warm: Warm, tmp_path: Path, promise: Promise) -> None:
    with promise("evaluate, compare and --resume name a damaged file in one line") as tally:
        warm.run(*command(FAKE), folder=tmp_path)
        evaluate = ["evaluate", "run", "--num-tasks", "2", "--no-baselines", "--device", "cpu", "--trust"]
        for name, text in some(list(DAMAGED_RUNS.items()), 3):
            file = tmp_path / "run" / name
            before = file.read_bytes()
            file.write_text(f"{text}\n")
            for arguments in (evaluate, [*command(FAKE), "--resume"] if name != "progress.csv" else evaluate):
                ended = warm.run(*arguments, folder=tmp_path)
                fine = ended.code == 2 and name in last_line(ended.err) and "Traceback" not in ended.err
                tally.expect(fine, f"{name}, {arguments[0]}: {ended}")
            file.write_bytes(before)
