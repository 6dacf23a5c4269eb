"""RL² on every native family with one set of options: train, measure the last checkpoint on fresh trials, keep JSON.

    python -m experiments.reproductions.in_context bandit-10 --memory gru --seeds 0 1 2
    python -m experiments.reproductions.in_context tabular-10 --teaching reward-alone
    python -m experiments.reproductions.in_context --table

Each family can be learned in three ways: as a user's own would be by default (`expert`), without the expert that knows
the task (`reward`), and without a critic that knows it as well (`reward-alone`), as published RL² was.

A stopped run goes on where it was when the command is repeated. Results are in experiments/results/.
"""

from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any, Literal, get_args

from experiments.reproduction import (
    Experiment,
    finished_run,
    from_command_line,
    joined,
    markdown,
    minutes,
    reproduce,
    results,
    standard_error,
    with_error,
    write_result,
)
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.evaluation.results import Evaluation
from metarl.runs.folder import RunConfig
from metarl.runs.meta_test import MetaTest

Memory = Literal["transformer", "gru", "lstm"]
Teachers = Literal["expert", "reward", "reward-alone"]


@dataclass(frozen=True)
class Cell:
    """One row of the table: a family, how long to train, and the number to compare with."""

    distribution: str
    options: dict[str, int]
    steps: int
    reference: str
    changed: dict[str, Any] = field(default_factory=dict)  # options of RL² that are not the defaults
    alone: tuple[int, dict[str, Any]] | None = None  # steps and options without an expert; None: the same
    episodes: int | None = None  # of a test trial; None: as in training
    trained: str | None = None  # the cell whose run is measured; None: its own


CELLS = {
    "bandit-10": Cell("bernoulli-bandit", {"arms": 5, "pulls": 10}, 1_250_000, "6.660 optimum"),
    "bandit-100": Cell("bernoulli-bandit", {"arms": 5, "pulls": 100}, 8_000_000, "78.63 optimum, 78.7 RL²"),
    "tabular-10": Cell(
        "tabular-mdp",
        {"num_episodes": 10},
        4_000_000,
        "156.2 RL², 159.1 SNAIL",
        {"imitation_fraction": 1.0},
        alone=(16_000_000, {"batch_steps": 50_000}),
    ),
    "tabular-25": Cell(
        "tabular-mdp",
        {"num_episodes": 10},
        4_000_000,
        "445.7 RL², 447.2 SNAIL",
        {"imitation_fraction": 1.0},
        alone=(16_000_000, {"batch_steps": 50_000}),
        episodes=25,
        trained="tabular-10",
    ),
    "grid-navigation": Cell(
        "grid-navigation",
        {},
        5_000_000,
        "37.21 optimum",
        {"batch_steps": 50_000},
        alone=(8_000_000, {"batch_steps": 50_000}),
    ),
    "two-doors": Cell("two-doors", {}, 500_000, "36 optimum, 20 never trying", {"information_bonus": 2.0}),
    "two-doors-plain": Cell("two-doors", {}, 500_000, "36 optimum, 20 never trying"),
    "dark-room": Cell("dark-room", {}, 12_000_000, "[132.8, 135.5] optimum", {"batch_steps": 50_000}),
}


@dataclass(frozen=True)
class Trials(Experiment):
    """Train RL² on cells of the table and measure it, or print the table."""

    memory: Memory = "transformer"
    """What remembers the trial."""
    teaching: Teachers = "expert"
    """Who teaches besides the reward: expert and privileged critic, a privileged critic (reward), nobody."""
    steps: int | None = None
    """Environment steps of training; None: as in the table."""
    num_tasks: int = 20_000
    """Fresh test trials."""


def main(experiment: Trials) -> None:
    reproduce(experiment, CELLS, run_cell, lambda: print(table()))


def run_cell(name: str, experiment: Trials, seed: int) -> None:
    """Train one run to its end, evaluate it, and write its result."""
    cell = CELLS[name]
    planned, options = recipe(cell, experiment.memory, experiment.teaching)
    steps = experiment.steps or planned
    label = f"{label_of(name, experiment.memory, experiment.teaching)}-seed{seed}"
    config = RunConfig("rl2", cell.distribution, cell.options, seed, steps, asdict(options))
    folder = f"in_context/{label.replace(name, cell.trained or name)}"
    agent, seconds = finished_run(folder, config, RL2, experiment.device)
    trials = MetaTest(
        agent.distribution.split("test"), experiment.num_tasks, cell.episodes, 1000 + seed, experiment.device
    )
    result = summary(trials.play(trials.agent(agent), "rl2"))
    arguments = f"{name} --memory {experiment.memory} --teaching {experiment.teaching} --seeds {seed} --steps {steps}"
    arguments += f" --num-tasks {experiment.num_tasks}"
    command = f"python -m experiments.reproductions.in_context {arguments}"
    setting = {"cell": name, "memory": experiment.memory, "seed": seed, "steps": steps, "command": command}
    write_result(label, {**setting, **result}, agent, seconds, indent=1)
    print(f"{label}: {with_error(result, '.3f')} (reference: {cell.reference})")


def recipe(cell: Cell, memory: Memory, teaching: Teachers) -> tuple[int, RL2Options]:
    """Steps and options of a run."""
    if teaching == "expert":
        return cell.steps, RL2Options(memory=memory, **cell.changed)
    steps, changed = cell.alone or (cell.steps, cell.changed)
    privileged = teaching == "reward"
    return steps, RL2Options(memory=memory, imitation_fraction=0.0, privileged_critic=privileged, **changed)


def label_of(name: str, memory: Memory, teaching: Teachers) -> str:
    """The first part of the name of a result."""
    return f"{name}-{memory}" if teaching == "expert" else f"{name}-{memory}-{teaching}"


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Mean total of a trial with its standard error, and the mean of each episode."""
    totals = evaluation.totals
    return {
        "num_tasks": len(totals),
        "mean": float(totals.mean()),
        "error": float(standard_error(totals)),
        "per_episode": [round(float(value), 4) for value in evaluation.returns.mean(0)],
    }


def table() -> str:
    """A Markdown table of all results, a line for each cell and memory."""
    header = (
        "cell",
        "memory",
        "taught by",
        "mean return of each seed",
        "last episode",
        "steps",
        "minutes",
        "reference",
    )
    lines = []
    for name, memory, teaching in product(CELLS, get_args(Memory), get_args(Teachers)):
        if rows := results(f"{label_of(name, memory, teaching)}-seed*"):
            means = ", ".join(with_error(row, ".2f") for row in rows)
            last = joined((row["per_episode"][-1] for row in rows), ".2f")
            budget = (f"{rows[0]['steps']:,}", minutes(rows), CELLS[name].reference)
            lines.append((name, memory, rows[0]["taught_by"], means, last, *budget))
    return markdown(header, lines)


if __name__ == "__main__":
    main(from_command_line(Trials, CELLS))
