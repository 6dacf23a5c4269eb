"""The picture of half-cheetahs: how returns grew in meta-training, and how they adapt in unseen tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metarl.reports.style import MUTED, SERIES, new_figure, styled

COLORS = {"rl2": SERIES[0], "maml": SERIES[2]}
NAMES = {"rl2": "RL²", "maml": "MAML"}


@styled
def half_cheetah_figure(
    rows: Sequence[Mapping[str, Any]], published: Mapping[str, Sequence[float]], oracle: Mapping[str, float]
) -> Figure:
    """A line of panels for each goal that has results: learning curves on the left, adaptation on the right."""
    goals = [goal for goal in published if any(row["cell"].endswith(goal) for row in rows)]
    figure = new_figure(8.6, 3.0 * len(goals))
    panels = figure.subplots(len(goals), 2, squeeze=False, sharey="row")
    for goal, (learning, adaptation) in zip(goals, panels, strict=True):
        chosen = [row for row in rows if row["cell"].endswith(goal)]
        _draw_learning(learning, chosen)
        _draw_adaptation(adaptation, chosen, published[goal])
        for axes in (learning, adaptation):
            axes.axhline(oracle[goal], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        learning.set_ylabel(f"half-cheetah {goal}:\nreturn of an episode")
    panels[-1, 0].set_xlabel("million environment steps of meta-training")
    panels[-1, 1].set_xlabel("episodes (RL²) or gradient steps (MAML) in an unseen task")
    return figure


def _draw_learning(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Return of an episode: of RL²'s whole trials, of MAML's after adaptation."""
    for row in rows:
        agent = row["cell"].split("-")[0]
        steps, value = zip(*row["curve"], strict=True)
        axes.plot([step / 1e6 for step in steps], value, color=COLORS[agent], linewidth=1.8)


def _draw_adaptation(axes: Axes, rows: Sequence[Mapping[str, Any]], published: Sequence[float]) -> None:
    """Markers with standard errors, and the published returns as rings."""
    for row in rows:
        agent = row["cell"].split("-")[0]
        first = 1 if agent == "rl2" else 0  # its first episode is numbered; MAML starts before any step
        places = range(first, first + len(row["mean"]))
        axes.errorbar(places, row["mean"], row["error"], color=COLORS[agent], marker="o", label=NAMES[agent])
    rings: Any = {"markerfacecolor": "none", "linestyle": "none", "marker": "o", "markersize": 9}
    axes.plot(range(len(published)), published, color=MUTED, label="MAML, Finn et al. 2017", **rings)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right")
