"""What the README shows works as it stands, but for shorter training."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from metarl.agents import FineTuningOptions, MAMLOptions, RL2Options
from metarl.cli.entry import COMMANDS
from metarl.cli.evaluate import Trials
from metarl.cli.train import Launch

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


def test_every_flag_that_the_readme_names_is_one() -> None:
    """On lines of the command line, and alone in backquotes; torchrun and pip have flags of their own."""
    groups = (RL2Options, MAMLOptions, FineTuningOptions, Launch, Trials)
    fields = {f.name for kind in groups for f in dataclasses.fields(kind)}
    parameters = {name for command in COMMANDS.values() for name in inspect.signature(command).parameters}
    lines = [line for line in README.splitlines() if not re.match(r"\s*(torchrun|pip|make|python) ", line)]
    named = set(re.findall(r"(?:`|metarl .*?)--([a-z][a-z0-9-]*)", "\n".join(lines)))
    known = {name.replace("_", "-") for name in fields | parameters} | {"help"}
    assert len(named) > 10
    assert {flag for flag in named if flag.removeprefix("no-") not in known and flag not in known} == set()
