"""How fast metarl is, measured against what one would use instead, in one process and on the same work.

Everything that is compared runs in turn, several times; what counts is the median of the ratios within a round, for
the machine's other work slows both sides of a round alike. Where two sides compute the same numbers, this is asserted
before they are timed.

    python -m experiments.throughput.benchmarks           all benchmarks on the GPU if there is one, else on the CPU
    python -m experiments.throughput.benchmarks --only attention --repeats 9
    python -m experiments.throughput.benchmarks --device cpu --threads 1
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import tyro

from experiments.throughput.meta import meta_iteration
from experiments.throughput.mujoco import robot_training, robots
from experiments.throughput.rollouts import attention, environments, grid
from experiments.throughput.sizes import CPU, CUDA, TINY, Sizes
from experiments.throughput.training import bandit, recurrent, training
from experiments.timing import Row, hardware
from metarl.devices import resolve_device
from metarl.files import write_atomically

Name = Literal[
    "environments", "attention", "recurrent", "grid", "training", "bandit", "meta-iteration", "robots", "robot-training"
]
BENCHMARKS: dict[Name, Callable[[Sizes, int, torch.device], Iterator[Row]]] = {
    "environments": environments,
    "attention": attention,
    "recurrent": recurrent,
    "grid": grid,
    "training": training,
    "bandit": bandit,
    "meta-iteration": meta_iteration,
    "robots": robots,
    "robot-training": robot_training,
}
RESULTS = Path(__file__).parents[1] / "results"


def main(
    only: tuple[Name, ...] = get_args(Name),
    repeats: int = 5,
    device: str = "auto",
    threads: int | None = None,
    tiny: bool = False,
    folder: Path = RESULTS,
) -> None:
    """Run benchmarks, print their tables and write them to FOLDER/throughput-DEVICE.json.

    Args:
        only: The benchmarks to run; the file keeps what it holds of the others.
        repeats: Rounds that count, after one that does not.
        device: auto, cpu or cuda. What metarl is compared with runs there too, if it can.
        threads: Threads of torch; None: as many as it chooses.
        tiny: Sizes that say nothing about speed, to see that everything runs.
        folder: Where the file is written.
    """
    if repeats < 1:
        raise SystemExit(f"repeats must be at least 1, got {repeats}")
    if threads is not None:
        torch.set_num_threads(threads)
    place = resolve_device(device)
    sizes = TINY if tiny else CUDA if place.type == "cuda" else CPU
    for name in only:
        rows = []
        for row in BENCHMARKS[name](sizes, repeats, place):
            print(f"{row.table()}\n", flush=True)
            rows.append(row)
        keep(folder / f"throughput-{place.type}.json", name, rows, place)


def keep(path: Path, name: str, rows: list[Row], device: torch.device) -> None:
    """Put the rows of one benchmark into the file, with what they were measured on."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    content[name] = {"hardware": hardware(device), "rows": [row.to_json() for row in rows]}
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
