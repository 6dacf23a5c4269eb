"""Half-cheetahs: learning curves on one scale, the table, and the picture of what has been measured."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def cheetahs(experiments: Any) -> Any:
    return experiments("reproductions.half_cheetah")


def row(cell: str, mean: list[float]) -> dict[str, Any]:
    return {
        "cell": cell,
        "seed": 0,
        "steps": 2_000_000,
        "mean": mean,
        "error": [1.0] * len(mean),
        "seconds": 90,
        "curve": [[1_000_000, mean[0]], [2_000_000, mean[-1]]],
    }


def test_what_is_measured_is_shown_beside_the_published(
    cheetahs: Any, experiments: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [row("maml-velocity", [-120.0, -80.0, -70.0, -65.0]), row("rl2-velocity", [-60.0, -50.0, -50.0])]
    for each in rows:
        (tmp_path / f"half-cheetah-{each['cell']}-seed0.json").write_text(json.dumps(each))
    monkeypatch.setattr(experiments("reproduction"), "RESULTS", tmp_path)
    monkeypatch.setattr(cheetahs, "FIGURE", tmp_path / "cheetahs.png")
    cheetahs.main(cheetahs.Cheetahs(table=True))
    assert (tmp_path / "cheetahs.png").read_bytes().startswith(b"\x89PNG")
    lines = cheetahs.table().splitlines()[2:]
    assert lines[0] == "| rl2-velocity | 0 | -60.0 ± 1.0, -50.0 ± 1.0, -50.0 ± 1.0 | 2,000,000 | 2 |"
    assert lines[1].startswith("| maml-velocity | 0 | -120.0")
    figure = cheetahs.half_cheetah_figure(cheetahs.measured(), cheetahs.PUBLISHED, cheetahs.ORACLE)
    assert len(figure.axes) == 2  # nothing is measured of the other goal
