"""RL² on Meta-World's ML1: train, measure the success of the last checkpoint by the benchmark's protocol, keep JSON.

    python experiments/meta_world.py reach push --seeds 0
    python experiments/meta_world.py --table

Training: trials of three episodes of 500 steps, from dense rewards. Test: the 50 other layouts, 13 episodes in each, of
which the last three count; an episode succeeds if any of its steps does. A stopped run goes on when its command is
repeated. Needs `metarl[metaworld]`, in an environment of its own: it pins MuJoCo to one version.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tyro
from finished_run import finished_run
from known_names import refuse_unknown
from timing import hardware

import metarl
from metarl.agents.rl2 import RL2, RL2Options
from metarl.envs.meta_world import ADAPTATION, ml1, success_rates
from metarl.results import write_atomically
from metarl.runs import RunConfig

RESULTS = Path(__file__).parent / "results"
ENVIRONMENTS = {"reach": "reach-v3", "push": "push-v3"}
# Three layers that look back 512 steps each reach as far as a training trial: what was never seen is never read
OPTIONS = RL2Options(episodes=3, batch_steps=48_000, window=512)
LAYOUTS = 50


@dataclass(frozen=True)
class Experiment:
    """Train RL² on environments of Meta-World and measure it, or print the table."""

    environments: tyro.conf.Positional[tuple[str, ...]] = ()
    """Which: reach, push."""
    seeds: tuple[int, ...] = (0,)
    """One run each."""
    steps: int = 4_000_000
    """Environment steps of training."""
    device: str = "auto"
    """auto, cpu or cuda."""
    table: bool = False
    """Print the table of what is in experiments/results/."""


def main(experiment: Experiment) -> None:
    refuse_unknown(experiment.environments, ENVIRONMENTS, "environments")
    for name in experiment.environments:
        for seed in experiment.seeds:
            run_environment(name, experiment, seed)
    if experiment.table:
        print(table())


def run_environment(name: str, experiment: Experiment, seed: int) -> None:
    """Train one run to its end, measure it, and write its result."""
    config = RunConfig(
        "rl2", "meta-world-ml1", {"environment": ENVIRONMENTS[name]}, seed, experiment.steps, asdict(OPTIONS)
    )
    agent, seconds = finished_run(Path("runs") / "meta_world" / f"{name}-seed{seed}", config, RL2, experiment.device)
    family = ml1(ENVIRONMENTS[name])
    result = metarl.evaluate(
        agent.policy(LAYOUTS), family.split("test"), LAYOUTS, ADAPTATION + 3, 1000 + seed, progress=True
    )
    assert result.success is not None
    row = {
        "environment": name,
        "seed": seed,
        "steps": agent.num_timesteps,
        "command": f"python experiments/meta_world.py {name} --seeds {seed} --steps {experiment.steps}",
        "success": np.asarray(result.success, float).mean(0).round(4).tolist(),
        "after_adaptation": success_rates(result, family)[ENVIRONMENTS[name]],
        "returns": np.asarray(result.returns).mean(0).round(1).tolist(),
        "seconds": round(seconds),
        "hardware": hardware(agent.device),
    }
    write_atomically(RESULTS / f"meta-world-{name}-seed{seed}.json", json.dumps(row) + "\n")
    print(f"{name}, seed {seed}: {row['success']}, after adaptation {row['after_adaptation']:.3f}")


def table() -> str:
    """A Markdown table of all results, one line a run."""
    lines = [
        "| environment | seed | success in episodes 1, 2, 3 | in the last three of 13 | steps | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for file in sorted(RESULTS.glob("meta-world-*.json")):
        row = json.loads(file.read_text())
        first = ", ".join(f"{rate:.2f}" for rate in row["success"][:3])
        lines.append(
            f"| {row['environment']} | {row['seed']} | {first} | {row['after_adaptation']:.2f} | {row['steps']:,} "
            f"| {row['seconds'] / 60:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(tyro.cli(Experiment, description=Experiment.__doc__))
