"""The device tests on one device, each counted as soon as it is over: what hangs or breaks the GPU costs no other."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import pytest
import torch

TESTS = Path(__file__).resolve().parents[2] / "tests"
FEW = ("test_seeding.py", "tasks/test_distribution.py")  # for a rehearsal
FINISHED = "METARL_FINISHED_TESTS"  # an environment variable: names of tests that an earlier process has run
LINES = 25  # of each failure's traceback
EVERY = 20  # tests between two lines that say how far it has come


def device_tests(device: str, few: bool, emit: Callable[[dict[str, Any]], None]) -> None:
    """Run every test that takes the `device` fixture with this device; SystemExit if one fails or none was found.

    After a test that breaks the GPU for its process the others run in a new one.
    """
    finished = json.loads(os.environ.get(FINISHED, "[]"))
    recorder = Recorder(device, finished, emit)
    where = [str(TESTS / name) for name in FEW] if few else [str(TESTS)]
    code = pytest.main(
        [*where, "-p", "no:cacheprovider", "--tb=short", "--continue-on-collection-errors"], plugins=[recorder]
    )
    if recorder.broken:
        environment = {**os.environ, FINISHED: json.dumps([*finished, *recorder.finished])}
        subprocess.run([sys.executable, *sys.argv], env=environment, check=False)
    if code != pytest.ExitCode.OK:
        raise SystemExit(f"pytest: {pytest.ExitCode(code).name}")


@final
class Recorder:
    """A plugin of pytest: chooses the tests, and reports after each what all have come to."""

    def __init__(self, device: str, skipped: Sequence[str], emit: Callable[[dict[str, Any]], None]) -> None:
        self.finished: list[str] = []
        self.broken = False
        self._device = device
        self._before = set(skipped)
        self._title = f"tests on {device}" + (f" after {skipped[-1]} broke the GPU" if skipped else "")
        self._emit = emit
        self._chosen = 0
        self._counts: Counter[str] = Counter()
        self._failures: list[dict[str, str]] = []
        self._session: pytest.Session | None = None

    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        self._session = session
        items[:] = [item for item in items if _device(item) == self._device and item.nodeid not in self._before]
        self._chosen = len(items)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._fail(report.nodeid, report.longreprtext)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._report(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            self._counts[report.outcome] += 1
        if report.failed:
            self._fail(report.nodeid, report.longreprtext)
            self.broken = self.broken or not _works(self._device)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.finished.append(nodeid)
        if len(self.finished) % EVERY == 0:
            self._report(None)
        if self.broken and self._session is not None:
            self._session.shouldstop = "the GPU refuses all further work of this process"

    def _fail(self, name: str, traceback: str) -> None:
        self._failures.append({"test": name, "traceback": "\n".join(traceback.splitlines()[-LINES:])})

    def _report(self, running: str | None) -> None:
        counts = {outcome: self._counts[outcome] for outcome in ("passed", "failed", "skipped")}
        progress = {"title": self._title, "chosen": self._chosen, **counts, "running": running}
        self._emit({**progress, "failures": self._failures})

    def pytest_sessionfinish(self) -> None:
        self._report(None)


def _device(item: pytest.Item) -> Any:
    """What the test's `device` fixture will be; None where it takes none."""
    call = getattr(item, "callspec", None)
    return None if call is None else call.params.get("device")


def _works(device: str) -> bool:
    """Whether the GPU still takes work from this process: after an illegal access it refuses everything."""
    try:
        torch.ones(1, device=device).item()
    except RuntimeError:
        return False
    return True
