"""The picture of plugged-in families: how each agent does from episode to episode of a trial in unseen tasks."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metarl.evaluation.statistics import Interval
from metarl.reports.style import MUTED, SERIES, new_figure, styled

Method = Literal["rl2", "rl2-gru", "randomised", "oracle"]
STYLES: dict[Method, dict[str, Any]] = {
    "rl2": {"label": "RL², Transformer", "color": SERIES[0], "marker": "o"},
    "rl2-gru": {"label": "RL², GRU", "color": SERIES[2], "marker": "D"},
    "randomised": {"label": "PPO, domain randomisation", "color": SERIES[1], "marker": "s"},
    "oracle": {"label": "PPO told the task", "color": MUTED, "marker": "^"},
}
COLUMNS = 4


@styled
def gym_families_figure(curves: Mapping[str, Mapping[Method, Interval]]) -> Figure:
    """A panel for each family; `curves[family][method]` are the returns of episodes with their intervals."""
    lines = -(-len(curves) // COLUMNS)
    figure = new_figure(11.0, 2.6 * lines + 0.3)
    panels = figure.subplots(lines, COLUMNS, squeeze=False).ravel()
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    for axes, (family, methods) in zip(panels, curves.items(), strict=False):
        for method, (value, low, high) in methods.items():
            aside = 0.05 * list(STYLES).index(method)  # so that intervals do not hide each other
            episode = np.arange(1, len(value) + 1) + aside
            axes.errorbar(episode, value, (value - low, high - value), markersize=4, **STYLES[method])
        low, high = axes.get_ylim()
        room = max(0.0, 0.02 * abs(high) - (high - low))  # what is equal shall look so
        axes.set_ylim(low - room, high + room)
        axes.set_title(family)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    known = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    labels = [style["label"] for style in STYLES.values() if style["label"] in known]
    figure.legend([known[label] for label in labels], labels, loc="outside upper center", ncols=len(labels))
    figure.supxlabel("episode of a trial in an unseen task", color=MUTED, fontsize=9.5)
    figure.supylabel("return", color=MUTED, fontsize=9.5)
    return figure
