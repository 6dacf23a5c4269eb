"""The log of a run: its files, its columns and its rows."""

import csv
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

Rows = Sequence[Mapping[str, float]]


RETURNS = ("rollout/episode_return", "rollout/return", "rollout/ep_rew_mean")  # names in use, the first wins


def read_progress(path: str | Path) -> list[dict[str, float]]:
    """The rows of a progress.csv as Stable-Baselines3's logger writes it; what is not a number is left out."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {name: value for name, text in row.items() if (value := _float(text)) is not None}
            for row in csv.DictReader(file)
        ]


def return_column(rows: Rows) -> str:
    """The column that holds the return of the training rollouts. ValueError if there is none."""
    names = {name for row in rows for name in row}
    likely = sorted(name for name in names if "return" in name or "rew" in name)
    for name in (*RETURNS, *likely):
        if name in names:
            return name
    raise ValueError(f"no column of returns among {sorted(names)}")


def _float(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


STEPS = "time/total_timesteps"  # the column that says when a row was written, as in Stable-Baselines3


def has_tensorboard() -> bool:
    """Whether the optional TensorBoard writer is installed."""
    return importlib.util.find_spec("tensorboard") is not None


def progress_files(folder: Path) -> list[tuple[int, Path]]:
    """Progress files with the step each begins at, in order."""
    starts = ((file.stem.removeprefix("progress").lstrip("-") or "0", file) for file in folder.glob("progress*.csv"))
    return sorted((int(start), file) for start, file in starts if start.isdecimal())


def numeric_rows(file: Path) -> list[dict[str, float]]:
    """The numbers of each row of one progress file; a crash can leave a last line that is torn."""
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1].splitlines()
    rows = ({name: float(value) for name, value in row.items() if _is_number(value)} for row in csv.DictReader(whole))
    return [row for row in rows if STEPS in row]


def _is_number(text: str | None) -> bool:
    try:
        float(text or "")
    except ValueError:
        return False
    return True
