"""What the README shows works as it stands, but for shorter training."""

import re
from pathlib import Path

import pytest

from metarl.cli.entry import COMMANDS

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = "".join(re.findall(r"```\n(.*?)```", re.sub(r"```python.*?```", "", README, flags=re.DOTALL), re.DOTALL))


def test_ten_lines_of_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = PYTHON[0].replace("2_000_000", "600").replace("RL2(rooms,", "RL2(rooms, RL2.Options(batch_steps=600),")
    assert len(code) > len(PYTHON[0])
    names: dict[str, object] = {}
    exec(code, names)
    assert names["result"].returns.shape == (200, 4)  # type: ignore[attr-defined]


def test_the_plugged_in_family_has_two_tasks() -> None:
    names: dict[str, object] = {}
    exec(PYTHON[1], names)
    assert sorted(names["pendulums"].task_space.keys()) == ["l", "m"]  # type: ignore[attr-defined]


def test_changes_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    exec(PYTHON[2].replace("500", "50"), {})
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["31", "61"]


def test_commands_exist() -> None:
    assert set(re.findall(r"^metarl ([a-z]+)", SHELL, re.MULTILINE)) == set(COMMANDS)
