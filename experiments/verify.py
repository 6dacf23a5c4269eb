"""Train a result again by the command in its file, and compare what comes out.

    python experiments/verify.py bandit-10-gru-seed0

The run and its result stay in a temporary folder; `experiments/results/` is not touched. Means may differ by chance of
the test trials: within three standard errors of both is called the same.
"""

import json
import runpy
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script

from experiments import reproduction
from experiments.reproduction import Numbers, standard_error


def main(name: tyro.conf.Positional[str]) -> int:
    """Train again and compare; the exit status is 0 if the result is the same.

    Args:
        name: A file of experiments/results/, without .json.
    """
    file = reproduction.RESULTS / f"{name}.json"
    if not file.is_file():
        raise SystemExit(f"no result {name!r} in {reproduction.RESULTS}")
    known = json.loads(file.read_text(encoding="utf-8"))
    if "command" not in known:
        raise SystemExit(f"{file.name} holds no command")
    before = measured(known)
    with tempfile.TemporaryDirectory() as folder:
        again = repeated(known["command"], name, Path(folder))
    for field in ("commit", "options", "hardware"):
        if known.get(field) != again.get(field):
            print(f"{field}: {known.get(field)} then, {again.get(field)} now")
    now = measured(again)
    same = agree(before, now)
    print(f"{name}: {before.mean} then, {now.mean} now: {'the same' if same else 'NOT the same'}")
    return 0 if same else 1


class Measured(NamedTuple):
    """Means of a result and their standard errors, of one shape."""

    mean: Numbers
    error: Numbers


def measured(row: dict[str, Any]) -> Measured:
    """What a result says; SystemExit if it holds neither means with errors nor what each task returned.

    Of returns or successes by the kind of actions, those of one kind: the one that all files have.
    """
    if "mean" in row and "error" in row:
        return Measured(np.asarray(row["mean"], float), np.asarray(row["error"], float))
    if "returns" in row:
        actions = row["actions"] if row["actions"] in row["returns"] else next(iter(row["returns"]))
        tasks = np.asarray(row["returns"][actions], float)
    elif "drawn" in row:
        tasks = np.asarray(row["drawn"]["success"], float)
    else:
        raise SystemExit("the file holds no means to compare")
    return Measured(tasks.mean(0), standard_error(tasks))


def repeated(command: str, name: str, folder: Path) -> dict[str, Any]:
    """The result that the command writes, with `folder` in place of the folders of runs and results."""
    _, _, module, *arguments = shlex.split(command)  # python -m MODULE ...
    before = reproduction.RUNS, reproduction.RESULTS, sys.argv
    reproduction.RUNS, reproduction.RESULTS, sys.argv = folder / "runs", folder, [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        reproduction.RUNS, reproduction.RESULTS, sys.argv = before
    result: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return result


def agree(one: Measured, other: Measured) -> bool:
    """Whether all means lie within three standard errors of both."""
    return bool(np.all(np.abs(one.mean - other.mean) <= 3 * np.hypot(one.error, other.error)))


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
