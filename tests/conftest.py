"""Fixtures for all tests."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from faults.tally import table
from simulated_device import available, simulated_device
from slow_tests import LONG, ON_SIMULATED, SLOW
from torch import Tensor

from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution, TaskVectorEnv

TESTS = Path(__file__).parent
Act = Callable[[Tensor, TaskVectorEnv], Tensor]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run what takes long as well")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        test = getattr(item, "originalname", item.name)
        file = item.path.relative_to(TESTS).as_posix()
        if SLOW & {file, f"{file}::{test}"}:
            item.add_marker(pytest.mark.slow)
        if any(part in item.name for part in LONG.get(f"{file}::{test}", ())):
            item.add_marker(pytest.mark.long)
            if not item.config.getoption("--long"):
                item.add_marker(pytest.mark.skip(reason="takes long: make long runs it"))
        chosen = ON_SIMULATED.get(f"{file}::{test}")
        if chosen is not None and "simulated" in item.name and not any(part in item.name for part in chosen):
            item.add_marker(pytest.mark.skip(reason="others of its kind run on the simulated device, which is slow"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How often each promise was tried and broken, of the fault injections that ran."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    properties = [pair for report in reports for pair in getattr(report, "user_properties", ())]
    rows = sorted({tuple(value) for name, value in properties if name == "fault"})
    if rows:
        terminalreporter.write_sep("=", "faults injected")
        terminalreporter.write_line(table(rows))


@pytest.fixture(params=["cpu", "simulated", "cuda"])
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every device that tensors may live on; what is not here is skipped."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    if request.param == "simulated":
        yield from _simulated()
    else:
        yield request.param


@pytest.fixture
def far() -> Iterator[str]:
    """The simulated device alone, for what only it can tell."""
    yield from _simulated()


def _simulated() -> Iterator[str]:
    if not available:
        pytest.skip("this torch has no room for a device written in Python")
    with simulated_device() as name:
        yield name


@pytest.fixture
def user_project(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's own folder on the Python path, with `drift_family.py` in it."""
    folder = Path(__file__).parent / "user_project"
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("drift_family", None)


@pytest.fixture
def episode_returns() -> Callable[[TaskDistribution, Tasks, Act], Tensor]:
    """The return of each slot's first episode, under actions that may look into the environment."""

    def play(distribution: TaskDistribution, tasks: Tasks, act: Act) -> Tensor:
        env = distribution.vector_env(len(tasks))
        env.set_tasks(tasks)
        observation, _ = env.reset(seed=0)
        total, playing = torch.zeros(len(tasks)), torch.ones(len(tasks), dtype=torch.bool)
        for _ in range(distribution.horizon):
            observation, reward, terminated, truncated, _ = env.step(act(observation, env))
            total += reward * playing
            playing &= ~(terminated | truncated)
        assert not playing.any()
        return total

    return play


@pytest.fixture(scope="module")
def experiments() -> Callable[[str], Any]:
    """Imports a module of the experiments by its name there."""
    return lambda name: importlib.import_module(f"experiments.{name}")
