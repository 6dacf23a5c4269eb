"""Comparing speeds on a machine that is never quiet: sides in turn, in several rounds, and medians of their ratios."""

import contextlib
import ctypes
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, final

import torch

PACKAGES = ("torch", "numpy", "gymnasium", "stable-baselines3", "sb3-contrib", "mujoco")

Work = Callable[[], int]  # does it, and returns how many environment steps it did


class Side(NamedTuple):
    """One of the things to compare."""

    name: str
    prepare: Callable[[], Work]  # builds afresh, not timed, what is then timed
    reference: bool = False  # whether the others are measured against it


@final
@dataclass(frozen=True)
class Row:
    """One comparison: what each side made of each round, and which sides the others are measured against."""

    title: str
    unit: str
    rounds: dict[str, list[float]]
    references: tuple[str, ...] = ()

    @property
    def medians(self) -> dict[str, float]:
        return {name: statistics.median(values) for name, values in self.rounds.items()}

    @property
    def ratios(self) -> dict[str, dict[str, float]]:
        """By side and reference, how many times the reference's value: the median over rounds, each with its noise."""
        return {
            name: {other: _median_ratio(values, self.rounds[other]) for other in self.references}
            for name, values in self.rounds.items()
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "unit": self.unit,
            "medians": _rounded(self.medians),
            "ratios": {name: _rounded(ratios) for name, ratios in self.ratios.items()},
            "rounds": {name: [_four_digits(value) for value in values] for name, values in self.rounds.items()},
        }

    def table(self) -> str:
        """Side, median, smallest and largest value, and the ratio to each reference, as aligned plain text."""
        lines = [f"{self.title} [{self.unit}]"]
        marks = {reference: chr(ord("A") + i) for i, reference in enumerate(self.references)}
        for name, values in self.rounds.items():
            spread = f"{_shown(min(values))} to {_shown(max(values))}"
            ratios = "".join(f"{ratio:>9.2f} x {marks[other]}" for other, ratio in self.ratios[name].items())
            lines.append(f"  {marks.get(name, ' ')} {name:<44} {_shown(self.medians[name]):>13}  {spread:>27}{ratios}")
        return "\n".join(lines)


def compare(title: str, sides: Iterable[Side], rounds: int, device: torch.device) -> Row:
    """Steps per second of each side in `rounds` rounds after one that only warms up; all sides run in every round."""
    sides = list(sides)
    values: dict[str, list[float]] = {side.name: [] for side in sides}
    for number in range(rounds + 1):
        for side in sides:
            rate = steps_per_second(side.prepare(), device)
            if number > 0:
                values[side.name].append(rate)
    return Row(title, "steps/s", values, tuple(side.name for side in sides if side.reference))


def steps_per_second(work: Work, device: torch.device) -> float:
    start = clock(device)
    steps = work()
    return steps / (clock(device) - start)


def clock(device: torch.device) -> float:
    """Seconds, once the device has done all it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_memory(work: Work, device: torch.device) -> float | None:
    """Megabytes that the work needs at its peak beyond what was held before; None where the system does not say.

    On a GPU the tensors', on the CPU the whole process's resident memory, which Linux counts to a quarter megabyte.
    """
    if device.type == "cuda":
        held = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return (torch.cuda.max_memory_allocated(device) - held) / 1e6
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # restarts the count of the peak
    except OSError:
        return None
    with contextlib.suppress(OSError, AttributeError):  # other C libraries keep it
        ctypes.CDLL(None).malloc_trim(0)  # gives back what was freed, whose reuse would not count
    before = _resident(status, "VmRSS")
    work()
    return max(0.25, (_resident(status, "VmHWM") - before) / 1e3)


def _resident(status: Path, name: str) -> float:
    """A line of the process's status, in kB."""
    lines = status.read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def hardware(device: torch.device) -> dict[str, Any]:
    """What the numbers were measured on."""
    facts: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }
    if device.type == "cuda":
        facts["accelerator"] = torch.cuda.get_device_name(device)
    return facts


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _median_ratio(values: list[float], others: list[float]) -> float:
    return statistics.median(value / other for value, other in zip(values, others, strict=True))


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: _four_digits(value) for name, value in values.items()}


def _four_digits(value: float) -> float:
    """More would be noise."""
    return float(f"{value:.4g}")
