"""Figures of one trial, step by step: the path of each episode, or the pulled arms and their rewards.

The kind of figure depends on the spaces and the task, not on names. A family of your own is drawn as a grid with a
goal, a bandit or a point in the plane if it has their spaces. Any other family is drawn as strips of observations,
actions and rewards.
"""

import math

import numpy as np
from gymnasium import spaces
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from metarl.evaluation.formatting import shown_episodes
from metarl.evaluation.statistics import Array
from metarl.reports.style import GOAL, INK, MUTED, RULE, SERIES, bare, new_figure, styled
from metarl.spaces import start_of
from metarl.trials.recording import RecordedTrial

PANELS = 4  # episodes drawn side by side


@styled
def trial_figure(trial: RecordedTrial) -> Figure:
    """A figure of the trial: the path of each episode, the pulls of each arm, or strips over time."""
    family = trial.distribution
    goal = family.task_space.spaces.get("goal")
    has_goal = goal is not None and goal.shape == (2,)
    if has_goal and _side(family.observation_space) is not None:
        return _grid_figure(trial)
    if has_goal and isinstance(family.observation_space, spaces.Box) and family.observation_space.shape == (2,):
        return _plane_figure(trial)
    if family.horizon == 1 and isinstance(family.action_space, spaces.Discrete):
        return _bandit_figure(trial)
    return _strip_figure(trial)


def _side(space: spaces.Space[object]) -> int | None:
    """Cells along the side of a square grid whose cells are numbered row by row."""
    if not isinstance(space, spaces.Discrete) or math.isqrt(int(space.n)) ** 2 != int(space.n):
        return None
    return math.isqrt(int(space.n))


def _grid_figure(trial: RecordedTrial) -> Figure:
    side = _side(trial.distribution.observation_space)
    assert side is not None
    figure, panels = _episode_panels(trial, ticks=False)
    goal = trial.task["goal"][0].cpu().numpy()
    for axes, steps in panels:
        cells = _positions(trial, steps)
        path = np.stack([cells // side, cells % side], -1).astype(float)
        _draw_cells(axes, side)
        axes.add_patch(Rectangle((goal[0] - 0.5, goal[1] - 0.5), 1, 1, color=GOAL, alpha=0.45, linewidth=0))
        _draw_path(axes, path + np.linspace(-0.22, 0.22, len(path))[:, None])  # drifts, so that ways back are seen
        axes.set_xlim(-0.6, side - 0.4)
        axes.set_ylim(-0.6, side - 0.4)
        reached = np.flatnonzero((path[1:] == goal).all(1))
        _title(axes, trial, steps, f"goal at step {reached[0] + 1}" if len(reached) else "goal not found")
    return figure


def _plane_figure(trial: RecordedTrial) -> Figure:
    figure, panels = _episode_panels(trial, ticks=True)
    goal = trial.task["goal"][0].cpu().numpy()
    paths = [_positions(trial, steps) for _, steps in panels]
    everything = np.concatenate([*paths, goal[None]])
    centre = (everything.min(0) + everything.max(0)) / 2
    reach = max(0.1, float(np.ptp(everything, axis=0).max()) / 2) * 1.12
    for (axes, steps), path in zip(panels, paths, strict=True):
        _draw_path(axes, path)
        axes.plot(*goal, marker="*", markersize=13, color=GOAL, linestyle="none", zorder=4)
        axes.set_xlim(centre[0] - reach, centre[0] + reach)
        axes.set_ylim(centre[1] - reach, centre[1] + reach)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        _title(axes, trial, steps, f"{len(path) - 1} steps")
    return figure


def _bandit_figure(trial: RecordedTrial) -> Figure:
    actions = trial.actions - start_of(trial.distribution.action_space)
    arms = int(getattr(trial.distribution.action_space, "n"))  # noqa: B009 - the caller has checked the space
    means = trial.task["means"][0].cpu().numpy() if "means" in trial.task.parameters else None
    figure = new_figure(7.2, 1.1 + min(0.3 * arms, 4))
    pulls, payout = figure.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": [5, 1]})
    size = float(np.clip(2500 / len(actions), 6, 60))
    rewarded = trial.rewards > 0
    when = np.arange(1, len(actions) + 1)
    pulls.scatter(when[~rewarded], actions[~rewarded], size, facecolors="none", edgecolors=MUTED, linewidths=1.0)
    pulls.scatter(when[rewarded], actions[rewarded], size, color=SERIES[0])
    pulls.set_title(f"pulls of each arm: {int(rewarded.sum())} of {len(rewarded)} rewarded (filled)")
    pulls.set_xlabel("pull")
    pulls.set_yticks(range(arms) if arms <= 12 else [], [f"arm {arm + 1}" for arm in range(arms)] if arms <= 12 else [])
    pulls.set_ylim(arms - 0.5, -0.5)
    pulls.xaxis.set_major_locator(MaxNLocator(integer=True))
    counts = np.bincount(actions, minlength=arms) / len(actions)
    payout.barh(range(arms), counts if means is None else means, color=RULE, height=0.6)
    if means is not None:
        best = int(means.argmax())
        payout.barh(best, means[best], color=GOAL, height=0.6)
        for arm in range(arms if arms <= 12 else 0):
            payout.text(means[arm], arm, f" {means[arm]:.2f}", va="center", color=INK, fontsize=8.5)
    payout.set_title("share of pulls" if means is None else "true payout")
    payout.set_xlim(0, 1.25)
    bare(payout)
    pulls.grid(visible=False, axis="x")
    return figure


def _strip_figure(trial: RecordedTrial) -> Figure:
    """Observations, actions and rewards over time, one under the other."""
    figure = new_figure(7.2, 4.2)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [1.2, 1.2, 1]})
    when = np.arange(1, len(trial.rewards) + 1)
    _strip(top, when, trial.observations, trial.distribution.observation_space, "observation")
    _strip(middle, when, trial.actions, trial.distribution.action_space, "action")
    bottom.bar(when, trial.rewards, width=0.9, color=[SERIES[0] if r >= 0 else SERIES[1] for r in trial.rewards])
    bottom.set_ylabel("reward")
    bottom.set_xlabel("step of the trial")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (top, middle, bottom):
        axes.grid(visible=False, axis="x")
        for end in np.flatnonzero(trial.dones)[:-1]:
            axes.axvline(end + 1.5, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    free = trial.distribution.free_episodes
    episodes = enumerate(trial.episodes())
    returns = [f"{trial.rewards[steps].sum():.4g}{' (free)' if k < free else ''}" for k, steps in episodes]
    listed = ", ".join(returns if len(returns) <= 10 else [*returns[:3], "...", *returns[-3:]])
    top.set_title(f"return by episode: {listed}")
    return figure


def _strip(axes: Axes, when: Array, values: Array, space: spaces.Space[object], label: str) -> None:
    axes.set_ylabel(label)
    axes.margins(x=0.01)
    if isinstance(space, spaces.Discrete):
        size = float(np.clip(1500 / len(when), 3, 22))
        axes.scatter(when, values, size, color=SERIES[0], marker="s", linewidths=0)
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_ylim(int(space.start) - 0.6, int(space.start + space.n) - 0.4)
    else:
        axes.plot(when, values.reshape(len(values), -1)[:, : len(SERIES)], linewidth=1.1)


def _episode_panels(trial: RecordedTrial, ticks: bool) -> tuple[Figure, list[tuple[Axes, slice]]]:
    """A square panel for each of a few episodes, first and last included."""
    episodes = trial.episodes()
    shown = [episodes[i] for i in shown_episodes(len(episodes), PANELS)]
    figure = new_figure(7.2, 7.2 / PANELS + (0.6 if ticks else 0.45), layout="compressed")
    axes = figure.subplots(1, PANELS, squeeze=False)[0]
    for unused in axes[len(shown) :]:
        unused.set_visible(False)
    for panel in axes:
        panel.set_aspect("equal")
    return figure, list(zip(axes, shown, strict=False))


def _title(axes: Axes, trial: RecordedTrial, steps: slice, note: str) -> None:
    episode = int(trial.dones[: steps.start].sum()) + 1
    free = " (free)" if episode <= trial.distribution.free_episodes else ""
    axes.set_title(f"episode {episode}{free}", fontweight="bold", fontsize=9.5, pad=15)
    text = f"return {trial.rewards[steps].sum():.4g} · {note}"
    axes.annotate(text, (0, 1), (0, 4), "axes fraction", "offset points", color=MUTED, fontsize=7.5)


def _positions(trial: RecordedTrial, steps: slice) -> Array:
    """Where an episode began and where each of its actions led."""
    return np.concatenate([trial.observations[steps][:1], trial.next_observations[steps]])


def _draw_cells(axes: Axes, side: int) -> None:
    bare(axes)
    lines = np.arange(side + 1) - 0.5
    axes.hlines(lines, -0.5, side - 0.5, color=RULE, linewidth=0.7)
    axes.vlines(lines, -0.5, side - 0.5, color=RULE, linewidth=0.7)


def _draw_path(axes: Axes, path: Array) -> None:
    """A line that gets stronger with time, from a ring to a dot."""
    segments = np.stack([path[:-1], path[1:]], 1)
    shades = [to_rgba(SERIES[0], alpha) for alpha in np.linspace(0.35, 1, len(segments))]
    axes.add_collection(LineCollection([*segments], colors=shades, linewidths=1.6, zorder=3))
    axes.plot(*path[0], marker="o", markersize=5.5, markerfacecolor="none", color=INK, linestyle="none", zorder=4)
    axes.plot(*path[-1], marker="o", markersize=4.5, color=INK, linestyle="none", zorder=4)
