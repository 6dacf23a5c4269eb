"""How training went, from the logs of runs."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from metarl.figures import SERIES, label_ends, new_figure, styled
from metarl.statistics import Array
from metarl.tables import number

Rows = Sequence[Mapping[str, float]]

STEPS = "time/total_timesteps"
RETURNS = ("rollout/episode_return", "rollout/return", "rollout/ep_rew_mean")  # names in use, the first wins


@styled
def learning_figure(runs: Mapping[str, Rows], column: str | None = None) -> Figure:
    """A column of the training logs over environment steps, one line a run; by default the return of the rollouts.

    ValueError if no run has the column.
    """
    label, series = _series(runs, column)
    figure = new_figure(7.2, 3.2)
    axes = figure.subplots()
    ends = []
    for i, (name, (steps, values)) in enumerate(series.items()):
        color = SERIES[i % len(SERIES)]
        axes.plot(steps, values, color=color, linewidth=1.4)
        ends.append((float(values[-1]), name, color))
    axes.set_xlabel("environment steps in meta-training")
    axes.set_ylabel(label)
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    label_ends(axes, ends if len(ends) > 1 else [(ends[0][0], number(ends[0][0]), SERIES[0])])
    return figure


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


def short(steps: float) -> str:
    """A number of steps as people say it: 250k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(steps) >= size:
            return f"{steps / size:g}{letter}"
    return f"{steps:g}"


def _series(runs: Mapping[str, Rows], column: str | None) -> tuple[str, dict[str, Array]]:
    """What the curves show, and for each run that logged it `[2, points]`: steps and values."""
    everything = [row for rows in runs.values() for row in rows]
    chosen = return_column(everything) if column is None else column
    series = {}
    for name, rows in runs.items():
        whole = [row for row in rows if STEPS in row and chosen in row]
        if whole:
            series[name] = np.array([[row[STEPS] for row in whole], [row[chosen] for row in whole]])
    if not series:
        raise ValueError(f"no run logged {chosen!r} over {STEPS!r}")
    return chosen.rpartition("/")[2].replace("_", " "), series


def _float(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
