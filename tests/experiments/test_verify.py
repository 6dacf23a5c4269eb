"""A result is trained again by its own command, and compared with what came out before."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def results(experiments: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of results of its own, with one of a moment's training."""
    monkeypatch.setattr(experiments("reproduction"), "RESULTS", tmp_path)
    monkeypatch.setattr(experiments("reproduction"), "RUNS", tmp_path / "runs")
    cells = experiments("reproductions.in_context")
    cells.main(cells.Trials(("bandit-10",), memory="gru", steps=1, num_tasks=50))
    monkeypatch.delitem(sys.modules, cells.__name__)  # as in a process that only verifies
    return tmp_path


def test_the_command_of_a_result_gives_it_again(experiments: Any, results: Path) -> None:
    file = results / "bandit-10-gru-seed0.json"
    row = json.loads(file.read_text())
    assert {"taught_by", "options", "commit", "dirty", "hardware"} <= set(row)
    verify, before = experiments("verify"), file.read_text()
    assert verify.main("bandit-10-gru-seed0") == 0
    assert file.read_text() == before
    file.write_text(json.dumps({**row, "mean": row["mean"] + 7 * row["error"]}))
    assert verify.main("bandit-10-gru-seed0") == 1


def test_what_cannot_be_repeated_or_compared_is_refused_before_training(experiments: Any, results: Path) -> None:
    verify = experiments("verify")
    for name, content in {"silent": {"mean": 1, "error": 0}, "empty": {"command": "python -m x"}}.items():
        (results / f"{name}.json").write_text(json.dumps(content))
    for name, complaint in {"none": "no result", "silent": "no command", "empty": "no means"}.items():
        with pytest.raises(SystemExit, match=complaint):
            verify.main(name)


def test_every_committed_result_with_a_command_can_be_compared(experiments: Any) -> None:
    folder = Path(experiments("verify").__file__).parent / "results"
    rows = [json.loads(file.read_text()) for file in folder.glob("*-seed*.json")]
    assert len(rows) > 50
    for row in rows:
        said = experiments("verify").measured(row)
        assert said.mean.shape == said.error.shape
        assert np.isfinite(said.mean).all()
        assert row["taught_by"]
