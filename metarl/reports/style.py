"""The look of every figure: one style, colours that colour-blind readers can tell apart, and two ways out.

Figures are drawn on `matplotlib.figure.Figure` without pyplot, so nothing outside a function is touched. `png` is for
files. `svg` is for pages that are read by day and by night: it leaves the ground open and names the inks as CSS
variables, so the page decides what they look like.
"""

import functools
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from metarl.files import write_atomically

P = ParamSpec("P")


INK, MUTED, RULE = "#23262b", "#6c727c", "#d5d8dd"


# Okabe and Ito's colours, the agent's blue first; the yellow is left out, it vanishes on white
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b", "#7f7f7f")
GOAL = SERIES[2]
STYLE: Any = {  # matplotlib types the keys of its settings one by one
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=SERIES),
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "figure.dpi": 150,
    "svg.fonttype": "path",
    "svg.hashsalt": "metarl",  # equal figures give equal files
}


# transparent where there is nothing, so that it works on any ground
HEAT = LinearSegmentedColormap.from_list("metarl-heat", [(*to_rgb(SERIES[0]), a) for a in (0.0, 1.0)])
CSS_VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", **{c: f"--series-{i}" for i, c in enumerate(SERIES)}}


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a drawing function in the style of this module, and leave matplotlib's settings as they were."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float, layout: Literal["constrained", "compressed"] = "constrained") -> Figure:
    """An empty figure in inches that leaves room for all its labels; `compressed` is for axes of equal aspect."""
    return Figure(figsize=(width, height), layout=layout)


def png(figure: Figure) -> bytes:
    """The figure as a PNG on white."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """The figure as an `<svg>` element for a page that defines the variables of `CSS_VARIABLES`."""
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' id="[a-zA-Z0-9]+_\d+"', "", text)  # groups of several figures on a page would share them
    for color, variable in CSS_VARIABLES.items():
        text = text.replace(color, f"var({variable})")
    return text


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write `figure` as PNG or SVG, by the ending of `path`; a reader never sees half a file."""
    target = Path(path)
    if target.suffix not in (".png", ".svg"):
        raise ValueError(f"figures are written as .png or .svg, got {target.name}")
    if target.suffix == ".png":
        write_atomically(target, png(figure))
        return
    text = svg(figure)
    for color, variable in CSS_VARIABLES.items():
        text = text.replace(f"var({variable})", color)
    write_atomically(target, text)


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write (height, text, colour) to the right of the lines that end there, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    figure = axes.get_figure(root=True)
    assert figure is not None
    room = axes.get_position().height * figure.get_size_inches()[1] * 72
    order = sorted(range(len(ends)), key=lambda i: ends[i][0])
    wanted = np.array([(ends[i][0] - low) / (high - low) for i in order])
    for place, index in zip(_spread(wanted, 12.5 / room), order, strict=True):
        _, text, color = ends[index]
        axes.annotate(
            text, (1, place), (8, 0), "axes fraction", textcoords="offset points", va="center", color=color, fontsize=9
        )


def _spread(places: np.ndarray[Any, Any], gap: float) -> list[float]:
    """The nearest ascending places at least `gap` apart: clusters of close places are centred on their mean."""
    clusters: list[list[float]] = []  # [sum of wished starts, count]
    for place in places:
        clusters.append([float(place), 1])
        while len(clusters) > 1 and _start(clusters[-1], gap) < _start(clusters[-2], gap) + clusters[-2][1] * gap:
            total, count = clusters.pop()
            clusters[-1][0] += total
            clusters[-1][1] += count
    return [_start(cluster, gap) + i * gap for cluster in clusters for i in range(int(cluster[1]))]


def _start(cluster: list[float], gap: float) -> float:
    return cluster[0] / cluster[1] - (cluster[1] - 1) * gap / 2


def bare(axes: Axes) -> None:
    """No grid, spines or tick labels: for pictures. The ticks stay, axes that share them may show theirs."""
    axes.grid(visible=False)
    axes.tick_params(labelbottom=False, labelleft=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
