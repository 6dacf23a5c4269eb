"""What two processes under torchrun are worth on two cores, beside one process of two threads or of one.

`python -m experiments.throughput.several_processes` runs them in turn, prints their environment steps per second and
the ratios, and writes `results/several-processes.json`. Two processes that know nothing of each other run, too: they
show the most that two can do on this machine.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import final

import torch
import tyro
from stable_baselines3.common.callbacks import BaseCallback

import metarl
from experiments.timing import Row, hardware
from metarl import distributed
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.files import write_atomically
from metarl.training.agent import Agent

RESULT = Path(__file__).parents[1] / "results" / "several-processes.json"
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TWO_THREADS, ONE_THREAD = "one process of two threads", "one process of one thread"
STRANGERS = "two processes, strangers to each other"
SIDES = {  # launcher, threads, how many at once
    TWO_THREADS: ([], "2", 1),
    ONE_THREAD: ([], "1", 1),
    STRANGERS: ([], "1", 2),
    "two processes of one thread": (TORCHRUN, "1", 1),
}
CELLS = {
    "RL² (GRU, 400 trials of 60 steps) on grid navigation": "rl2",
    "MAML (TRPO, 20 tasks, 20 rollouts) on point navigation": "maml",
}


def main(rounds: int = 3, updates: int = 1, cell: str | None = None) -> None:
    """Compare all sides in every cell; with `cell`, train here, alone or as one of several, and print steps per second.

    Args:
        rounds: How often each side runs, in turn.
        updates: Updates that are timed, after one that is not.
        cell: What to train, in a process that this script starts.
    """
    if cell is not None:
        rate = steps_per_second(cell, updates)
        if rate is not None:
            print(rate)
        return
    rows = []
    for title, name in CELLS.items():
        rows.append(compare(title, name, rounds, updates))
        print(rows[-1].table(), flush=True)
    facts = hardware(torch.device("cpu"))
    facts.pop("torch_threads")
    write_atomically(RESULT, json.dumps({**facts, "rows": [row.to_json() for row in rows]}, indent=2) + "\n")


def compare(title: str, cell: str, rounds: int, updates: int) -> Row:
    values: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(rounds):
        for name, (launcher, threads, copies) in SIDES.items():
            command = [
                sys.executable,
                *launcher,
                "-m",
                "experiments.throughput.several_processes",
                "--cell",
                cell,
                "--updates",
                str(updates),
            ]
            environment = {**os.environ, "OMP_NUM_THREADS": threads}
            values[name].append(sum(_rates(command, environment, copies)))
    return Row(title, "steps/s", values, (TWO_THREADS, ONE_THREAD, STRANGERS))


def _rates(command: list[str], environment: dict[str, str], copies: int) -> list[float]:
    """What `copies` processes print that run at once. Raises CalledProcessError if one fails."""
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(copies)]
    printed = [process.communicate()[0] for process in started]
    for process in started:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
    return [float(text.splitlines()[-1]) for text in printed]


def steps_per_second(cell: str, updates: int) -> float | None:
    """Of all processes together; None in all but the first."""
    with distributed.joined("cpu"):
        clock = Clock(updates)
        agent(cell).learn(10**9, clock)
        return clock.rate if distributed.rank() == 0 else None


def agent(cell: str) -> Agent:
    if cell == "maml":
        return MAML(
            metarl.make("point-navigation"), MAMLOptions(meta_batch_size=20, rollouts_per_task=20), device="cpu"
        )
    return RL2(
        metarl.make("grid-navigation"), RL2Options(memory="gru", batch_steps=24_000, critic_epochs=0), device="cpu"
    )


@final
class Clock(BaseCallback):
    """Steps and seconds from the end of the first update to the end of the last."""

    def __init__(self, updates: int) -> None:
        super().__init__()
        self._updates = updates
        self._marks: list[tuple[int, float]] = []

    @property
    def rate(self) -> float:
        (steps, seconds), (last_steps, last_seconds) = self._marks[0], self._marks[-1]
        return (last_steps - steps) / (last_seconds - seconds)

    def _on_step(self) -> bool:
        return len(self._marks) < self._updates

    def _on_rollout_end(self) -> None:
        self._marks.append((self.model.num_timesteps, time.perf_counter()))


if __name__ == "__main__":
    tyro.cli(main)
