"""The picture of Meta-World's ML1: how many unseen layouts are solved in each episode of a trial."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from metarl.envs.meta_world import ADAPTATION
from metarl.evaluation.statistics import Interval
from metarl.reports.style import MUTED, SERIES, new_figure, styled

STYLES: dict[str, dict[str, Any]] = {
    "drawn": {"label": "drawn actions", "color": SERIES[0], "marker": "o"},
    "most likely": {"label": "most likely actions", "color": SERIES[1], "marker": "s"},
}


@styled
def meta_world_figure(curves: Mapping[str, Mapping[str, Interval]]) -> Figure:
    """A panel for each environment; `curves[environment][actions]` is the success in each episode."""
    figure = new_figure(3.4 * len(curves) + 0.6, 2.9)
    panels = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
    for axes, (environment, ways) in zip(panels, curves.items(), strict=True):
        for actions, (success, low, high) in ways.items():
            episodes = np.arange(1, len(success) + 1)
            axes.plot(episodes, success, markersize=4, **STYLES[actions])
            axes.fill_between(episodes, low, high, color=STYLES[actions]["color"], alpha=0.15, linewidth=0)
        axes.axvline(ADAPTATION + 0.5, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set_title(environment)
        axes.set_ylim(-0.02, 1.02)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(STYLES))
    figure.supxlabel("episode in an unseen layout: ten to adapt, three that count", color=MUTED, fontsize=9.5)
    figure.supylabel("success", color=MUTED, fontsize=9.5)
    return figure
