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
    TOO_FEW_RUNS,
    Interval,
    difference_interval,
    improvement_interval,
    iqm_interval,
    mean_interval,
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
    difference: Interval | None  # mean return of a trial minus that of the first agent
    improvement: Interval | None  # probability that a trial of this agent returns more than one of the first agent


@final
@dataclass(frozen=True)
class Comparison:
    """Agents by name, the first being the one that the others are measured against."""

    title: str
    num_episodes: int
    rows: Mapping[str, Row]
    optimal: OptimalReturn | None
    shared_tasks: bool  # all runs of all agents met the same tasks
    free_episodes: int = 0  # the first ones, which count in no return of a trial

    def table(self) -> str:
        """Aligned plain text; intervals in brackets."""
        return f"{self.title}\n\n{aligned(*self.cells())}\n\n{self.note()}"

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of the table."""
        first = next(iter(self.rows))
        rivals = [] if len(self.rows) == 1 else [f"minus {first}", f"P(> {first})"]
        opening = "first ep (free)" if self.free_episodes else "first ep"
        header = ["agent", "runs", opening, "last ep", "trial, mean", "trial, IQM", *rivals]
        header += [] if self.optimal is None else ["regret"]
        body = [[name, *_cells(row, self.optimal, rivals)] for name, row in self.rows.items()]
        if self.optimal is not None:
            limits = self.optimal.per_episode
            ends = ["", ""] if limits is None else [number(limits[0]), number(limits[-1])]
            label = f"optimum ({self.optimal.kind})"
            body.append([label, "", *ends, number(self.optimal.total, self.optimal.error), "", *[""] * len(rivals)])
            body[-1].append(number(0.0))
        return header, body

    def note(self) -> str:
        """What the intervals mean."""
        runs = [row.runs for row in self.rows.values()]
        seeds = "tasks and runs" if max(runs) > 1 else "tasks"
        text = f"[...] 95 % intervals (Student's t) over {seeds}; IQM: mean of the middle half of the trials."
        if len(runs) > 1:
            paired = "All played the same tasks" if self.shared_tasks else "They played different tasks"
            text += f"\n{paired}, so trials are {'' if self.shared_tasks else 'not '}compared task by task."
        if any(1 < count < TOO_FEW_RUNS for count in runs):
            text += "\nTwo runs are too few: where runs differ much, such intervals hold the truth in 88 %, not 95 %."
        return text

    def figure(self) -> Figure:
        """Adaptation curves, and the mean and interquartile mean of whole trials, with intervals."""
        curves, means, iqms = ({n: getattr(r, key) for n, r in self.rows.items()} for key in ("curve", "total", "iqm"))
        privileged = [name for name, row in self.rows.items() if row.privileged]
        return comparison_figure(
            curves, means, iqms, self.num_episodes, self.optimal, privileged, free_episodes=self.free_episodes
        )

    def save_figure(self, path: str | Path) -> None:
        """Write `figure` as .png or .svg."""
        save_figure(self.figure(), path)


def compare(evaluations: Mapping[str, Sequence[Evaluation]] | Sequence[Evaluation]) -> Comparison:
    """Compare agents, each with one evaluation per run (training seed); a plain sequence is grouped by policy name.

    Intervals are over tasks, and over runs as well where an agent has several. Evaluations with one seed and number of
    tasks met the same tasks, and are compared task by task.
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
    shared = _share_tasks(everything)
    rows = {name: _row(runs, None if runs is reference else reference, shared) for name, runs in groups.items()}
    optimal = next((evaluation.optimal for evaluation in everything if evaluation.optimal is not None), None)
    any_run = everything[0]
    return Comparison(describe_trials(any_run), any_run.num_episodes, rows, optimal, shared, any_run.free_episodes)


def grouped(evaluations: Sequence[Evaluation]) -> dict[str, list[Evaluation]]:
    """Evaluations by policy name, in order of appearance."""
    groups: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(evaluation.policy, []).append(evaluation)
    return groups


def _share_tasks(evaluations: Sequence[Evaluation]) -> bool:
    """Whether all of them met the same tasks."""
    return len({(evaluation.seed, len(evaluation.returns)) for evaluation in evaluations}) == 1


def _row(runs: Sequence[Evaluation], reference: Sequence[Evaluation] | None, all_shared: bool) -> Row:
    own = _share_tasks(runs)
    totals, returns = [run.totals for run in runs], [run.returns for run in runs]
    means = np.concatenate(returns).mean(0)
    difference = improvement = None
    if reference is not None:
        theirs = [run.totals for run in reference]
        difference = difference_interval(totals, theirs, shared_tasks=all_shared)
        improvement = improvement_interval(totals, theirs, shared_tasks=all_shared)
    return Row(
        runs=len(runs),
        tasks=sum(map(len, totals)),
        first=float(means[0]),
        last=float(means[-1]),
        curve=block_curve(returns, own),
        total=mean_interval(totals, shared_tasks=own),
        iqm=iqm_interval(totals, shared_tasks=own),
        privileged=runs[0].privileged,
        difference=difference,
        improvement=improvement,
    )


def _cells(row: Row, optimal: OptimalReturn | None, rivals: Sequence[str]) -> list[str]:
    cells = [str(row.runs), number(row.first), number(row.last), _cell(row.total), _cell(row.iqm)]
    if row.difference is not None and row.improvement is not None:
        cells += [_cell(row.difference), "{:.2f} [{:.2f}, {:.2f}]".format(*row.improvement)]
    else:
        cells += [""] * len(rivals)
    if optimal is not None:
        cells.append("" if row.privileged else number(optimal.total - float(row.total.value)))
    return cells


def _cell(interval: Interval) -> str:
    value, low, high = (number(float(bound)) for bound in interval)
    return f"{value} [{low}, {high}]"
