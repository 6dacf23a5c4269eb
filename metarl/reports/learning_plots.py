"""Learning curves, from the logs of runs."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from metarl.evaluation.formatting import number
from metarl.evaluation.statistics import Array
from metarl.reports.style import SERIES, label_ends, new_figure, styled
from metarl.training.logs import RETURN, STEPS, Rows


@styled
def learning_figure(runs: Mapping[str, Rows], column: str = RETURN) -> Figure:
    """A column of the training logs over environment steps, one line for each run. Default: the return of rollouts.

    Raises ValueError if no run has the column.
    """
    series = _series(runs, column)
    figure = new_figure(7.2, 3.2)
    axes = figure.subplots()
    ends = []
    for i, (name, (steps, values)) in enumerate(series.items()):
        color = SERIES[i % len(SERIES)]
        axes.plot(steps, values, color=color, linewidth=1.4)
        ends.append((float(values[-1]), name, color))
    axes.set_xlabel("environment steps in meta-training")
    axes.set_ylabel("return of an episode" if column == RETURN else column.rpartition("/")[2].replace("_", " "))
    axes.xaxis.set_major_formatter(lambda value, _: short(value))
    label_ends(axes, ends if len(ends) > 1 else [(ends[0][0], number(ends[0][0]), SERIES[0])])
    return figure


def short(steps: float) -> str:
    """A number of steps in short form: 250k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(steps) >= size:
            return f"{steps / size:g}{letter}"
    return f"{steps:g}"


def _series(runs: Mapping[str, Rows], column: str) -> dict[str, Array]:
    """For each run that logged the column `[2, points]`: steps and values."""
    series = {}
    for name, rows in runs.items():
        whole = [row for row in rows if STEPS in row and column in row]
        if whole:
            series[name] = np.array([[row[STEPS] for row in whole], [row[column] for row in whole]])
    if not series:
        raise ValueError(f"no run logged {column!r} over {STEPS!r}")
    return series
