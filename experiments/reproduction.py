"""What the reproductions share, from the command line to a trained run, its result in JSON and the table of all."""

import functools
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from experiments.source import source
from experiments.timing import hardware
from metarl.agents.gradient.maml import MAML
from metarl.evaluation.evaluator import evaluate
from metarl.files import write_atomically
from metarl.runs.folder import Run, RunConfig
from metarl.runs.training_loop import train
from metarl.training.agent import Agent

RUNS = Path("runs")
RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"  # where pictures go

Numbers = NDArray[np.float64]
A = TypeVar("A", bound=Agent)


@dataclass(frozen=True)
class Experiment:
    """Train agents and measure them, or print the table of what is measured."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Which rows of the table."""
    seeds: tuple[int, ...] = (0,)
    """One run each."""
    device: str = "auto"
    """auto, cpu or cuda."""
    table: bool = False
    """Print the table of what is in experiments/results/, and draw it where there is a picture of it."""


E = TypeVar("E", bound=Experiment)


def from_command_line(kind: type[E], known: Collection[str]) -> E:
    """The experiment that the command asks for; `--help` lists the known names."""
    return tyro.cli(kind, description=f"{kind.__doc__} Names: {', '.join(known)}.")


def reproduce(
    experiment: E, known: Collection[str], run: Callable[[str, E, int], None], show: Callable[[], None]
) -> None:
    """Call `run` for each name and seed that the experiment asks for, then `show` if it asks for the table."""
    refuse_unknown(experiment.names, known)
    _source()
    for name in experiment.names:
        for seed in experiment.seeds:
            run(name, experiment, seed)
    if experiment.table:
        show()


@functools.cache
def _source() -> dict[str, Any]:
    """The source at the first call, which comes before training: the files may change while an agent trains."""
    return source(None)


def refuse_unknown(names: Collection[str], known: Collection[str]) -> None:
    """SystemExit that lists the known ones if any of `names` is not among them."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"unknown names {unknown}; known: {', '.join(known)}")


def finished_run(name: str, config: RunConfig, kind: type[A], device: str) -> tuple[A, float]:
    """The agent of the run in `runs/NAME` after all its training, and the seconds that took.

    New, going on where it stopped, or trained before; SystemExit that says so if it is stopped.
    """
    folder, distribution = RUNS / name, config.make_distribution(trust=True)
    agent = kind(distribution, kind.Options(**config.options), seed=config.seed, device=device)
    config = replace(config, teaching=asdict(agent.teaching))
    run = Run.resume(folder, config) if folder.exists() else Run.create(folder, config)
    if run.checkpoint.exists():
        agent = kind.load(run.checkpoint, device, distribution)
    print(
        f"{folder.name}: {config.total_timesteps:,} steps on {agent.device}, {torch.get_num_threads()} threads",
        flush=True,
    )
    if agent.num_timesteps < config.total_timesteps and train(run, agent) is not None:
        raise SystemExit(f"stopped; repeat the command to go on with {folder}")
    return agent, run.training_seconds()


def with_options(agent: A, **changed: Any) -> A:
    """The same trained agent with other options, for a test."""
    tested = type(agent)(agent.distribution, replace(agent.options, **changed), seed=agent.seed, device=agent.device)
    tested.load_state(agent.state(), "the trained agent")
    return tested


def returns_by_step(agent: MAML, num_tasks: int, **test: Any) -> Numbers:
    """Mean episode returns `[num_tasks, test_steps + 1]` before and after each inner step, in tasks of the test split.

    `test` are the options that differ from training. Actions are drawn.
    """
    tested = with_options(agent, **test)
    policy = tested.policy(num_tasks, deterministic=False, seed=agent.seed)
    split, seed = agent.distribution.split("test"), 1000 + agent.seed
    result = evaluate(policy, split, num_tasks, tested.trial_episodes, seed, progress_bar=True)
    return np.asarray(result.returns.reshape(num_tasks, test["test_steps"] + 1, -1).mean(2))


def standard_error(values: Numbers) -> Numbers:
    """Of the mean over the first axis."""
    return np.asarray(values.std(0, ddof=1) / len(values) ** 0.5)


def write_result(name: str, row: dict[str, Any], agent: Agent, seconds: float, indent: int | None = None) -> None:
    """Write the row into `experiments/results/NAME.json`, with all that is needed to repeat it.

    That is who taught the agent, its options, the commit, the seconds of training and the hardware with versions.
    """
    write_row(name, row, asdict(agent.options), str(agent.teaching), agent.device, seconds, indent)


def write_row(
    name: str,
    row: dict[str, Any],
    options: dict[str, Any],
    taught_by: str,
    device: torch.device,
    seconds: float,
    indent: int | None = None,
) -> None:
    """As `write_result`, for what is no agent of metarl."""
    facts: dict[str, Any] = {"taught_by": taught_by, "options": options, **_source()}
    facts |= {"seconds": round(seconds), "hardware": hardware(device)}
    write_atomically(RESULTS / f"{name}.json", json.dumps(row | facts, indent=indent) + "\n")


def results(pattern: str) -> list[dict[str, Any]]:
    """The rows of the result files whose names match a shell-style pattern, in the order of their names."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(RESULTS.glob(f"{pattern}.json"))]


def rows_of_file(
    file: Path,
    known: Collection[str],
    names: Iterable[str],
    is_measured: Callable[[dict[str, Any], str], bool],
    measure: Callable[[str], dict[str, Any]],
) -> dict[str, Any]:
    """The rows by name of a file that holds all of them; those of `names` that it lacks are measured and saved."""
    _source()
    rows = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in names:
        if name not in rows or not is_measured(rows[name], name):
            measured = {**rows, name: measure(name) | _source()}
            rows = {row: measured[row] for row in known if row in measured}
            write_atomically(file, json.dumps(rows, indent=1) + "\n")
    return rows


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def joined(values: Iterable[float], form: str) -> str:
    """Numbers in one cell, such as those of several seeds.

    >>> joined([1, 2.25], ".1f")
    '1.0, 2.2'
    """
    return ", ".join(format(value, form) for value in values)


def minutes(rows: Iterable[dict[str, Any]]) -> str:
    """How long the training of each row took."""
    return joined((row["seconds"] / 60 for row in rows), ".0f")


def with_error(row: dict[str, Any], form: str) -> str:
    """The mean of a row and its standard error."""
    return f"{row['mean']:{form}} ± {row['error']:{form}}"
