"""The script for a machine with a GPU: a rehearsal of all of it, and what happens when a part hangs or fails."""

import importlib.metadata
import json
import math
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

WHEELS = Path(__file__).parents[2] / "experiments" / "gpu_wheels.txt"
PRESENT = ("torch", "scipy", "safetensors", "matplotlib", "pytest")  # on a bare machine, with all that they need
TESTS = """
import pytest

@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_passes(device):
    pass

@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_fails(device):
    assert device == "an apple"

@pytest.mark.parametrize("device", ["cpu"])
def test_is_skipped(device):
    pytest.skip("no reason")

def test_takes_no_device():
    assert False
"""


def test_a_rehearsal_measures_every_part(experiments: Any, tmp_path: Path) -> None:
    gpu = experiments("gpu")
    arguments = ["--tiny", "--device", "cpu", "--folder", str(tmp_path), "--patience", "8"]
    assert gpu.main(arguments) == 0
    content = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert list(content) == list(gpu.LIMITS)
    for entry in content.values():
        assert entry["state"] == "done"
        assert entry["rows"]
        assert entry["machine"]["torch"] == torch.__version__
        assert entry["options"] == {"device": "cpu", "tiny": True, "patience": 8.0}
    assert all(row["agrees"] for row in content["agreement"]["rows"])
    assert [row["passed"] for row in content["tests"]["rows"]] == [row["chosen"] for row in content["tests"]["rows"]]
    rates = [row for name in content if name not in ("tests", "agreement") for row in content[name]["rows"]]
    values = [value for row in rates for rounds in row["rounds"].values() for value in rounds]
    assert all(value > 0 and math.isfinite(value) for value in values)
    text = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert all(f"## {name}" in text for name in gpu.LIMITS)
    assert {path.name for path in tmp_path.iterdir()} == {"gpu.json", "gpu.md"}


def test_all_limits_together_leave_time_to_start(experiments: Any) -> None:
    assert sum(experiments("gpu").LIMITS.values()) <= 460  # of eight minutes


def test_what_hangs_is_ended_and_what_it_said_before_is_known(experiments: Any, tmp_path: Path) -> None:
    process = experiments("throughput.gpu_process")
    heard: list[dict[str, int]] = []
    program = (
        f"import time; print('so far', end=''); print('{process.RECORD}{{\"row\": 1}}', flush=True); time.sleep(60)"
    )
    start = time.monotonic()
    ended = process.run([sys.executable, "-c", program], tmp_path, {}, 3, heard.append)
    assert time.monotonic() - start < 30
    assert (ended.state, ended.output, heard) == ("timed out", ("so far",), [{"row": 1}])


def test_what_fails_says_why(experiments: Any, tmp_path: Path) -> None:
    ended = experiments("throughput.gpu_process").run([sys.executable, "-c", "1 / 0"], tmp_path, {}, 60, print)
    assert ended.state == "failed"
    assert ended.output[-1].startswith("ZeroDivisionError")


def test_a_part_that_fails_costs_no_other(experiments: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a later run measures replaces its own part of the file and no other."""
    gpu, row = experiments("gpu"), experiments("timing").Row("title", "steps/s", {"side": [3.0]}).to_json()
    state = "failed"

    def run(command: Sequence[str], *others: Any) -> Any:
        others[-1]({"machine": {"torch": "2"}})
        if command[3] == "tests":
            return gpu.Ended(state, 1.0, ("the reason",))
        others[-1]({"row": {**row, "title": "replaced"}})
        others[-1]({"row": row})
        others[-1]({"row": {**row, "title": "replaced", "unit": "s"}})
        return gpu.Ended("done", 2.0, ("nothing of interest",))

    monkeypatch.setattr(gpu, "run", run)
    arguments = ["--device", "cpu", "--folder", str(tmp_path), "--only", "tests", "bandit"]
    assert gpu.main(arguments) == 1
    content = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert (content["tests"]["state"], content["tests"]["output"]) == ("failed", ["the reason"])
    assert content["bandit"]["state"] == "done"
    assert [(r["title"], r["unit"]) for r in content["bandit"]["rows"]] == [("title", "steps/s"), ("replaced", "s")]
    state = "done"
    assert gpu.main(arguments[:-1]) == 0
    later = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert later["tests"]["state"] == "done"
    assert later["bandit"] == content["bandit"]
    assert "side | 3" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_the_tests_of_one_device_are_chosen_and_counted(
    experiments: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu_tests = experiments("throughput.gpu_tests")
    rows: list[dict[str, Any]] = []
    (tmp_path / "test_three.py").write_text(TESTS)
    (tmp_path / "test_cannot_be_read.py").write_text("import no_such_module")
    monkeypatch.setattr(gpu_tests, "TESTS", tmp_path)
    with pytest.raises(SystemExit, match="TESTS_FAILED"):
        gpu_tests.device_tests("cpu", False, rows.append)
    last = rows[-1]
    assert (last["chosen"], last["passed"], last["failed"], last["skipped"]) == (3, 1, 1, 1)
    names = [re.split("::|/", failure["test"])[-1] for failure in last["failures"]]
    assert names == ["test_cannot_be_read.py", "test_fails[cpu]"]
    assert "an apple" in last["failures"][1]["traceback"]
    assert any(str(row["running"]).endswith("test_fails[cpu]") for row in rows)


def test_a_simulated_device_computes_the_numbers_of_the_cpu(experiments: Any, far: str) -> None:
    """Fine-tuning draws from generators of its own and from the global ones, on both devices."""
    agreement = experiments("throughput.gpu_agreement")
    with agreement.comparable():
        here, there = (agreement.fine_tuning(torch.device(name)) for name in ("cpu", far))
    share, name = agreement.largest_difference(here, there)
    assert share < 1e-6, name
    assert any(key.startswith("adapted.") for key in here)


def test_differences_are_found(experiments: Any) -> None:
    agreement = experiments("throughput.gpu_agreement")
    x = {"a": torch.tensor([1.0, -4.0], dtype=torch.float64), "b": torch.zeros(3)}
    assert agreement.largest_difference(x, {**x, "a": x["a"] + 0.1}) == (pytest.approx(0.025), "a")
    assert agreement.largest_difference(x, {**x, "b": torch.full((3,), 1e-12)})[0] == pytest.approx(1e-6)
    assert agreement.largest_difference(x, x)[0] == 0
    for other in ({"a": x["a"]}, {**x, "b": torch.zeros(2)}, {**x, "b": torch.full((3,), math.nan)}):
        assert agreement.largest_difference(x, other)[0] == math.inf


def test_a_work_that_fails_costs_no_other(experiments: Any) -> None:
    Row, apart = experiments("timing").Row, experiments("throughput.gpu_training").apart
    rows = iter(
        apart(
            {
                "one": lambda: [Row("title", "s", {"one": [1.0]})],
                "two": lambda: 1 / 0,
                "three": lambda: [Row("title", "s", {"three": [3.0]}), Row("other", "s", {"three": [4.0]})],
            }
        )
    )
    assert [next(rows).rounds for _ in range(3)] == [{"one": [1.0]}, {"one": [1.0], "three": [3.0]}, {"three": [4.0]}]
    with pytest.raises(SystemExit, match="failed: two"):
        next(rows)


def test_wheels_are_looked_for_where_there_are_some(experiments: Any, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no wheels in"):
        experiments("throughput.gpu_process").install(tmp_path, tmp_path)


def test_the_list_of_wheels_is_what_a_bare_machine_lacks() -> None:
    lines = [line for line in WHEELS.read_text().splitlines() if line and not line.startswith("#")]
    listed = {canonicalize_name(re.split("[<>=]", line)[0]) for line in lines}
    assert listed == needed({"metarl-toolkit", "mujoco"}) - needed(set(PRESENT)) - {"metarl-toolkit"}


def needed(packages: set[str]) -> set[str]:
    """These packages and all that they need, and so on."""
    found: set[str] = set()
    while packages - found:
        name = (packages - found).pop()
        found.add(name)
        asked = [Requirement(text) for text in importlib.metadata.requires(name) or ()]
        packages |= {canonicalize_name(r.name) for r in asked if r.marker is None or r.marker.evaluate({"extra": ""})}
    return found
