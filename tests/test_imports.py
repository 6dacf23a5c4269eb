"""Families of packages that are not installed say which extra brings them, and nothing else needs the packages."""

import re
import subprocess
import sys

import pytest

import metarl
from metarl.cli.entry import main
from metarl.imports import import_extra, installation
from metarl.registry import adapted

EXTRAS = {
    "minigrid": "minigrid",
    "minigrid-hidden-goal": "minigrid",
    "meta-world-ml1": "metaworld",
    "meta-world-ml10": "metaworld",
    "meta-world-ml45": "metaworld",
}


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed


@pytest.mark.parametrize("name", EXTRAS)
def test_a_family_without_its_package_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, EXTRAS[name])
    with pytest.raises(ImportError, match=re.escape(installation(EXTRAS[name]))):
        metarl.make(name)


def test_the_command_line_says_it_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "minigrid")
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "random", "--distribution", "minigrid"])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1
    assert "minigrid comes with pip install 'minigrid>=" in error


def test_an_installed_module_is_imported() -> None:
    assert import_extra("json", "nothing") is sys.modules["json"]


def test_listing_imports_no_extra() -> None:
    code = (
        "import sys; from metarl.cli import main\n"
        "try: main(['list'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        f"sys.exit(str({set(EXTRAS.values())} & set(sys.modules) or 0) != '0')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(f"  {name} " in result.stdout for name in adapted())
