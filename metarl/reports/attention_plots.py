"""Figures of attention: the weights of each layer and head over the steps of a trial."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from metarl.evaluation.formatting import shown_episodes
from metarl.reports.style import HEAT, INK, MUTED, SERIES, bare, new_figure, styled

READERS = 5  # policy steps whose reading is shown in full


@final
@dataclass(frozen=True, eq=False)
class AttentionRecord:
    """Attention of one trial of T steps; ValueError if the shapes disagree or a weight is not finite."""

    weights: NDArray[Any]  # [L, H, T, T]: row t is how much step t reads of each step up to t; rows add up to 1
    rewards: NDArray[Any]  # [T] that each step earned
    dones: NDArray[Any]  # [T] true where a step ended an episode

    def __post_init__(self) -> None:
        length = len(self.rewards)
        if self.weights.ndim != 4 or self.weights.shape[2:] != (length, length) or len(self.dones) != length:
            raise ValueError(
                "attention needs weights [layers, heads, steps, steps] and as many rewards and dones, got "
                f"{self.weights.shape}, {self.rewards.shape} and {self.dones.shape}"
            )
        if not np.isfinite(self.weights).all():
            raise ValueError("attention weights must be finite")

    def episodes(self) -> list[slice]:
        """The steps of each episode; the last one may be unfinished."""
        ends = sorted({*(np.flatnonzero(self.dones) + 1).tolist(), len(self.dones)})
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def shares(self, step: int) -> NDArray[np.float64]:
        """How much of its attention policy step `step` gives to each episode, over all layers and heads."""
        read = self.weights[:, :, step].mean((0, 1))
        return np.array([read[steps].sum() for steps in self.episodes()])


@styled
def attention_map_figure(record: AttentionRecord) -> Figure:
    """One heat map for each layer (row) and head (column): the weights of each policy step on earlier steps."""
    layers, heads, length, _ = record.weights.shape
    side = min(2.4, 7.2 / heads)
    figure = new_figure(max(3.4, side * heads), 0.6 + (side + 0.25) * layers)
    grid = figure.subplots(layers + 1, heads, sharex=True, squeeze=False, height_ratios=[0.16, *[1.0] * layers])
    # a power below 1: attention spread over many steps would be invisible next to attention on one
    norm = PowerNorm(0.5, 0, float(np.quantile(record.weights.max(-1), 0.95)))
    image = None
    for head in range(heads):
        _reward_strip(grid[0, head], record)
        for layer in range(layers):
            axes = grid[layer + 1, head]
            extent = (0.5, length + 0.5, length + 0.5, 0.5)
            image = axes.imshow(
                record.weights[layer, head], cmap=HEAT, norm=norm, interpolation="nearest", extent=extent
            )
            axes.grid(visible=False)
            _episode_rules(axes, record, both=True)
            axes.set_title(f"layer {layer + 1} · head {head + 1}", fontsize=8.5)
            axes.tick_params(labelsize=7.5, labelleft=head == 0)
            axes.set_xlim(0.5, length + 0.5)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    for head in range(heads):
        grid[-1, head].set_xlabel("step read", fontsize=8.5)
    for layer in range(layers):
        grid[layer + 1, 0].set_ylabel("policy step", fontsize=8.5)
    assert image is not None
    bar = figure.colorbar(image, ax=grid[1:], shrink=0.6, aspect=30, pad=0.01)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7.5)
    return figure


@styled
def attention_read_figure(record: AttentionRecord, steps: list[int] | None = None) -> Figure:
    """All weights of a few policy steps: one row for each layer and head, and the share of each episode.

    `steps` are counted from 0; by default the first step of some episodes, and the last step of the trial.
    """
    chosen = default_readers(record) if steps is None else steps
    layers, heads, length, _ = record.weights.shape
    figure = new_figure(7.2, 0.7 + len(chosen) * (0.55 + 0.09 * layers * heads))
    height = 0.09 * layers * heads + 0.55
    grid = figure.subplots(
        len(chosen) + 1, 1, sharex=True, squeeze=False, height_ratios=[0.35, *[height] * len(chosen)]
    )
    _reward_strip(grid[0, 0], record)
    for axes, step in zip(grid[1:, 0], chosen, strict=True):
        rows = record.weights[:, :, step].reshape(layers * heads, length)
        norm = PowerNorm(0.5, 0, max(float(rows.max()), 1e-9))
        extent = (0.5, length + 0.5, len(rows) - 0.5, -0.5)
        axes.imshow(rows, cmap=HEAT, norm=norm, aspect="auto", interpolation="nearest", extent=extent)
        bare(axes)
        axes.set_yticks(
            [heads * (layer + 0.5) - 0.5 for layer in range(layers)], [f"layer {i + 1}" for i in range(layers)]
        )
        axes.tick_params(labelsize=7.5, labelleft=True)
        for layer in range(1, layers):
            axes.axhline(heads * layer - 0.5, color=MUTED, linewidth=0.5)
        _episode_rules(axes, record)
        axes.axvline(step + 1.5, color=SERIES[1], linewidth=1.4)
        _write_shares(axes, record, step)
    grid[-1, 0].xaxis.set_major_locator(MaxNLocator(10, integer=True))
    grid[-1, 0].tick_params(labelbottom=True)
    grid[-1, 0].set_xlabel("step read", fontsize=8.5)
    return figure


def default_readers(record: AttentionRecord) -> list[int]:
    """The first step of up to four later episodes, and the last step."""
    starts = [steps.start for steps in record.episodes()[1:]]
    chosen = [starts[i] for i in shown_episodes(len(starts), READERS - 1)] if starts else []
    return sorted({*chosen, len(record.rewards) - 1})


def _write_shares(axes: Axes, record: AttentionRecord, step: int) -> None:
    """Above a strip: which step reads, and what share of its attention each episode gets, where there is room."""
    episodes = record.episodes()
    inside = next(i for i, steps in enumerate(episodes) if step < steps.stop)
    within = f"step {step - episodes[inside].start + 1} of episode {inside + 1}"
    axes.set_title(f"step {step + 1} of the trial ({within}) reads", fontsize=8.5, pad=14)
    for steps, share in zip(episodes, record.shares(step), strict=True):
        if steps.start <= step and (steps.stop - steps.start) / len(record.rewards) >= 0.045:
            middle = (steps.start + steps.stop + 1) / 2
            place, where = (middle, 1), ("data", "axes fraction")
            axes.annotate(f"{share:.0%}", place, (0, 3), where, "offset points", ha="center", color=MUTED, fontsize=8)


def _reward_strip(axes: Axes, record: AttentionRecord) -> None:
    """Rewards over time: bars up for gains, down for losses."""
    bare(axes)
    colors = [SERIES[0] if reward >= 0 else SERIES[1] for reward in record.rewards]
    axes.bar(np.arange(1, len(record.rewards) + 1), record.rewards, width=0.9, color=colors)
    axes.axhline(0, color=MUTED, linewidth=0.5)
    axes.set_title("reward", fontsize=8.5, color=MUTED)
    _episode_rules(axes, record)


def _episode_rules(axes: Axes, record: AttentionRecord, both: bool = False) -> None:
    """Thin rules between episodes, unless they are as many as the steps."""
    starts = [steps.start for steps in record.episodes()[1:]]
    if len(starts) > len(record.rewards) / 3:
        return
    for start in starts:
        axes.axvline(start + 0.5, color=INK, linewidth=0.5, linestyle=(0, (1, 2)))
        if both:
            axes.axhline(start + 0.5, color=INK, linewidth=0.5, linestyle=(0, (1, 2)))
