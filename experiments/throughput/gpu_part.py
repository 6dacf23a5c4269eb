"""One part of `experiments/gpu.py`, in a process of its own.

python -m experiments.throughput.gpu_part PART DEVICE SECONDS [--tiny]
"""

import faulthandler
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from experiments.throughput.gpu_process import RECORD
from experiments.throughput.sizes import CPU, CUDA, TINY, Sizes
from experiments.timing import hardware
from metarl.devices import resolve_device
from metarl.imports import import_attribute

ROUNDS = 3
TRIALS = 4096  # at once, while acting with attention
SPEEDS = {
    "environments": "experiments.throughput.gpu_training:environments",
    "training": "experiments.throughput.gpu_training:training",
    "graphs": "experiments.throughput.gpu_training:graphs",
    "attention": "experiments.throughput.rollouts:attention",
    "meta-iteration": "experiments.throughput.meta:meta_iteration",
    "bandit": "experiments.throughput.gpu_training:bandit",
}


def main(name: str, device: str, seconds: str, *flags: str) -> None:
    """Print the machine and the rows of one part as records, each as soon as it is known.

    Shortly before the time is up, print where the program hangs.
    """
    channel = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")  # pytest takes standard output for itself
    faulthandler.dump_traceback_later(0.95 * float(seconds), file=channel)

    def emit(record: dict[str, Any]) -> None:
        channel.write(RECORD + json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")

    place = resolve_device(device)
    emit({"machine": machine(place)})
    if name == "tests":
        import_attribute("experiments.throughput.gpu_tests:device_tests")(
            device, "--tiny" in flags, lambda row: emit({"row": row})
        )
        return
    for row in measured(name, place, "--tiny" in flags):
        emit({"row": row})


def measured(name: str, device: torch.device, tiny: bool) -> Iterator[dict[str, Any]]:
    """The rows of a part; only what it needs is imported, so that a module that is broken costs no other part."""
    if name == "agreement":
        yield from import_attribute("experiments.throughput.gpu_agreement:agreement")(device, tiny)
        return
    rows: Callable[[Sizes, int, torch.device], Iterator[Any]] = import_attribute(SPEEDS[name])
    for row in rows(sizes(device, tiny), 1 if tiny else ROUNDS, device):
        yield row.to_json()


def sizes(device: torch.device, tiny: bool) -> Sizes:
    if tiny:
        return TINY
    return replace(CUDA, attention_trials=TRIALS) if device.type == "cuda" else CPU


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers were measured on."""
    facts = {**hardware(device), "cuda": torch.version.cuda}
    if device.type == "cuda":
        facts["accelerator_memory"] = torch.cuda.get_device_properties(device).total_memory
        facts["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        facts["tf32"] = {"matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32}
    return facts


if __name__ == "__main__":
    main(*sys.argv[1:])
