"""The MAML family on 2-D navigation by the protocol of Finn et al. 2017: train, measure the last checkpoint, keep JSON.

    python -m experiments.reproductions.point_navigation maml-trpo promp --seeds 0 1 2
    python -m experiments.reproductions.point_navigation --table

Training: 40 tasks with 20 rollouts before and after each of two inner steps, of sizes .5 and .05 (the paper: one step
of .5). Test: 40 goals, 40 rollouts before each of three steps, the third of size .025, or as the second where sizes are
learned; actions are drawn. A stopped run goes on when its command is repeated.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from experiments.reproduction import (
    Experiment,
    Numbers,
    finished_run,
    from_command_line,
    markdown,
    reproduce,
    results,
    returns_by_step,
    standard_error,
    write_result,
)
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import RECIPES, MAMLOptions
from metarl.runs.folder import RunConfig

PROTOCOL: dict[str, Any] = {
    "width": 100,
    "inner_steps": 2,
    "inner_lr": (0.5, 0.05),
    "rollouts_per_task": 20,
    "meta_batch_size": 40,
}
TEST: dict[str, Any] = {"inner_lr": (0.5, 0.05, 0.025), "test_rollouts": 40, "test_steps": 3}
# With sizes of the inner steps learned for each layer and step, as MAML++ and the code of ProMP's authors offer
LEARNED = {f"{name}-per-layer": replace(RECIPES[name], inner_update="per-layer") for name in ("maml-trpo", "promp")}
METHODS = {**RECIPES, **LEARNED}
PUBLISHED = ("MAML-TRPO, Finn et al. 2017", "-40.41", "-11.68", "-3.33", "-3.23", "", "")


@dataclass(frozen=True)
class Methods(Experiment):
    """Train methods of the MAML family and measure them, or print the table."""

    iterations: int = 100
    """Updates of the outer loop."""


def main(experiment: Methods) -> None:
    reproduce(experiment, METHODS, run_method, lambda: print(table()))


def run_method(name: str, experiment: Methods, seed: int) -> None:
    """Train one run to its end, measure it, and write its result."""
    options = replace(METHODS[name], **PROTOCOL)
    steps = experiment.iterations * iteration_steps(options)
    config = RunConfig("maml", "point-navigation", {}, seed, steps, asdict(options))
    agent, seconds = finished_run(f"point_navigation/{name}-seed{seed}", config, MAML, experiment.device)
    returns = returns_by_step(agent, 40, **test_options(options))
    row = {
        "method": name,
        "seed": seed,
        "steps": steps,
        "iterations": experiment.iterations,
        "command": f"python -m experiments.reproductions.point_navigation {name} --seeds {seed} "
        f"--iterations {experiment.iterations}",
        "mean": returns.mean(0).round(4).tolist(),
        "error": standard_error(returns).round(4).tolist(),
    }
    write_result(f"point-navigation-{name}-seed{seed}", row, agent, seconds, indent=1)
    print(f"{name}, seed {seed}: after 0, 1, 2, 3 steps {row['mean']}")


def iteration_steps(options: MAMLOptions) -> int:
    """Environment steps of one update on episodes of 100 steps."""
    return options.meta_batch_size * options.rollouts_per_task * 100 * (options.inner_steps + 1)


def test_options(options: MAMLOptions) -> dict[str, Any]:
    """What differs from training in the test: sizes that are learned stay as they are."""
    return TEST if options.inner_update == "fixed" else {**TEST, "inner_lr": options.inner_lr}


def table() -> str:
    """A Markdown table of all results: mean over seeds after 0 to 3 steps, and the range of several seeds."""
    lines = []
    for name in METHODS:
        if rows := results(f"point-navigation-{name}-seed*"):
            means = np.array([row["mean"] for row in rows])
            minutes = np.mean([row["seconds"] for row in rows]) / 60
            lines.append((name, *map(_cell, means.T), str(len(rows)), f"{minutes:.0f}"))
    return markdown(("method", "0 steps", "1", "2", "3", "seeds", "minutes each"), [*lines, PUBLISHED])


def _cell(values: Numbers) -> str:
    spread = f" [{values.min():.2f}, {values.max():.2f}]" if len(values) > 1 else ""
    return f"{values.mean():.2f}{spread}"


if __name__ == "__main__":
    main(from_command_line(Methods, METHODS))
