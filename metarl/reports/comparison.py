"""Several runs or seeds side by side: one table and one plot, with intervals over tasks and seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from matplotlib.figure import Figure

from metarl.evaluation.formatting import aligned, number
from metarl.evaluation.results import Evaluation, check_comparable, describe_trials
from metarl.evaluation.statistics import (
    Interval,
    bootstrap_interval,
    improvement_interval,
    resampled_iqm,
    resampled_mean,
)
from metarl.reports.adaptation_plots import block_curve, comparison_figure
from metarl.reports.style import save_figure
from metarl.tasks.distribution import OptimalReturn


@final
@dataclass(frozen=True)
class Row:
    """One agent over all its runs; intervals are at 95 %."""

    runs: int
    tasks: int  # trials of all runs together
    first: float  # mean return of the first episode
    last: float  # mean return of the last episode
    curve: Interval  # mean return per episode, or block of episodes in long trials
    total: Interval  # mean return of a trial
    iqm: Interval  # interquartile mean of the return of a trial
    privileged: bool  # knows the task
    improvement: Interval | None  # probability that a trial of this agent returns more than one of the first agent


@final
@dataclass(frozen=True)
class Comparison:
    """Agents by name, the first being the one that the others are measured against."""

    title: str
    num_episodes: int
    rows: Mapping[str, Row]
    optimal: OptimalReturn | None

    def table(self) -> str:
        """Aligned plain text; intervals in brackets."""
        return f"{self.title}\n\n{aligned(*self.cells())}\n\n{self.note()}"

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the table."""
        first = next(iter(self.rows))
        header = ["agent", "runs", "first ep", "last ep", "trial, mean", "trial, IQM", f"P(> {first})"]
        header += [] if self.optimal is None else ["regret"]
        body = [[name, *_cells(row, self.optimal)] for name, row in self.rows.items()]
        if self.optimal is not None:
            limits = self.optimal.per_episode
            ends = ["", ""] if limits is None else [number(limits[0]), number(limits[-1])]
            label = f"optimum ({self.optimal.kind})"
            body.append([label, "", *ends, number(self.optimal.total, self.optimal.error), "", "", number(0.0)])
        return header, body

    def note(self) -> str:
        """What the intervals mean."""
        seeds = "tasks and runs" if any(row.runs > 1 for row in self.rows.values()) else "tasks"
        return f"[...] 95 % stratified bootstrap intervals over {seeds}; IQM: mean of the middle half of the trials."

    def figure(self) -> Figure:
        """Adaptation curves, and the mean and interquartile mean of whole trials, with intervals."""
        curves, means, iqms = ({n: getattr(r, key) for n, r in self.rows.items()} for key in ("curve", "total", "iqm"))
        told = [name for name, row in self.rows.items() if row.privileged]
        return comparison_figure(curves, means, iqms, self.num_episodes, self.optimal, told)

    def save_figure(self, path: str | Path) -> None:
        """Write `figure` as .png or .svg."""
        save_figure(self.figure(), path)


def compare(evaluations: Mapping[str, Sequence[Evaluation]] | Sequence[Evaluation]) -> Comparison:
    """Compare agents, each with one evaluation per run (training seed); a plain sequence is grouped by policy name.

    Tasks are resampled within each run, and runs as well where an agent has several.
    ValueError if the evaluations are not of the same distribution, split and number of episodes.

    >>> compare([])
    Traceback (most recent call last):
    ValueError: nothing to compare: no evaluations were given
    """
    groups = evaluations if isinstance(evaluations, Mapping) else grouped(evaluations)
    everything = [evaluation for runs in groups.values() for evaluation in runs]
    check_comparable(everything)
    if empty := [name for name, runs in groups.items() if not runs]:
        raise ValueError(f"no evaluations of {', '.join(empty)}")
    reference = next(iter(groups.values()))
    rows = {name: _row(runs, None if runs is reference else reference) for name, runs in groups.items()}
    optimal = next((evaluation.optimal for evaluation in everything if evaluation.optimal is not None), None)
    return Comparison(describe_trials(everything[0]), everything[0].num_episodes, rows, optimal)


def grouped(evaluations: Sequence[Evaluation]) -> dict[str, list[Evaluation]]:
    """Evaluations by policy name, in order of appearance."""
    groups: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(evaluation.policy, []).append(evaluation)
    return groups


def _row(runs: Sequence[Evaluation], reference: Sequence[Evaluation] | None) -> Row:
    nested = len(runs) > 1
    totals = [run.totals for run in runs]
    means = np.concatenate([run.returns for run in runs]).mean(0)
    improvement = None
    if reference is not None:
        theirs = [run.totals for run in reference]
        several = nested or len(theirs) > 1
        improvement = improvement_interval(totals, theirs, _stream(), resample_strata=several)
    mean, iqm = (
        bootstrap_interval(totals, _stream(), statistic, resample_strata=nested)
        for statistic in (resampled_mean, resampled_iqm)
    )
    return Row(
        runs=len(runs),
        tasks=sum(map(len, totals)),
        first=float(means[0]),
        last=float(means[-1]),
        curve=block_curve([run.returns for run in runs], resample_strata=nested),
        total=mean,
        iqm=iqm,
        privileged=runs[0].privileged,
        improvement=improvement,
    )


def _cells(row: Row, optimal: OptimalReturn | None) -> list[str]:
    improvement = "" if row.improvement is None else "{:.2f} [{:.2f}, {:.2f}]".format(*row.improvement)
    cells = [str(row.runs), number(row.first), number(row.last), _cell(row.total), _cell(row.iqm), improvement]
    if optimal is not None:
        cells.append("" if row.privileged else number(optimal.total - float(row.total.value)))
    return cells


def _cell(interval: Interval) -> str:
    value, low, high = (number(float(bound)) for bound in interval)
    return f"{value} [{low}, {high}]"


def _stream() -> np.random.Generator:
    """Fixed, so that the same runs always show the same intervals."""
    return np.random.default_rng(0)
