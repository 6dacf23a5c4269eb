"""The MAML family on 2-D navigation by the protocol of Finn et al. 2017: train, measure the last checkpoint, keep JSON.

    python -m experiments.reproductions.point_navigation maml-trpo promp --seeds 0 1 2
    python -m experiments.reproductions.point_navigation --table

Training: 40 tasks with 20 rollouts before and after each of two inner steps, of sizes .5 and .05 (the paper: one step
of .5). Test: 40 goals, 40 rollouts before each of three steps, the third of size .025, or as the second where sizes are
learned; actions are drawn. A stopped run goes on when its command is repeated.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.reproductions.finished_run import finished_run
from experiments.reproductions.known_names import refuse_unknown
from experiments.timing import hardware
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import RECIPES, MAMLOptions
from metarl.evaluation.evaluator import evaluate
from metarl.files import write_atomically
from metarl.runs.folder import RunConfig

RESULTS = Path(__file__).parents[1] / "results"
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
PUBLISHED = "MAML-TRPO, Finn et al. 2017 | -40.41 | -11.68 | -3.33 | -3.23 |"


@dataclass(frozen=True)
class Experiment:
    """Train methods of the MAML family and measure them, or print the table."""

    methods: tyro.conf.Positional[tuple[str, ...]] = ()
    """Which: maml-trpo, fomaml, promp, e-maml, anil, meta-sgd, cavia, reptile, maml-trpo-per-layer,
    promp-per-layer."""
    seeds: tuple[int, ...] = (0,)
    """One run each."""
    iterations: int = 100
    """Updates of the outer loop."""
    device: str = "auto"
    """auto, cpu or cuda."""
    table: bool = False
    """Print the table of what is in experiments/results/."""


def main(experiment: Experiment) -> None:
    refuse_unknown(experiment.methods, METHODS, "methods")
    for name in experiment.methods:
        for seed in experiment.seeds:
            run_method(name, experiment, seed)
    if experiment.table:
        print(table())


def run_method(name: str, experiment: Experiment, seed: int) -> None:
    """Train one run to its end, measure it, and write its result."""
    options = replace(METHODS[name], **PROTOCOL)
    steps = experiment.iterations * iteration_steps(options)
    config = RunConfig("maml", "point-navigation", {}, seed, steps, asdict(options))
    folder = Path("runs") / "point_navigation" / f"{name}-seed{seed}"
    agent, seconds = finished_run(folder, config, MAML, experiment.device)
    returns = returns_by_step(agent)
    row = {
        "method": name,
        "seed": seed,
        "steps": steps,
        "iterations": experiment.iterations,
        "command": f"python -m experiments.reproductions.point_navigation {name} --seeds {seed} "
        f"--iterations {experiment.iterations}",
        "mean": returns.mean(0).round(4).tolist(),
        "error": (returns.std(0, ddof=1) / len(returns) ** 0.5).round(4).tolist(),
        "seconds": round(seconds),
        "hardware": hardware(agent.device),
    }
    write_atomically(RESULTS / f"point-navigation-{name}-seed{seed}.json", json.dumps(row, indent=1) + "\n")
    print(f"{name}, seed {seed}: after 0, 1, 2, 3 steps {row['mean']}")


def iteration_steps(options: MAMLOptions) -> int:
    """Environment steps of one update on episodes of 100 steps."""
    return options.meta_batch_size * options.rollouts_per_task * 100 * (options.inner_steps + 1)


def test_options(options: MAMLOptions) -> dict[str, Any]:
    """What differs from training in the test: sizes that are learned stay as they are."""
    return TEST if options.inner_update == "fixed" else {**TEST, "inner_lr": options.inner_lr}


def returns_by_step(agent: MAML, goals: int = 40, seed: int = 1000) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Mean episode returns `[goals, 4]` before and after each of three gradient steps, on goals of the test split."""
    options = replace(agent.options, **test_options(agent.options))
    tested = MAML(agent.distribution, options, seed=agent.seed, device=agent.device)
    tested.load_state(agent.state(), "the trained agent")
    policy = tested.policy(goals, deterministic=False, seed=agent.seed)
    test = agent.distribution.split("test")
    result = evaluate(policy, test, goals, tested.trial_episodes, seed + agent.seed, progress_bar=True)
    return np.asarray(result.returns.reshape(goals, 4, TEST["test_rollouts"]).mean(2))


def table() -> str:
    """A Markdown table of all results: mean over seeds after 0 to 3 steps, and the range of several seeds."""
    rows = [json.loads(file.read_text()) for file in sorted(RESULTS.glob("point-navigation-*-seed*.json"))]
    lines = ["| method | 0 steps | 1 | 2 | 3 | seeds | minutes each |", "|" + "---|" * 7]
    for name in METHODS:
        runs = [row for row in rows if row["method"] == name]
        if runs:
            means = np.array([row["mean"] for row in runs])
            cells = [_cell(column) for column in means.T]
            minutes = np.mean([row["seconds"] for row in runs]) / 60
            lines.append(f"| {name} | {' | '.join(cells)} | {len(runs)} | {minutes:.0f} |")
    return "\n".join([*lines, f"| {PUBLISHED} | |"])


def _cell(values: "np.ndarray[Any, np.dtype[np.float64]]") -> str:
    spread = f" [{values.min():.2f}, {values.max():.2f}]" if len(values) > 1 else ""
    return f"{values.mean():.2f}{spread}"


if __name__ == "__main__":
    main(tyro.cli(Experiment, description=Experiment.__doc__))
