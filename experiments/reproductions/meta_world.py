"""RL² on Meta-World's ML1: train, measure the success of the last checkpoint by the benchmark's protocol, keep JSON.

    python -m experiments.reproductions.meta_world reach push --seeds 0
    python -m experiments.reproductions.meta_world --table

Training: trials of three episodes of 500 steps, from dense rewards. Test: the 50 other layouts, 13 episodes in each, of
which the last three count; an episode succeeds if any of its steps does. All of it twice, with the most likely actions
and with drawn ones, as in training. A stopped run goes on when its command is repeated. Needs the extra
`metaworld`, in an environment of its own: it pins MuJoCo to one version.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import metarl
from experiments.figures.meta_world import STYLES, meta_world_figure
from experiments.reproduction import (
    DOCS,
    Experiment,
    finished_run,
    from_command_line,
    joined,
    markdown,
    minutes,
    reproduce,
    results,
    write_result,
)
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.envs.meta_world import ADAPTATION, ml1, success_rates
from metarl.evaluation.statistics import Interval, mean_interval
from metarl.reports.style import save_figure
from metarl.runs.folder import RunConfig

FIGURE = DOCS / "meta-world.png"
ENVIRONMENTS = {"reach": "reach-v3", "push": "push-v3"}
# Retrieval and two layers that look back 512 steps each reach as far as a training trial: no more is ever read
OPTIONS = RL2Options(num_episodes=3, batch_steps=48_000, window=512)
LAYOUTS = 50


@dataclass(frozen=True)
class Environments(Experiment):
    """Train RL² on environments of Meta-World and measure it, or print the table."""

    steps: int = 3_000_000
    """Environment steps of training."""


def main(experiment: Environments) -> None:
    reproduce(experiment, ENVIRONMENTS, run_environment, show)


def show() -> None:
    print(table())
    save_figure(meta_world_figure(curves()), FIGURE)


def run_environment(name: str, experiment: Environments, seed: int) -> None:
    """Train one run to its end, measure it, and write its result."""
    family = {"environment": ENVIRONMENTS[name]}
    config = RunConfig("rl2", "meta-world-ml1", family, seed, experiment.steps, asdict(OPTIONS))
    agent, seconds = finished_run(f"meta_world/{name}-seed{seed}", config, RL2, experiment.device)
    row: dict[str, Any] = {
        "environment": name,
        "seed": seed,
        "steps": agent.num_timesteps,
        "command": f"python -m experiments.reproductions.meta_world {name} --seeds {seed} --steps {experiment.steps}",
        "drawn": measure(agent, ENVIRONMENTS[name], False, seed),
        "most likely": measure(agent, ENVIRONMENTS[name], True, seed),
    }
    write_result(f"meta-world-{name}-seed{seed}", row, agent, seconds)
    rates = {actions: row[actions]["after_adaptation"] for actions in STYLES}
    print(f"{name}, seed {seed}, success after adaptation: {rates}", flush=True)


def measure(agent: RL2, environment: str, deterministic: bool, seed: int) -> dict[str, Any]:
    """Success of each layout in each episode, success by the benchmark's protocol, and mean returns of episodes."""
    family = ml1(environment)
    policy = agent.policy(LAYOUTS, deterministic, seed)
    result = metarl.evaluate(policy, family.split("test"), LAYOUTS, ADAPTATION + 3, 1000 + seed, progress_bar=True)
    return {
        "success": np.asarray(result.success, int).tolist(),
        "after_adaptation": success_rates(result, family)[environment],
        "returns": np.asarray(result.returns).mean(0).round(1).tolist(),
    }


def table() -> str:
    """A Markdown table of all results, one line for each way to act."""
    header = ("environment", "actions", "success in episodes 1 to 13", "the last three", "seed", "steps", "minutes")
    lines = []
    for row in measured():
        for actions in STYLES:
            rates = joined(np.mean(row[actions]["success"], 0), ".2f")
            last = f"{row[actions]['after_adaptation']:.2f}"
            trained = (str(row["seed"]), f"{row['steps']:,}", minutes([row]))
            lines.append((row["environment"], actions, rates, last, *trained))
    return markdown(header, lines)


def curves() -> dict[str, dict[str, Interval]]:
    """Success in each episode with 95 % intervals over layouts, by environment and way to act, all seeds."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for row in measured():
        runs.setdefault(row["environment"], []).append(row)

    def success(rows: list[dict[str, Any]], actions: str) -> Interval:
        return mean_interval([np.array(row[actions]["success"]) for row in rows])

    return {name: {actions: success(rows, actions) for actions in STYLES} for name, rows in runs.items()}


def measured() -> list[dict[str, Any]]:
    """The result of every run: reach, then push."""
    return [row for name in ENVIRONMENTS for row in results(f"meta-world-{name}-seed*")]


if __name__ == "__main__":
    main(from_command_line(Environments, ENVIRONMENTS))
