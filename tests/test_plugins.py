"""Packages that add families and agents by name, sound and broken ones, as if they were installed."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import metarl
from metarl.cli.entry import main
from metarl.registry import Plugin, distributions, plugins, resolve
from metarl.runs.folder import Run

MODULE = """
import metarl
from fake_agent import FakeAgent
walks = metarl.make("grid-navigation")
class Patient(FakeAgent):
    "Waits and sees."
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages: a sound one, one that cannot be imported and one that takes a known name."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "walking_module.py").write_text(MODULE)
    (folder / "torn_module.py").write_text("raise KeyError('torn')")
    install(folder, "walking", ["windy-walk = walking_module:walks"], ["patient = walking_module:Patient"])
    install(folder, "torn", ["torn-walk = torn_module:walks", "lost-walk = no_such_module:walks"])
    install(folder, "grabbing", ["dark-room = walking_module:walks"])
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(tmp_path)
    yield folder
    sys.modules.pop("walking_module", None)


def install(folder: Path, package: str, families: list[str], agents: list[str] | None = None) -> None:
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    groups = ["[metarl.distributions]", *families, "[metarl.agents]", *(agents or [])]
    (info / "entry_points.txt").write_text("\n".join(groups) + "\n")


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return int(stop.value.code or 0)


@pytest.mark.usefixtures("site")
def test_a_family_and_an_agent_go_by_the_names_that_a_package_gives_them() -> None:
    assert Plugin("windy-walk", "walking_module:walks", "walking") in plugins("distribution")
    assert metarl.make("windy-walk").name == "grid-navigation-v1"
    assert resolve("patient", "agent").__name__ == "Patient"
    training = ["train", "patient", "--distribution", "windy-walk", "--total-timesteps", "200", "--device", "cpu"]
    assert call(*training, "--run-dir", "a") == 0
    assert Run.open("a").config.agent == "patient"
    assert call("evaluate", "a", "--num-tasks", "3", "--no-baselines", "--device", "cpu") == 0


@pytest.mark.usefixtures("site")
def test_list_shows_what_packages_add_and_which_of_it_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert lines["windy-walk"].endswith("(walking)")
    assert lines["patient"].endswith("Waits and sees. (walking)")
    assert "BROKEN" in lines["torn-walk"]
    assert "of the package torn cannot be imported: KeyError: 'torn'" in lines["torn-walk"]
    assert "no module 'no_such_module'" in lines["lost-walk"]


@pytest.mark.usefixtures("site")
def test_what_metarl_has_keeps_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert metarl.make("dark-room").name.startswith("dark-room")
    assert "windy-walk" not in distributions()
    call("list")
    assert "the name is metarl's own: use walking_module:walks for that of grabbing" in capsys.readouterr().out


@pytest.mark.usefixtures("site")
def test_what_is_broken_or_unknown_says_so() -> None:
    with pytest.raises(ValueError, match="torn-walk: torn_module:walks of the package torn cannot be imported: KeyErr"):
        metarl.make("torn-walk")
    with pytest.raises(ValueError, match="unknown distribution 'windy-wlak'; did you mean 'windy-walk'"):
        metarl.make("windy-wlak")


def test_one_name_of_two_packages_is_refused(site: Path) -> None:
    install(site, "strolling", ["windy-walk = strolling_module:walks"])
    with pytest.raises(ValueError, match="strolling_module:walks of strolling or walking_module:walks of walking"):
        metarl.make("windy-walk")


def test_an_agent_must_be_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "metarl.tasks.batch:Tasks", "--distribution", "dark-room") == 2
    assert "must be a subclass of metarl.Agent" in capsys.readouterr().err
