"""Curves: adaptation over episodes and steps, learning over training, and totals side by side."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metarl.figures import INK, MUTED, SERIES, label_ends, new_figure, styled
from metarl.results import Evaluation
from metarl.statistics import Array, Interval, bootstrap_interval
from metarl.tables import check_comparable, number
from metarl.tasks import OptimalReturn

Rows = Sequence[Mapping[str, float]]

MOST_POINTS = 40  # a longer curve is averaged in blocks
STEPS = "time/total_timesteps"


@styled
def adaptation_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """Mean return of each episode with 95 % intervals over tasks; the first policy is the one that matters.

    Trials of many episodes are averaged in blocks. The optimum is drawn where it is known by episode.
    ValueError if the evaluations are not of the same trials.
    """
    check_comparable(evaluations)
    figure = new_figure(7.2, 3.9)
    curves: dict[str, Interval] = {}
    for evaluation in evaluations:
        name = evaluation.policy if evaluation.policy not in curves else f"{evaluation.policy} ({len(curves) + 1})"
        curves[name] = block_curve([evaluation.returns])
    _draw_curves(figure.subplots(), curves, evaluations[0].num_episodes, evaluations[0].optimal)
    return figure


@styled
def comparison_figure(
    curves: Mapping[str, Interval],
    means: Mapping[str, Interval],
    iqms: Mapping[str, Interval],
    num_episodes: int,
    optimal: OptimalReturn | None = None,
) -> Figure:
    """Adaptation curves as `block_curve` gives them, above the mean and the interquartile mean of whole trials."""
    figure = new_figure(7.2, 4.3 + 0.3 * len(means))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)  # panels write into their margins
    ratios = [3.2, 0.6 + 0.3 * len(means)]
    axes = figure.subplot_mosaic([["curve", "curve"], ["mean", "iqm"]], height_ratios=ratios)
    _draw_curves(axes["curve"], curves, num_episodes, optimal)
    _draw_totals(axes["mean"], means, optimal and ("optimum", optimal.total), "return of a trial, mean")
    _draw_totals(axes["iqm"], iqms, None, "return of a trial, interquartile mean")
    axes["iqm"].tick_params(labelleft=False)
    return figure


def block_curve(strata: Sequence[Array], resample_strata: bool = False) -> Interval:
    """Mean return per episode, or per block of episodes in long trials, of runs `[N, K]`, with a bootstrap interval."""
    block = _block_size(strata[0].shape[1])
    blocks = [_blocks(returns.T, block).T for returns in strata]
    return bootstrap_interval(blocks, np.random.default_rng(0), resample_strata=resample_strata)


@styled
def step_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """Mean reward at each environment step of the trial, with 95 % intervals; thin rules where episodes begin."""
    check_comparable(evaluations)
    block = -(-max(len(evaluation.step_rewards) for evaluation in evaluations) // (3 * MOST_POINTS))
    figure = new_figure(7.2, 3.4)
    axes = figure.subplots()
    ends = []
    for i, evaluation in enumerate(evaluations):
        mean = _blocks(evaluation.step_rewards, block)
        margin = 1.96 * np.sqrt(_blocks(evaluation.step_errors**2, block) / block)  # steps taken as independent
        _line_with_band(
            axes, _centres(len(evaluation.step_rewards), block), Interval(mean, mean - margin, mean + margin), i
        )
        ends.append((float(mean[-1]), evaluation.policy, _color(i)))
    for start in _common_starts(evaluations):
        axes.axvline(start + 0.5, color=MUTED, linewidth=0.7, linestyle=(0, (1, 2)))
    axes.set_xlabel("step of the trial" if block == 1 else f"step of the trial (means of {block})")
    axes.set_ylabel("reward")
    axes.grid(visible=False, axis="x")
    label_ends(axes, ends)
    return figure


@styled
def totals_figure(
    totals: Mapping[str, Interval], reference: tuple[str, float] | None = None, label: str = "return of a trial"
) -> Figure:
    """One row per policy: its value and interval, and a dashed line at the reference."""
    figure = new_figure(7.2, 0.9 + 0.32 * len(totals))
    _draw_totals(figure.subplots(), totals, reference, label)
    return figure


@styled
def learning_figure(runs: Mapping[str, Rows], column: str | None = None) -> Figure:
    """A column of the training logs over environment steps, one line a run; by default the return of the rollouts.

    ValueError if no run has the column.
    """
    chosen = column if column is not None else return_column([row for rows in runs.values() for row in rows])
    figure = new_figure(7.2, 3.2)
    axes = figure.subplots()
    ends = []
    for i, (name, rows) in enumerate(runs.items()):
        points = [(row[STEPS], row[chosen]) for row in rows if STEPS in row and chosen in row]
        if points:
            steps, values = np.array(points).T
            axes.plot(steps, values, color=_color(i), linewidth=1.2)
            ends.append((float(values[-1]), name, _color(i)))
    if not ends:
        raise ValueError(f"no run logged {chosen!r} over {STEPS!r}")
    axes.set_xlabel("environment steps in meta-training")
    axes.set_ylabel(chosen.rpartition("/")[2].replace("_", " "))
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
    """The column that holds the return of the training rollouts, by the names in use. ValueError if there is none."""
    names = {name for row in rows for name in row}
    for wish in ("rollout/return", "rollout/trial_return", "rollout/ep_rew_mean"):
        if wish in names:
            return wish
    likely = sorted(name for name in names if "return" in name or "rew" in name)
    if not likely:
        raise ValueError(f"no column of returns among {sorted(names)}")
    return likely[0]


def short(steps: float) -> str:
    """A number of steps as people say it: 250k, 1.5M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(steps) >= size:
            return f"{steps / size:g}{letter}"
    return f"{steps:g}"


def _draw_curves(axes: Axes, curves: Mapping[str, Interval], num_episodes: int, optimal: OptimalReturn | None) -> None:
    block = _block_size(num_episodes)
    episode = _centres(num_episodes, block)
    ends = []
    for i, (name, curve) in enumerate(curves.items()):
        _line_with_band(axes, episode, curve, i)
        ends.append((float(curve.value[-1]), name, _color(i)))
    if optimal is not None and optimal.per_episode is not None:
        limit = _blocks(np.asarray(optimal.per_episode), block)
        axes.plot(episode, limit, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        ends.append((float(limit[-1]), "optimum", INK))
    axes.set_xlabel("episode" if block == 1 else f"episode (means of {block})")
    axes.set_ylabel("return")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    label_ends(axes, ends)


def _draw_totals(axes: Axes, totals: Mapping[str, Interval], reference: tuple[str, float] | None, label: str) -> None:
    for row, (value, low, high) in enumerate(totals.values()):
        axes.plot([low, high], [row, row], color=_color(row), linewidth=5, alpha=0.35, solid_capstyle="butt")
        axes.plot(value, row, "o", color=_color(row), markersize=6)
        axes.annotate(number(float(value)), (1, row), (8, 0), ("axes fraction", "data"), "offset points", va="center")
    if reference is not None:
        name, limit = reference
        axes.axvline(limit, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        text, place = f"{name} {number(limit)}", (limit, 1)
        axes.annotate(text, place, (0, 4), ("data", "axes fraction"), "offset points", ha="center")
    axes.set_yticks(range(len(totals)), list(totals))
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(len(totals) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label)


def _line_with_band(axes: Axes, x: Array, curve: Interval, index: int) -> None:
    marker = "o" if len(x) <= 20 else None
    width = 2.2 if index == 0 else 1.5
    axes.fill_between(x, curve.low, curve.high, color=_color(index), alpha=0.2 if index == 0 else 0.12, linewidth=0)
    axes.plot(
        x, curve.value, color=_color(index), linewidth=width, marker=marker, markersize=4, zorder=3 - 0.01 * index
    )


def _color(index: int) -> str:
    return SERIES[index % len(SERIES)]


def _block_size(length: int) -> int:
    return -(-length // MOST_POINTS)


def _blocks(values: Array, block: int) -> Array:
    """Means of consecutive blocks along the first axis; the last block may be shorter."""
    starts = np.arange(0, len(values), block)
    sizes = np.diff([*starts, len(values)]).reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(np.add.reduceat(values, starts, axis=0) / sizes)


def _centres(length: int, block: int) -> Array:
    """The middle of each block, counted from 1."""
    return _blocks(np.arange(1.0, length + 1), block)


def _common_starts(evaluations: Sequence[Evaluation]) -> list[int]:
    """Steps after which a new episode begins in every trial alike; none if episodes vary in length or are many."""
    steps = np.concatenate([evaluation.steps for evaluation in evaluations])
    if steps.shape[1] > 20 or (steps != steps[0, 0]).any() or steps[0, 0] == 1:
        return []
    return [int(end) for end in steps[0].cumsum()[:-1]]


def _float(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
