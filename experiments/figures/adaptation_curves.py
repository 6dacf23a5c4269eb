"""The picture of adaptation on one axis of environment steps: how soon each method does well in a task it never met."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from metarl.reports.style import MUTED, SERIES, label_ends, new_figure, styled

BLUE, VERMILLION, GREEN, PINK = SERIES[:4]
FIRST_STEP, BOTTOM, TOP = 10, -68.0, 3.0
DASHED, DOTTED = (0, (4, 2)), (0, (1, 2))


class Look(NamedTuple):
    """How a method is drawn: those of one family share a colour."""

    color: str
    linestyle: Any = "solid"
    linewidth: float = 2.2


LOOKS = {
    "rl2": Look(BLUE, linewidth=3.0),
    "maml-trpo": Look(GREEN),
    "promp": Look(GREEN, DASHED, 1.5),
    "fine-tuning": Look(VERMILLION),
    "fine-tuning-head": Look(VERMILLION, DASHED, 1.5),
    "scratch": Look(MUTED),
}


@styled
def adaptation_curves_figure(rows: Mapping[str, Any], known_goal: float, standing_still: float) -> Figure:
    """Mean return of the episodes of each block `rows[name]["value"]` over the steps in which they were experienced.

    What changes between two blocks makes a stair; bands are the intervals `low` to `high`.
    """
    figure = new_figure(7.8, 4.4)
    axes = figure.subplots()
    last = max(row["steps"][-1] for row in rows.values())
    for name, row in rows.items():
        _draw_stairs(axes, row, LOOKS[name])
    for level, text in ((known_goal, "the goal is known"), (standing_still, "standing still")):
        axes.axhline(level, color=MUTED, linewidth=0.8, linestyle=DOTTED, zorder=1)
        axes.annotate(text, (FIRST_STEP, level), (3, 3), textcoords="offset points", color=MUTED, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(FIRST_STEP, last)
    axes.set_ylim(BOTTOM, TOP)
    axes.xaxis.set_major_locator(FixedLocator([10, 100, 1000, 4000, 10_000, 30_000]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", "\u2009")))
    axes.set_xlabel("environment steps spent in the unseen task")
    axes.set_ylabel("return of an episode")
    _label(axes, rows, last)
    return figure


def _draw_stairs(axes: Axes, row: Mapping[str, Any], look: Look) -> None:
    """Each block is a level from the step where it began to the step where it ended."""
    steps = [FIRST_STEP / 10, *row["steps"]]
    value, low, high = ([row[name][0], *row[name]] for name in ("value", "low", "high"))
    axes.fill_between(steps, low, high, step="pre", color=look.color, alpha=0.055 * look.linewidth, linewidth=0)
    axes.step(steps, value, where="pre", color=look.color, linestyle=look.linestyle, linewidth=look.linewidth)


def _label(axes: Axes, rows: Mapping[str, Any], last: float) -> None:
    """Names at the right edge, where a leader takes the eye; beside its end where a line ends long before."""
    ends = []
    for name, row in rows.items():
        step, value, color = row["steps"][-1], row["value"][-1], LOOKS[name].color
        if step < 0.9 * last:
            axes.plot(step, value, color=color, marker="o", markersize=4.5)
        if step < last / 4:
            place: Any = {"xytext": (7, -1), "textcoords": "offset points", "va": "center", "fontsize": 9}
            axes.annotate(row["title"], (step, value), color=color, **place)
        else:
            axes.plot([step, last], [value, value], color=color, linewidth=0.8, linestyle=DOTTED)
            ends.append((value, row["title"], color))
    label_ends(axes, ends)
