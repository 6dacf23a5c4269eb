"""MAML where memory is at home: bandits and tabular MDPs, whole trials with all the exploring that learning takes.

    python -m experiments.reproductions.gradient_families bandit-100 tabular-10
    python -m experiments.reproductions.gradient_families --table

A trial is cut into phases of equal length with an inner step after each but the last. Policies draw their actions while
they learn, and take the most likely ones after the last step. A stopped run goes on when its command is repeated.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.reproductions.finished_run import finished_run
from experiments.reproductions.known_names import refuse_unknown
from experiments.timing import hardware
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.files import write_atomically
from metarl.runs.folder import RunConfig
from metarl.runs.meta_test import MetaTest

RESULTS = Path(__file__).parents[1] / "results"


@dataclass(frozen=True)
class Cell:
    """A family, how MAML divides a trial of it, and what to compare with."""

    distribution: str
    family: dict[str, int]
    maml: MAMLOptions
    steps: int  # of training
    reference: str


CELLS = {
    "bandit-100": Cell(
        "bernoulli-bandit",
        {"arms": 5, "pulls": 100},
        MAMLOptions(
            rollouts_per_task=10, inner_steps=9, meta_batch_size=200, inner_update="per-layer", inner_lr=(1.0,)
        ),
        2_000_000,
        "random 50, Thompson sampling 74.9, RL² here 77.7 and 77.9",
    ),
    "tabular-10": Cell(
        "tabular-mdp",
        {"num_episodes": 10},
        MAMLOptions(rollouts_per_task=2, inner_steps=4, meta_batch_size=100, inner_update="per-layer", inner_lr=(0.5,)),
        1_000_000,
        "random 100, posterior sampling 138, RL² here 161.1",
    ),
}


@dataclass(frozen=True)
class Experiment:
    """Train cells of the table and measure them, or print the table."""

    cells: tyro.conf.Positional[tuple[str, ...]] = ()
    """Which: bandit-100, tabular-10."""
    seeds: tuple[int, ...] = (0,)
    """One run each."""
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
    """Train one run to its end, measure it, and write its result."""
    cell = CELLS[name]
    config = RunConfig("maml", cell.distribution, cell.family, seed, cell.steps, asdict(cell.maml))
    folder = Path("runs") / "gradient_families" / f"{name}-seed{seed}"
    agent, seconds = finished_run(folder, config, MAML, experiment.device)
    test = agent.distribution.split("test")
    trials = MetaTest(test, experiment.num_tasks, agent.trial_episodes, 1000 + seed, experiment.device)
    result = trials.play(trials.agent(agent), "maml")
    phases = result.returns.reshape(len(result.totals), cell.maml.inner_steps + 1, -1).mean((0, 2))
    row: dict[str, Any] = {
        "cell": name,
        "seed": seed,
        "steps": cell.steps,
        "command": f"python -m experiments.reproductions.gradient_families {name} --seeds {seed}",
        "num_tasks": len(result.totals),
        "mean": float(result.totals.mean()),
        "error": float(result.totals.std(ddof=1) / len(result.totals) ** 0.5),
        "per_phase": phases.round(4).tolist(),
        "seconds": round(seconds),
        "hardware": hardware(agent.device),
    }
    write_atomically(RESULTS / f"gradient-{name}-seed{seed}.json", json.dumps(row, indent=1) + "\n")
    print(f"{name}, seed {seed}: {row['mean']:.2f} ± {row['error']:.2f} ({cell.reference})")


def table() -> str:
    """A Markdown table of all results: the whole trial, and an episode in its first and last phase."""
    lines = ["| trial | return of each seed | episode, first and last phase | minutes | beside |", "|" + "---|" * 5]
    for name, cell in CELLS.items():
        rows = [json.loads(file.read_text()) for file in sorted(RESULTS.glob(f"gradient-{name}-seed*.json"))]
        if rows:
            means = ", ".join(f"{row['mean']:.2f} ± {row['error']:.2f}" for row in rows)
            ends = ", ".join(f"{row['per_phase'][0]:.2f} to {row['per_phase'][-1]:.2f}" for row in rows)
            minutes = ", ".join(f"{row['seconds'] / 60:.0f}" for row in rows)
            lines.append(f"| {name} | {means} | {ends} | {minutes} | {cell.reference} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main(tyro.cli(Experiment, description=Experiment.__doc__))
