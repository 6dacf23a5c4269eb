"""What `make demo` runs: meta-train an attention agent on bandits and measure it on bandits it has never seen.

The agent does not know what a bandit is, nor when to explore. Beside it stand the classical baselines, which know
everything but the success probabilities, and the Bayes-optimal value, which is an upper limit.
"""

import shutil
import time
from dataclasses import asdict
from pathlib import Path

import tyro

from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.evaluation.results import adaptation_table
from metarl.runs.folder import Run, RunConfig
from metarl.runs.meta_test import MetaTest
from metarl.runs.results import write_results
from metarl.runs.training_loop import train

STEPS = 900_000
OPTIONS = RL2Options(memory="transformer")
BANDIT = {"arms": 5, "pulls": 10}


def main(steps: int = STEPS, num_tasks: int = 20_000, seed: int = 0, folder: Path = Path("runs/demo")) -> None:
    """Train, evaluate, print the table and write report.html.

    Args:
        steps: Pulls to meta-train on, over all bandits.
        num_tasks: Unseen bandits to measure on.
        seed: The one seed of every random stream.
        folder: Run folder; what an earlier demo left there is replaced.
    """
    shutil.rmtree(folder, ignore_errors=True)
    run = Run.create(folder, RunConfig("rl2", "bernoulli-bandit", BANDIT, seed, steps, asdict(OPTIONS)))
    bandits = run.config.make_distribution()
    agent = RL2(bandits, OPTIONS, seed=seed)
    print(f"meta-training a Transformer on bandits of {bandits.name}: {steps:,} pulls on {agent.device}")
    start = time.monotonic()
    if train(run, agent) is not None:
        raise SystemExit(f"stopped early; {folder} keeps what was learned")
    seconds = time.monotonic() - start

    print(f"\nmeasuring it, and the classical baselines, on {num_tasks:,} unseen bandits")
    trials = MetaTest(bandits.split("test"), num_tasks, seed=seed)
    ours = trials.play(trials.agent(agent), "rl2 (Transformer)")
    results = [ours, *trials.references()]
    page = write_results(folder, run, trials, agent, results)
    print(f"\n{adaptation_table(results)}\n")
    if ours.optimal is not None:
        share = ours.totals.mean() / ours.optimal.total
        print(f"{share:.1%} of the Bayes-optimal return after {seconds:.0f} s of meta-training")
    print(f"report: {page}")


if __name__ == "__main__":
    tyro.cli(main)
