"""RL² and MAML on half-cheetahs by the protocol of Finn et al. 2017: train, measure the last checkpoint, keep JSON.

    python -m experiments.reproductions.half_cheetah rl2-velocity maml-velocity --seeds 0
    python -m experiments.reproductions.half_cheetah --table

MAML trains for one inner step of .1 on 40 tasks with 20 episodes before and after it, and is tested with up to three,
the later ones of .05, 20 episodes before each; its actions are drawn. RL² trains for trials of two episodes and is
tested in three. A stopped run goes on when its command is repeated. `--table` also draws docs/half-cheetah.png.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

import metarl
from experiments.figures.half_cheetah import half_cheetah_figure
from experiments.reproductions.finished_run import finished_run
from experiments.reproductions.known_names import refuse_unknown
from experiments.timing import hardware
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.files import write_atomically
from metarl.reports.style import save_figure
from metarl.runs.folder import Run, RunConfig
from metarl.training.logs import RETURN, STEPS

RESULTS = Path(__file__).parents[1] / "results"
STEP_TEST: dict[str, Any] = {"inner_lr": (0.1, 0.05), "test_rollouts": 20, "test_steps": 3}
FIGURE = Path(__file__).parents[2] / "docs" / "half-cheetah.png"
# Finn et al. 2017, after 0 to 3 gradient steps, and their policies that are told the goal
PUBLISHED = {"velocity": (-129.5, -78.6, -66.6, -60.8), "direction": (-50.7, 293.2, 313.5, 315.7)}
ORACLE = {"velocity": -54.5, "direction": 442.7}
POINTS = 100  # of a learning curve that are kept
Returns = NDArray[np.float64]


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
class Experiment:
    """Train cells of the table and measure them, or print the table."""

    cells: tyro.conf.Positional[tuple[str, ...]] = ()
    """Which: rl2-velocity, rl2-direction, maml-velocity, maml-direction."""
    seeds: tuple[int, ...] = (0,)
    """One run each."""
    steps: int | None = None
    """Environment steps of training; None: as in the table."""
    device: str = "auto"
    """auto, cpu or cuda."""
    table: bool = False
    """Print and draw what is in experiments/results/."""


def main(experiment: Experiment) -> None:
    refuse_unknown(experiment.cells, CELLS, "cells")
    for name in experiment.cells:
        for seed in experiment.seeds:
            run_cell(name, experiment, seed)
    if experiment.table:
        print(table())
        save_figure(half_cheetah_figure(results(), PUBLISHED, ORACLE), FIGURE)


def run_cell(name: str, experiment: Experiment, seed: int) -> None:
    """Train one run to its end, measure it, and write its result with its learning curve."""
    cell, steps = CELLS[name], experiment.steps or CELLS[name].steps
    kind: type[MAML] | type[RL2] = MAML if isinstance(cell.options, MAMLOptions) else RL2
    config = RunConfig(name.split("-")[0], cell.family, {}, seed, steps, asdict(cell.options))
    folder = Path("runs") / "half_cheetah" / f"{name}-seed{seed}"
    agent, seconds = finished_run(folder, config, kind, experiment.device)
    returns = after_steps(agent) if isinstance(agent, MAML) else after_episodes(agent)
    row = {
        "cell": name,
        "seed": seed,
        "steps": agent.num_timesteps,
        "command": f"python -m experiments.reproductions.half_cheetah {name} --seeds {seed} --steps {steps}",
        "mean": returns.mean(0).round(3).tolist(),
        "error": (returns.std(0, ddof=1) / len(returns) ** 0.5).round(3).tolist(),
        "tasks": len(returns),
        "seconds": round(seconds),
        "curve": curve(Run.open(folder)),
        "hardware": hardware(agent.device),
    }
    write_atomically(RESULTS / f"half-cheetah-{name}-seed{seed}.json", json.dumps(row) + "\n")
    print(f"{name}, seed {seed}: {row['mean']} after {seconds / 60:.0f} minutes")


def after_steps(agent: MAML, tasks: int = 40) -> Returns:
    """Mean episode returns `[tasks, 4]` before and after each of three gradient steps, in tasks of the test split."""
    tested = MAML(agent.distribution, replace(agent.options, **STEP_TEST), seed=agent.seed, device=agent.device)
    tested.load_state(agent.state(), "the trained agent")
    policy = tested.policy(tasks, deterministic=False, seed=agent.seed)
    test = agent.distribution.split("test")
    result = metarl.evaluate(policy, test, tasks, tested.trial_episodes, 1000 + agent.seed, progress_bar=True)
    return np.asarray(result.returns.reshape(tasks, 4, -1).mean(2))


def after_episodes(agent: RL2, tasks: int = 200) -> Returns:
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
    lines = ["| agent and family | seed | return by episode (RL²) or gradient steps (MAML) | steps | minutes |"]
    lines.append("|" + "---|" * 5)
    for row in results():
        means = ", ".join(f"{m:.1f} ± {e:.1f}" for m, e in zip(row["mean"], row["error"], strict=True))
        lines.append(f"| {row['cell']} | {row['seed']} | {means} | {row['steps']:,} | {row['seconds'] / 60:.0f} |")
    for goal, published in PUBLISHED.items():
        lines.append(f"| MAML, {goal}, Finn et al. 2017 | | {', '.join(map(str, published))} | | |")
    return "\n".join(lines)


def results() -> list[dict[str, Any]]:
    """The rows of all result files, in the order of the cells."""
    files = (file for name in CELLS for file in sorted(RESULTS.glob(f"half-cheetah-{name}-seed*.json")))
    return [json.loads(file.read_text()) for file in files]


if __name__ == "__main__":
    main(tyro.cli(Experiment, description=Experiment.__doc__))
