"""Plugged-in families: the agents train, play and are shown beside each other."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gymnasium import spaces

import metarl
from metarl.sb3 import TaskVecEnv


@pytest.fixture(scope="module")
def families(experiments: Any) -> Any:
    return experiments("reproductions.gym_families")


@pytest.fixture
def small(families: Any, experiments: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A few steps of training, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiments("reproduction"), "RESULTS", tmp_path)
    monkeypatch.setattr(families, "FIGURE", tmp_path / "families.png")
    sizes: dict[str, Any] = {"width": 8, "num_layers": 1, "batch_steps": 300}
    options = {name: replace(given, **sizes) for name, given in families.RL2_OPTIONS.items()}
    monkeypatch.setattr(families, "RL2_OPTIONS", options)
    monkeypatch.setattr(families, "PPO_OPTIONS", {"n_steps": 16, "batch_size": 64, "n_epochs": 1})
    monkeypatch.setattr(families, "ENVIRONMENTS", 4)
    return families


def test_agents_play_the_same_trials(small: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.main(small.Families(("frozen-lake",), steps=300, num_tasks=3))
    rows = [json.loads((tmp_path / f"gym-frozen-lake-{name}-seed0.json").read_text()) for name in small.METHODS]
    for row in rows:
        assert set(row["means"]) == set(row["returns"]) == {"most likely", "drawn"}
        assert [len(row["returns"][which]) for which in row["returns"]] == [3, 3]
        assert row["actions"] == "most likely"  # of few directions, whatever does better in the test
        assert row["options"]
        assert row["taught_by"].startswith("reward")
    small.main(small.Families(table=True))
    table = capsys.readouterr().out.splitlines()[-len(small.METHODS) :]
    assert [line.split(" | ")[1] for line in table] == list(small.METHODS)
    assert (tmp_path / "families.png").stat().st_size > 10_000


@pytest.mark.parametrize("privileged", [False, True])
def test_what_has_no_scale_is_not_scaled(families: Any, privileged: bool) -> None:
    vector = families._normalised(TaskVecEnv(metarl.make("frozen-lake"), 2, show_task=privileged))
    seen = vector.reset()
    assert vector.norm_reward
    if privileged:
        assert vector.norm_obs_keys == ["task"]
        assert isinstance(vector.observation_space, spaces.Dict)
    else:
        assert not vector.norm_obs
        assert seen.tolist() == [0, 0]  # lakes are entered at the first tile


def test_unknown_families_are_named(families: Any) -> None:
    with pytest.raises(SystemExit, match="moonlander"):
        families.main(families.Families(("moonlander",)))
