"""RL² on every native family with one set of options: train, measure the last checkpoint on fresh trials, keep JSON.

    python -m experiments.reproductions.in_context bandit-10 --memory gru --seeds 0 1 2
    python -m experiments.reproductions.in_context --table

A stopped run goes on where it was when the command is repeated. Results are in experiments/results/.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro

from experiments.reproductions.finished_run import finished_run
from experiments.reproductions.known_names import refuse_unknown
from experiments.timing import hardware
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.evaluation.results import Evaluation
from metarl.files import write_atomically
from metarl.runs.folder import RunConfig
from metarl.runs.meta_test import MetaTest

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Cell:
    """One row of the table: a family, how long to train, and the number to compare with."""

    distribution: str
    options: dict[str, int]
    steps: int
    reference: str
    changed: dict[str, Any] = field(default_factory=dict)  # options of RL² that are not the defaults
    episodes: int | None = None  # of a test trial; None: as in training
    trained: str | None = None  # the cell whose run is measured; None: its own


CELLS = {
    "bandit-10": Cell("bernoulli-bandit", {"arms": 5, "pulls": 10}, 1_250_000, "6.660 optimum"),
    "bandit-100": Cell("bernoulli-bandit", {"arms": 5, "pulls": 100}, 8_000_000, "78.63 optimum, 78.7 RL²"),
    "tabular-10": Cell(
        "tabular-mdp", {"num_episodes": 10}, 4_000_000, "156.2 RL², 159.1 SNAIL", {"imitation_fraction": 1.0}
    ),
    "tabular-25": Cell(
        "tabular-mdp",
        {"num_episodes": 10},
        4_000_000,
        "445.7 RL², 447.2 SNAIL",
        {"imitation_fraction": 1.0},
        episodes=25,
        trained="tabular-10",
    ),
    "grid-navigation": Cell("grid-navigation", {}, 5_000_000, "37.21 optimum", {"batch_steps": 50_000}),
    "dark-room": Cell("dark-room", {}, 12_000_000, "[132.8, 135.5] optimum", {"batch_steps": 50_000}),
}


@dataclass(frozen=True)
class Experiment:
    """Train cells of the table and measure them, or print the table."""

    cells: tyro.conf.Positional[tuple[str, ...]] = ()
    """Which: bandit-10, bandit-100, tabular-10, tabular-25, grid-navigation, dark-room."""
    memory: Literal["transformer", "gru", "lstm"] = "transformer"
    """What remembers the trial."""
    seeds: tuple[int, ...] = (0,)
    """One run each."""
    steps: int | None = None
    """Environment steps of training; None: as in the table."""
    num_tasks: int = 20_000
    """Fresh test trials."""
    device: str = "auto"
    """auto, cpu or cuda."""
    table: bool = False
    """Print the table of what is in experiments/results/."""


def main(experiment: Experiment) -> None:
    refuse_unknown(experiment.cells, CELLS, "cells")
    for name in experiment.cells:
        for seed in experiment.seeds:
            run_cell(name, experiment, seed)
    if experiment.table:
        print(table())


def run_cell(name: str, experiment: Experiment, seed: int) -> None:
    """Train one run to its end, evaluate it, and write its result."""
    cell = CELLS[name]
    options = RL2Options(memory=experiment.memory, **cell.changed)
    steps = experiment.steps or cell.steps
    label = f"{name}-{experiment.memory}-seed{seed}"
    config = RunConfig("rl2", cell.distribution, cell.options, seed, steps, asdict(options))
    folder = Path("runs") / "in_context" / label.replace(name, cell.trained or name)
    agent, seconds = finished_run(folder, config, RL2, experiment.device)
    trials = MetaTest(
        agent.distribution.split("test"), experiment.num_tasks, cell.episodes, 1000 + seed, experiment.device
    )
    result = summary(trials.play(trials.agent(agent), "rl2"))
    arguments = f"{name} --memory {experiment.memory} --seeds {seed} --steps {steps}"
    command = f"python -m experiments.reproductions.in_context {arguments}"
    setting = {"cell": name, "memory": experiment.memory, "seed": seed, "steps": steps, "command": command}
    row = {**setting, **result, "seconds": round(seconds), "hardware": hardware(agent.device)}
    write_atomically(RESULTS / f"{label}.json", json.dumps(row, indent=1) + "\n")
    print(f"{label}: {result['mean']:.3f} ± {result['error']:.3f} (reference: {cell.reference})")


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Mean total of a trial with its standard error, and the mean of each episode."""
    totals = evaluation.totals
    return {
        "num_tasks": len(totals),
        "mean": float(totals.mean()),
        "error": float(totals.std(ddof=1) / len(totals) ** 0.5),
        "per_episode": [round(float(value), 4) for value in evaluation.returns.mean(0)],
    }


def table() -> str:
    """A Markdown table of all results, a line for each cell and memory."""
    files = [file for name in CELLS for file in sorted(RESULTS.glob(f"{name}-*-seed*.json"))]
    rows = [json.loads(file.read_text()) for file in files]
    lines = [
        "| cell | memory | mean return of each seed | last episode | steps | minutes | reference |",
        "|" + "---|" * 7,
    ]
    for name, cell in CELLS.items():
        for memory in ("transformer", "gru", "lstm"):
            runs = [row for row in rows if (row["cell"], row["memory"]) == (name, memory)]
            if runs:
                means = ", ".join(f"{run['mean']:.2f} ± {run['error']:.2f}" for run in runs)
                last = ", ".join(f"{run['per_episode'][-1]:.2f}" for run in runs)
                minutes = ", ".join(f"{run['seconds'] / 60:.0f}" for run in runs)
                lines.append(
                    f"| {name} | {memory} | {means} | {last} | {runs[0]['steps']:,} | {minutes} | {cell.reference} |"
                )
    return "\n".join(lines)


if __name__ == "__main__":
    main(tyro.cli(Experiment, description=Experiment.__doc__))
