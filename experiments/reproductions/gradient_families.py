"""MAML where memory is at home: bandits and tabular MDPs, whole trials with all the exploring that learning takes.

    python -m experiments.reproductions.gradient_families bandit-100 tabular-10
    python -m experiments.reproductions.gradient_families --table

A trial is cut into phases of equal length with an inner step after each but the last. Policies draw their actions while
they learn, and take the most likely ones after the last step. A stopped run goes on when its command is repeated.
"""

from dataclasses import asdict, dataclass

from experiments.reproduction import (
    Experiment,
    finished_run,
    from_command_line,
    markdown,
    minutes,
    reproduce,
    results,
    standard_error,
    with_error,
    write_result,
)
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.runs.folder import RunConfig
from metarl.runs.meta_test import MetaTest


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
class Trials(Experiment):
    """Train MAML on cells of the table and measure it, or print the table."""

    num_tasks: int = 20_000
    """Fresh test trials."""


def main(experiment: Trials) -> None:
    reproduce(experiment, CELLS, run_cell, lambda: print(table()))


def run_cell(name: str, experiment: Trials, seed: int) -> None:
    """Train one run to its end, measure it, and write its result."""
    cell = CELLS[name]
    config = RunConfig("maml", cell.distribution, cell.family, seed, cell.steps, asdict(cell.maml))
    agent, seconds = finished_run(f"gradient_families/{name}-seed{seed}", config, MAML, experiment.device)
    test = agent.distribution.split("test")
    trials = MetaTest(test, experiment.num_tasks, agent.trial_episodes, 1000 + seed, experiment.device)
    result = trials.play(trials.agent(agent), "maml")
    phases = result.returns.reshape(len(result.totals), cell.maml.inner_steps + 1, -1).mean((0, 2))
    row = {
        "cell": name,
        "seed": seed,
        "steps": cell.steps,
        "command": f"python -m experiments.reproductions.gradient_families {name} --seeds {seed}",
        "num_tasks": len(result.totals),
        "mean": float(result.totals.mean()),
        "error": float(standard_error(result.totals)),
        "per_phase": phases.round(4).tolist(),
    }
    write_result(f"gradient-{name}-seed{seed}", row, agent, seconds, indent=1)
    print(f"{name}, seed {seed}: {with_error(row, '.2f')} ({cell.reference})")


def table() -> str:
    """A Markdown table of all results: the whole trial, and an episode in its first and last phase."""
    header = ("trial", "return of each seed", "episode, first and last phase", "minutes", "beside")
    lines = []
    for name, cell in CELLS.items():
        if rows := results(f"gradient-{name}-seed*"):
            means = ", ".join(with_error(row, ".2f") for row in rows)
            ends = ", ".join(f"{row['per_phase'][0]:.2f} to {row['per_phase'][-1]:.2f}" for row in rows)
            lines.append((name, means, ends, minutes(rows), cell.reference))
    return markdown(header, lines)


if __name__ == "__main__":
    main(from_command_line(Trials, CELLS))
