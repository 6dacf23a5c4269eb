"""The picture of the sinusoid experiment: predictions in a few test tasks, and errors over gradient steps."""

from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from metarl.reports.style import INK, MUTED, RULE, SERIES, new_figure, styled

BLUE, VERMILLION, GREEN, PINK, ORANGE = SERIES[:5]
SOLID, DASHED, DOTTED = (0, ()), (0, (4, 2)), (0, (1, 1.5))
LIMITS = (0.004, 10.0)  # of the error; what is above has run away

TRUTH: Any = {"color": RULE, "linewidth": 5}
POINTS: Any = {"color": INK, "marker": "o", "markersize": 4.5, "linestyle": "none", "zorder": 3}
PREDICTIONS: dict[str, Any] = {  # by gradient steps
    "0": {"linestyle": DOTTED, "linewidth": 1.3, "label": "before"},
    "1": {"linestyle": DASHED, "linewidth": 1.5, "label": "after 1 step"},
    "10": {"linestyle": SOLID, "linewidth": 2.0, "label": "after 10 steps"},
}


class Look(NamedTuple):
    """How a method's error is drawn: those of one family share a colour."""

    name: str
    color: str
    linestyle: tuple[float, tuple[float, ...]] = SOLID
    linewidth: float = 1.7


LOOKS = {
    "maml": Look("MAML", BLUE, linewidth=2.6),
    "maml-3": Look("MAML, 3 inner steps", BLUE, DASHED),
    "first-order": Look("first-order MAML", BLUE, DOTTED),
    "meta-sgd": Look("Meta-SGD", GREEN),
    "cavia": Look("CAVIA", ORANGE),
    "anil": Look("ANIL", PINK),
    "fine-tuned": Look("pre-trained, fine-tuned", VERMILLION, linewidth=2.6),
    "scratch": Look("from scratch", MUTED, DASHED),
    "oracle": Look("told amplitude and phase", INK, DOTTED),
}


@styled
def sinusoid_figure(rows: dict[str, Any], *drawn: str) -> Figure:
    """A line of example tasks for each of the methods `drawn`, above the errors of all `rows` of the result file."""
    figure = new_figure(9.6, 2.1 * len(drawn) + 3.4)
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.1 * len(drawn), 3.4], hspace=0.04)
    _draw_examples(parts[0], rows, drawn)
    _draw_errors(parts[1], rows)
    return figure


def _draw_examples(figure: SubFigure, rows: dict[str, Any], drawn: tuple[str, ...]) -> None:
    num_tasks = len(rows[drawn[0]]["examples"]["truth"])
    panels = figure.subplots(len(drawn), num_tasks, sharex=True, sharey=True, squeeze=False)
    for name, line in zip(drawn, panels, strict=True):
        for task, axes in enumerate(line):
            _draw_example(axes, rows[name]["examples"], task, LOOKS[name].color)
        line[0].set_title(LOOKS[name].name, color=LOOKS[name].color, fontweight="bold")
        line[0].set_ylabel("y")
    for axes in panels[-1]:
        axes.set_xlabel("x")
    keys = [Line2D([], [], **POINTS, label="the 10 points"), Line2D([], [], **TRUTH, label="truth")]
    keys += [Line2D([], [], color=MUTED, **look) for look in PREDICTIONS.values()]
    figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), handlelength=2.6)


def _draw_example(axes: Axes, examples: dict[str, Any], task: int, color: str) -> None:
    axes.plot(examples["x"], examples["truth"][task], **TRUTH)
    for step, look in PREDICTIONS.items():
        axes.plot(examples["x"], examples["predictions"][step][task], color=color, **look)
    axes.plot(examples["points_x"][task], examples["points_y"][task], **POINTS)


def _draw_errors(figure: SubFigure, rows: dict[str, Any]) -> None:
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (shots, title) in zip(panels, {"5": "5 points", "10": "10 points"}.items(), strict=True):
        for name in (known for known in LOOKS if known in rows):
            _draw_error(axes, rows[name]["errors"][shots], LOOKS[name])
        axes.set_title(title)
        axes.set_xlabel("gradient step")
        axes.set_xlim(0, 10)
    panels[0].set_ylabel("mean squared error")
    panels[0].set_yscale("log")
    panels[0].set_ylim(*LIMITS)
    panels[0].yaxis.set_major_locator(FixedLocator([0.01, 0.03, 0.1, 0.3, 1, 3, 10]))
    panels[0].yaxis.set_minor_locator(NullLocator())
    panels[0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    # in the order in which the lines end
    handles, labels = panels[1].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: -float(handles[i].get_ydata()[-1]))
    figure.legend([handles[i] for i in order], [labels[i] for i in order], loc="outside right center", handlelength=2.6)


def _draw_error(axes: Axes, curves: list[list[float]], look: Look) -> None:
    """The mean over seeds, in a band from the best to the worst; one number is drawn as a level."""
    curves = [curve * 11 if len(curve) == 1 else curve for curve in curves]
    steps, by_step = range(len(curves[0])), list(zip(*curves, strict=True))
    mean = [sum(errors) / len(errors) for errors in by_step]
    axes.fill_between(
        steps, list(map(min, by_step)), list(map(max, by_step)), color=look.color, alpha=0.12, linewidth=0
    )
    axes.plot(steps, mean, color=look.color, linestyle=look.linestyle, linewidth=look.linewidth, label=look.name)
