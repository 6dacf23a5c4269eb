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
from typing import Any

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script

from experiments import reproduction


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
    with tempfile.TemporaryDirectory() as folder:
        again = repeated(known["command"], name, Path(folder))
    for field in ("commit", "options", "hardware"):
        if known.get(field) != again.get(field):
            print(f"{field}: {known.get(field)} then, {again.get(field)} now")
    same = agrees(known, again)
    print(f"{name}: {known['mean']} then, {again['mean']} now: {'the same' if same else 'NOT the same'}")
    return 0 if same else 1


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


def agrees(known: dict[str, Any], again: dict[str, Any]) -> bool:
    """Whether all means lie within three standard errors of both."""
    errors = np.hypot(np.asarray(known["error"]), np.asarray(again["error"]))
    return bool(np.all(np.abs(np.asarray(known["mean"]) - np.asarray(again["mean"])) <= 3 * errors))


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
