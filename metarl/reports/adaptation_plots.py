"""Figures of adaptation: curves over episodes and steps, and the returns of whole trials side by side."""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metarl.evaluation.formatting import number
from metarl.evaluation.results import Evaluation, check_comparable
from metarl.evaluation.statistics import Array, Interval, mean_interval
from metarl.reports.style import INK, MUTED, SERIES, label_ends, new_figure, styled
from metarl.tasks.distribution import OptimalReturn

MOST_POINTS = 40  # a longer curve is averaged in blocks


@styled
def adaptation_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """Mean return of each episode with 95 % intervals over tasks. The first policy is emphasised.

    Trials of many episodes are averaged in blocks. The optimum is drawn if it is known for each episode.
    Raises ValueError if the evaluations are not of the same trials.
    """
    check_comparable(evaluations)
    figure = new_figure(7.2, 3.9)
    curves: dict[str, Interval] = {}
    for evaluation in evaluations:
        name = evaluation.policy if evaluation.policy not in curves else f"{evaluation.policy} ({len(curves) + 1})"
        curves[name] = block_curve([evaluation.returns])
    looks = _looks(curves, privileged_policies(evaluations))
    axes = figure.subplots()
    _draw_curves(axes, curves, looks, evaluations[0].num_episodes, evaluations[0].optimal)
    _shade_free(axes, evaluations[0].free_episodes)
    return figure


@styled
def measure_figure(evaluations: Sequence[Evaluation], name: str) -> Figure:
    """Mean of one of the environment's own measures in each episode, with 95 % intervals over tasks.

    Policies without it are left out. Raises ValueError if no policy has it in all episodes of a task.
    """
    check_comparable(evaluations)
    measured = [each for each in evaluations if name in each.measures and np.isfinite(each.measures[name]).all(1).any()]
    if not measured:
        raise ValueError(f"no policy has the measure {name!r} in all episodes of a task")
    values = {each.policy: each.measures[name][np.isfinite(each.measures[name]).all(1)] for each in measured}
    curves = {policy: block_curve([rows]) for policy, rows in values.items()}
    figure = new_figure(7.2, 3.1)
    _draw_curves(
        figure.subplots(),
        curves,
        _looks(curves, privileged_policies(measured)),
        evaluations[0].num_episodes,
        None,
        name,
    )
    return figure


@styled
def comparison_figure(
    curves: Mapping[str, Interval],
    means: Mapping[str, Interval],
    iqms: Mapping[str, Interval],
    num_episodes: int,
    optimal: OptimalReturn | None = None,
    privileged: Collection[str] = (),
    free_episodes: int = 0,
) -> Figure:
    """Adaptation curves as `block_curve` gives them, above the mean and the interquartile mean of whole trials."""
    looks = _looks(curves, privileged)
    figure = new_figure(7.2, 4.3 + 0.3 * len(means))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)  # panels write into their margins
    ratios = [3.2, 0.6 + 0.3 * len(means)]
    axes = figure.subplot_mosaic([["curve", "curve"], ["mean", "iqm"]], height_ratios=ratios)
    _draw_curves(axes["curve"], curves, looks, num_episodes, optimal)
    _shade_free(axes["curve"], free_episodes)
    _draw_totals(axes["mean"], means, looks, optimal and ("optimum", optimal.total), "return of a trial, mean")
    _draw_totals(axes["iqm"], iqms, looks, None, "return of a trial, interquartile mean")
    axes["iqm"].tick_params(labelleft=False)
    return figure


def block_curve(runs: Sequence[Array], shared_tasks: bool = False) -> Interval:
    """Mean return per episode, or per block of episodes in long trials, of runs `[N, K]`, with its interval."""
    block = _block_size(runs[0].shape[1])
    return mean_interval([_blocks(returns.T, block).T for returns in runs], shared_tasks=shared_tasks)


@styled
def step_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """Mean reward at each environment step of the trial, with 95 % intervals; thin rules where episodes begin."""
    check_comparable(evaluations)
    block = -(-max(len(evaluation.step_rewards) for evaluation in evaluations) // (3 * MOST_POINTS))
    figure = new_figure(7.2, 3.4)
    axes = figure.subplots()
    looks = _looks([evaluation.policy for evaluation in evaluations], privileged_policies(evaluations))
    ends = []
    for evaluation in evaluations:
        mean = _blocks(evaluation.step_rewards, block)
        margin = 1.96 * np.sqrt(_blocks(evaluation.step_errors**2, block) / block)  # steps taken as independent
        look = looks[evaluation.policy]
        step = _centres(len(evaluation.step_rewards), block)
        _line_with_band(axes, step, Interval(mean, mean - margin, mean + margin), look)
        ends.append((float(mean[-1]), evaluation.policy, look.color))
    for start in _common_starts(evaluations):
        axes.axvline(start + 0.5, color=MUTED, linewidth=0.7, linestyle=(0, (1, 2)))
    axes.set_xlabel("step of the trial" if block == 1 else f"step of the trial (means of {block})")
    axes.set_ylabel("reward")
    axes.grid(visible=False, axis="x")
    label_ends(axes, ends)
    return figure


@styled
def totals_figure(
    totals: Mapping[str, Interval],
    reference: tuple[str, float] | None = None,
    label: str = "return of a trial",
    privileged: Collection[str] = (),
) -> Figure:
    """One row per policy: its value and interval, and a dashed line at the reference."""
    figure = new_figure(7.2, 0.9 + 0.32 * len(totals))
    _draw_totals(figure.subplots(), totals, _looks(totals, privileged), reference, label)
    return figure


def privileged_policies(evaluations: Sequence[Evaluation]) -> set[str]:
    """The policies that knew the task: no competitors, so they are drawn apart."""
    return {evaluation.policy for evaluation in evaluations if evaluation.privileged}


class _Look(NamedTuple):
    """How a policy is drawn."""

    color: str
    width: float
    dashes: tuple[float, tuple[float, ...]]
    shade: float  # of its band


def _looks(names: Iterable[str], privileged: Collection[str]) -> dict[str, _Look]:
    """The first policy strong, the others finer, the privileged ones grey and dotted."""
    colors = itertools.cycle(SERIES)
    apart = _Look(MUTED, 1.3, (0, (1, 1.5)), 0.1)
    drawn = {name: apart if name in privileged else _Look(next(colors), 1.5, (0, ()), 0.12) for name in names}
    first = next(iter(drawn))
    return {**drawn, first: drawn[first]._replace(width=2.2, shade=0.2)}


def _draw_curves(
    axes: Axes,
    curves: Mapping[str, Interval],
    looks: Mapping[str, _Look],
    num_episodes: int,
    optimal: OptimalReturn | None,
    label: str = "return",
) -> None:
    block = _block_size(num_episodes)
    episode = _centres(num_episodes, block)
    ends = []
    for name, curve in curves.items():
        _line_with_band(axes, episode, curve, looks[name])
        ends.append((float(curve.value[-1]), name, looks[name].color))
    if optimal is not None and optimal.per_episode is not None:
        limit = _blocks(np.asarray(optimal.per_episode), block)
        axes.plot(episode, limit, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        ends.append((float(limit[-1]), "optimum", INK))
    axes.set_xlabel("episode" if block == 1 else f"episode (means of {block})")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    label_ends(axes, ends)


def _shade_free(axes: Axes, free_episodes: int) -> None:
    """A shade behind the episodes that do not count."""
    if free_episodes:
        axes.axvspan(0.5, free_episodes + 0.5, color=MUTED, alpha=0.12, linewidth=0, zorder=0)
        axes.annotate(
            "free",
            (free_episodes + 0.5, 1),
            (-4, -4),
            ("data", "axes fraction"),
            "offset points",
            ha="right",
            va="top",
            color=MUTED,
        )


def _draw_totals(
    axes: Axes,
    totals: Mapping[str, Interval],
    looks: Mapping[str, _Look],
    reference: tuple[str, float] | None,
    label: str,
) -> None:
    for row, (name, (value, low, high)) in enumerate(totals.items()):
        color = looks[name].color
        axes.plot([low, high], [row, row], color=color, linewidth=5, alpha=0.35, solid_capstyle="butt")
        axes.plot(value, row, "o", color=color, markersize=6)
        axes.annotate(number(float(value)), (1, row), (8, 0), ("axes fraction", "data"), "offset points", va="center")
    if reference is not None:
        title, limit = reference
        axes.axvline(limit, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        text, place = f"{title} {number(limit)}", (limit, 1)
        axes.annotate(text, place, (0, 4), ("data", "axes fraction"), "offset points", ha="center")
    axes.set_yticks(range(len(totals)), list(totals))
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(len(totals) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(label)


def _line_with_band(axes: Axes, x: Array, curve: Interval, look: _Look) -> None:
    marker = "o" if len(x) <= 20 else None
    over = 2 + look.width / 10  # the wider line lies on top
    axes.fill_between(x, curve.low, curve.high, color=look.color, alpha=look.shade, linewidth=0)
    axes.plot(
        x,
        curve.value,
        color=look.color,
        linewidth=look.width,
        linestyle=look.dashes if look.dashes[1] else "solid",
        marker=marker,
        markersize=4,
        zorder=over,
    )


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
