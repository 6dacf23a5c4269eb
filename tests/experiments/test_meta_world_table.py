"""Meta-World: the table and the picture of what has been measured, with no Meta-World installed."""

import json
from pathlib import Path
from typing import Any

import pytest


def test_both_ways_to_act_are_shown(experiments: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = experiments("reproductions.meta_world")
    for name, seed in (("push", 0), ("reach", 0), ("reach", 1)):
        measured = {"success": [[seed, *[1] * 12], [0, *[1] * 12]], "after_adaptation": 1.0, "returns": [0.0] * 13}
        row = {"environment": name, "seed": seed, "steps": 48_000, "drawn": measured, "most likely": measured}
        (tmp_path / f"meta-world-{name}-seed{seed}.json").write_text(json.dumps({**row, "seconds": 60}))
    monkeypatch.setattr(experiments("reproduction"), "RESULTS", tmp_path)
    monkeypatch.setattr(script, "FIGURE", tmp_path / "meta-world.png")
    script.main(script.Environments(table=True))
    assert (tmp_path / "meta-world.png").stat().st_size > 0
    lines = script.table().splitlines()[2:]
    assert [line.split(" | ")[:2] for line in lines[::2]] == [["| reach", "drawn"]] * 2 + [["| push", "drawn"]]
    assert "0.50, 1.00" in lines[2]
    curves = script.curves()
    assert list(curves) == ["reach", "push"]
    assert curves["reach"]["most likely"].value.tolist() == [0.25, *[1.0] * 12]
