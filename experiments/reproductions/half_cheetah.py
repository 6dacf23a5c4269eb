"""RL² and MAML on half-cheetahs by the protocol of Finn et al. 2017: train, measure the last checkpoint, keep JSON.

    python -m experiments.reproductions.half_cheetah rl2-velocity maml-velocity --seeds 0
    python -m experiments.reproductions.half_cheetah --table

MAML trains for one inner step of .1 on 40 tasks with 20 episodes before and after it, and is tested with up to three,
the later ones of .05, 20 episodes before each; its actions are drawn. RL² trains for trials of two episodes and is
tested in three. A stopped run goes on when its command is repeated. `--table` also draws docs/half-cheetah.png.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import metarl
from experiments.figures.half_cheetah import half_cheetah_figure
from experiments.reproduction import (
    DOCS,
    RUNS,
    Experiment,
    Numbers,
    finished_run,
    from_command_line,
    joined,
    markdown,
    minutes,
    reproduce,
    results,
    returns_by_step,
    standard_error,
    write_result,
)
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.reports.style import save_figure
from metarl.runs.folder import Run, RunConfig
from metarl.training.logs import RETURN, STEPS

STEP_TEST: dict[str, Any] = {"inner_lr": (0.1, 0.05), "test_rollouts": 20, "test_steps": 3}
FIGURE = DOCS / "half-cheetah.png"
# Finn et al. 2017, after 0 to 3 gradient steps, and their privileged policies, which know the goal
PUBLISHED = {"velocity": (-129.5, -78.6, -66.6, -60.8), "direction": (-50.7, 293.2, 313.5, 315.7)}
ORACLE = {"velocity": -54.5, "direction": 442.7}
POINTS = 100  # of a learning curve that are kept


@dataclass(frozen=True)
class Cell:
    """One row of the table: who learns what, and for how long."""

    family: str
    options: RL2Options | MAMLOptions
    steps: int


RL2_OPTIONS = RL2Options(critic_epochs=0)  # results are older than these epochs
MAML_OPTIONS = MAMLOptions(width=100)
CELLS = {
    "rl2-velocity": Cell("half-cheetah-velocity", RL2_OPTIONS, 20_000_000),
    "rl2-direction": Cell("half-cheetah-direction", RL2_OPTIONS, 10_000_000),
    "maml-velocity": Cell("half-cheetah-velocity", MAML_OPTIONS, 64_000_000),
    "maml-direction": Cell("half-cheetah-direction", MAML_OPTIONS, 64_000_000),
}


@dataclass(frozen=True)
class Cheetahs(Experiment):
    """Train RL² and MAML on half-cheetahs and measure them, or print the table."""

    steps: int | None = None
    """Environment steps of training; None: as in the table."""


def main(experiment: Cheetahs) -> None:
    reproduce(experiment, CELLS, run_cell, show)


def show() -> None:
    print(table())
    save_figure(half_cheetah_figure(measured(), PUBLISHED, ORACLE), FIGURE)


def run_cell(name: str, experiment: Cheetahs, seed: int) -> None:
    """Train one run to its end, measure it, and write its result with its learning curve."""
    cell, steps = CELLS[name], experiment.steps or CELLS[name].steps
    kind: type[MAML] | type[RL2] = MAML if isinstance(cell.options, MAMLOptions) else RL2
    config = RunConfig(name.split("-")[0], cell.family, {}, seed, steps, asdict(cell.options))
    folder = f"half_cheetah/{name}-seed{seed}"
    agent, seconds = finished_run(folder, config, kind, experiment.device)
    returns = returns_by_step(agent, 40, **STEP_TEST) if isinstance(agent, MAML) else after_episodes(agent)
    row = {
        "cell": name,
        "seed": seed,
        "steps": agent.num_timesteps,
        "command": f"python -m experiments.reproductions.half_cheetah {name} --seeds {seed} --steps {steps}",
        "mean": returns.mean(0).round(3).tolist(),
        "error": standard_error(returns).round(3).tolist(),
        "tasks": len(returns),
        "curve": curve(Run.open(RUNS / folder)),
    }
    write_result(f"half-cheetah-{name}-seed{seed}", row, agent, seconds)
    print(f"{name}, seed {seed}: {row['mean']} after {seconds / 60:.0f} minutes")


def after_episodes(agent: RL2, tasks: int = 200) -> Numbers:
    """Returns `[tasks, 3]` of the episodes of trials in tasks of the test split."""
    policy, test = agent.policy(tasks, deterministic=True), agent.distribution.split("test")
    return np.asarray(metarl.evaluate(policy, test, tasks, 3, 1000 + agent.seed, progress_bar=True).returns)


def curve(run: Run) -> list[list[float]]:
    """Steps and the return of an episode in training, in whole trials (RL²) or after adaptation, of a few updates."""
    rows = run.log()
    kept = [rows[i] for i in np.linspace(0, len(rows) - 1, min(POINTS, len(rows))).round().astype(int)]
    return [[row[STEPS], round(row[RETURN], 2)] for row in kept]


def table() -> str:
    """A Markdown table of all results, one line a run, and the published ones."""
    header = ("agent and family", "seed", "return by episode (RL²) or gradient steps (MAML)", "steps", "minutes")
    lines = []
    for row in measured():
        means = ", ".join(f"{m:.1f} ± {e:.1f}" for m, e in zip(row["mean"], row["error"], strict=True))
        lines.append((row["cell"], str(row["seed"]), means, f"{row['steps']:,}", minutes([row])))
    for goal, published in PUBLISHED.items():
        lines.append((f"MAML, {goal}, Finn et al. 2017", "", joined(published, ".1f"), "", ""))
    return markdown(header, lines)


def measured() -> list[dict[str, Any]]:
    """The rows of all result files, in the order of the cells."""
    return [row for name in CELLS for row in results(f"half-cheetah-{name}-seed*")]


if __name__ == "__main__":
    main(from_command_line(Cheetahs, CELLS))
