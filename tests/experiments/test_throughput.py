"""Every benchmark runs at sizes that say nothing about speed, and its rows and its file make sense."""

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

NAMES = (
    "environments",
    "attention",
    "recurrent",
    "grid",
    "training",
    "bandit",
    "meta-iteration",
    "robots",
    "robot-training",
)


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_runs(name: str, experiments: Any, device: str) -> None:
    pytest.importorskip("sb3_contrib")
    if device == "far":
        pytest.skip("the simulated device has no speed to measure")
    tiny = experiments("throughput.sizes").TINY
    rows = list(experiments("throughput.benchmarks").BENCHMARKS[name](tiny, 1, torch.device(device)))
    assert rows
    for row in rows:
        assert all(len(values) == 1 and values[0] > 0 and math.isfinite(values[0]) for values in row.rounds.values())
        assert all(side in row.table() for side in row.rounds)
        assert all(row.ratios[reference][reference] == 1 for reference in row.references)


def test_ratios_are_medians_of_the_rounds(experiments: Any) -> None:
    """The machine was ten times slower in the second round: no ratio may notice."""
    row = experiments("timing").Row("title", "steps/s", {"a": [1.0, 0.1, 2.0], "b": [3.0, 0.3, 6.0]}, ("a",))
    assert row.medians == {"a": 1.0, "b": 3.0}
    assert row.ratios["b"]["a"] == pytest.approx(3.0)
    assert "3.00 x A" in row.table()


def test_every_side_runs_in_every_round_after_one_to_warm_up(experiments: Any) -> None:
    timing, done = experiments("timing"), []

    def work(name: str) -> int:
        done.append(name)
        return 7

    def side(name: str) -> Any:
        return timing.Side(name, lambda: functools.partial(work, name))

    row = timing.compare("title", [side("a"), side("b")], 2, torch.device("cpu"))
    assert done == ["a", "b"] * 3
    assert {name: len(values) for name, values in row.rounds.items()} == {"a": 2, "b": 2}


def test_the_file_keeps_what_it_holds_of_other_benchmarks(experiments: Any, tmp_path: Path) -> None:
    throughput = experiments("throughput.benchmarks")
    throughput.main(only=("attention",), repeats=1, device="cpu", tiny=True, folder=tmp_path)
    row = experiments("timing").Row("until 99% of the optimum", "s", {"RL²": [7.84712]})
    throughput.keep(tmp_path / "throughput-cpu.json", "bandit", [row], torch.device("cpu"))
    content = json.loads((tmp_path / "throughput-cpu.json").read_text(encoding="utf-8"))
    assert set(content) == {"attention", "bandit"}
    assert content["bandit"]["rows"][0]["medians"] == {"RL²": 7.847}
    assert content["attention"]["hardware"]["torch_threads"] == torch.get_num_threads()
    assert list(tmp_path.iterdir()) == [tmp_path / "throughput-cpu.json"]


def test_cartpole_is_that_of_gymnasium(experiments: Any) -> None:
    experiments("throughput.cartpole").check_cartpole(300)


def test_a_target_that_is_missed_is_no_time(experiments: Any) -> None:
    """No policy earns half as much again as the optimum."""
    sizes = dataclasses.replace(experiments("throughput.sizes").TINY, bandit_share=1.5)
    with pytest.raises(RuntimeError, match="not reached in"):
        list(experiments("throughput.training").bandit(sizes, 1, torch.device("cpu")))
