"""Files name things, they do not run them: what a checkpoint or a run folder says is not imported, not called."""

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_agent import FakeAgent, FakeOptions

import metarl
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.cli.entry import main
from metarl.runs.folder import Run, RunConfig
from metarl.training.checkpoints import load_checkpoint, save_checkpoint

BANDIT = {"arms": 3, "pulls": 4}
OURS = ("intruder", "outer", "this", "hubconf", "shadow")  # modules that no test leaves behind
MODULE = """
from pathlib import Path
Path({imported!r}).touch()
called = Path({called!r})

class RL2:
    "Has the right name, and is no agent."
    def __init__(self, *arguments, **options): called.touch()

class BernoulliBandit(RL2):
    "Is no task distribution."

def family(**options): called.touch()
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and description of an honest checkpoint."""
    path = tmp_path_factory.mktemp("honest") / "c.safetensors"
    RL2(metarl.make("bernoulli-bandit", **BANDIT), RL2Options(batch_steps=60, width=16), device="cpu").save(path)
    return load_checkpoint(path)


@pytest.fixture(autouse=True)
def intruder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A new current folder; on the Python path are modules that touch `imported` and `called` when that happens."""
    folder = tmp_path / "path"
    code = MODULE.format(imported=str(tmp_path / "imported"), called=str(tmp_path / "called"))
    for file in ("intruder.py", "outer/__init__.py", "outer/inner/__init__.py", "outer/inner/deep.py"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(code)
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "hubconf.py").write_text(code + "model = family\n")
    (tmp_path / "precious.txt").write_text("precious")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in OURS:
            del sys.modules[name]


def untouched() -> bool:
    """Whether none of the intruder's code ran and the files are as they were."""
    return (
        not any(Path(name).exists() for name in ("imported", "called", "pwned"))
        and Path("precious.txt").read_text() == "precious"
        and not set(OURS) & set(sys.modules)
    )


def forged(checkpoint: tuple[dict[str, Any], dict[str, Any]], **changes: Any) -> Path:
    """A checkpoint whose description says something else; `distribution__options` are those of its distribution."""
    tensors, description = copy.deepcopy(checkpoint)
    for name, value in changes.items():
        inside = name.removeprefix("distribution__")
        (description if inside == name else description["distribution"])[inside] = value
    save_checkpoint("forged.safetensors", tensors, description)
    return Path("forged.safetensors")


def received(checkpoint: tuple[dict[str, Any], dict[str, Any]], distribution: Any, options: Any, **changes: Any) -> Run:
    """A run folder that somebody else sent."""
    run = Run.create("received", RunConfig("rl2", distribution, options, 0, 1, {}))
    forged(checkpoint, **changes).rename(run.checkpoint)
    return run


def line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which a command refuses."""
    with pytest.raises(SystemExit) as stop:
        main([*arguments])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("metarl: ")
    assert error.count("\n") == 1
    return error


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*arguments])
    return int(stop.value.code or 0)


# every place:name with the options that make it do harm
CALLS: dict[str, dict[str, Any]] = {
    "intruder:family": {},
    "intruder:BernoulliBandit": BANDIT,
    "intruder:missing": {},
    "outer.inner.deep:family": {},
    "outer.inner:family": {},
    "os:system": {"command": "touch pwned"},
    "subprocess:run": {"args": "touch pwned", "shell": True},
    "subprocess:Popen": {"args": ["touch", "pwned"]},
    "builtins:exec": {},
    "this:s": {},
    "torch.hub:load": {"repo_or_dir": "hub", "model": "model", "source": "local"},
    "logging:basicConfig": {"filename": "precious.txt", "filemode": "w", "force": True},
    "gymnasium:make": {"id": "intruder:Any-v0"},
    "metarl:from_gym": {"make": "intruder:Any-v0", "tasks": "length"},
    "metarl.registry:import_attribute": {"path": "intruder:family"},
    "metarl.gym_tasks:GymTasks": {"family": "x-v1", "make": "intruder:Any-v0"},
}


@pytest.mark.parametrize("place", CALLS)
def test_a_checkpoint_imports_and_calls_no_family_that_it_names(place: str, checkpoint: Any) -> None:
    path = forged(checkpoint, distribution__family=place, distribution__options=CALLS[place])
    for load in (metarl.load, RL2.load):
        with pytest.raises(ValueError, match=rf"forged.safetensors names the distribution '{place}'.*trust=True"):
            load(path, device="cpu")
    assert untouched()


@pytest.mark.parametrize("place", [*CALLS, "intruder:RL2", "metarl.agent:Agent"])
def test_a_checkpoint_imports_and_calls_no_agent_that_it_names(place: str, checkpoint: Any) -> None:
    path = forged(checkpoint, agent=place)
    for load in (metarl.load, RL2.load):
        with pytest.raises(ValueError, match=rf"forged.safetensors names the agent '{place}'.*trust=True"):
            load(path, device="cpu")
    assert untouched()


@pytest.mark.parametrize("place", CALLS)
def test_a_run_folder_imports_and_calls_nothing_that_it_names(
    place: str, checkpoint: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = received(checkpoint, place, CALLS[place])
    with pytest.raises(ValueError, match=rf"config.json names the distribution '{place}'.*trust=True"):
        metarl.load(run.path, device="cpu")
    assert "--trust" in line(capsys, "evaluate", "received", "--device", "cpu")
    assert untouched()


def test_the_checkpoint_in_a_run_folder_is_no_way_round(checkpoint: Any, capsys: pytest.CaptureFixture[str]) -> None:
    received(checkpoint, "bernoulli-bandit", BANDIT, agent="intruder:RL2")
    assert "'intruder:RL2'" in line(capsys, "evaluate", "received", "--device", "cpu")
    assert untouched()


def test_naming_one_module_trusts_no_other(
    checkpoint: Any, user_project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    received(checkpoint, "intruder:family", {})
    evaluate = ["evaluate", "received", "--device", "cpu"]
    for distribution, words in (
        ("drift_family:drift", "'intruder:family'"),
        ("bernoulli-bandit", "does not fit this agent"),  # a family of the same name, with other options
    ):
        assert words in line(capsys, *evaluate, "--distribution", distribution)
    assert untouched()


def test_resume_takes_no_agent_but_that_of_its_command(checkpoint: Any, capsys: pytest.CaptureFixture[str]) -> None:
    train = ["train", "rl2", "--distribution", "bernoulli-bandit", "--env-kwargs", "arms=3", "--device", "cpu"]
    assert call(*train, "--total-timesteps", "1", "--batch-steps", "60", "--run-dir", "mine") == 0
    capsys.readouterr()
    forged(checkpoint, agent="intruder:RL2").replace(Run.open("mine").checkpoint)
    refused = line(capsys, *train, "--total-timesteps", "2", "--batch-steps", "60", "--run-dir", "mine", "--resume")
    assert "'intruder:RL2'" in refused
    assert untouched()


def test_comparing_reads_names_as_text(checkpoint: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run = received(checkpoint, "subprocess:run", CALLS["subprocess:run"], agent="intruder:RL2")
    bandit = metarl.make("bernoulli-bandit", **BANDIT)
    agent = FakeAgent(bandit, FakeOptions(), device="cpu")
    metarl.evaluate(agent.policy(5), bandit.split("test"), num_tasks=5).save(run.evaluation("test"))
    result = json.loads(run.evaluation("test").read_text())
    result |= {"distribution": "intruder:family", "policy": "intruder:RL2", "options": {"make": "intruder:Any-v0"}}
    run.evaluation("test").write_text(json.dumps(result))
    assert call("compare", "received") == 0
    assert "intruder:family" in capsys.readouterr().out
    assert untouched()


NESTED = ({"a": {"b": 1}}, {"a": [[1]]}, {"a": [{"b": 1}]}, ["a"], "a", 3)


@pytest.mark.parametrize("options", NESTED, ids=str)
def test_options_from_a_file_are_plain_values(options: Any, checkpoint: Any) -> None:
    for changes in ({"options": options}, {"distribution__options": options}):
        with pytest.raises(ValueError, match=r"forged.safetensors(: the option 'a'| is damaged: options) must be"):
            metarl.load(forged(checkpoint, **changes), device="cpu", trust=True)
    run = received(checkpoint, "bernoulli-bandit", options)
    with pytest.raises(ValueError, match=r"config.json(: the option 'a'| is damaged: distribution_options) must be"):
        metarl.load(run.path, device="cpu", trust=True)


@pytest.mark.parametrize("name", [None, 3, ["intruder:family"], {"intruder:family": 1}], ids=str)
def test_a_name_from_a_file_is_text(name: Any, checkpoint: Any) -> None:
    for what, changes in (("agent", {"agent": name}), ("distribution", {"distribution__family": name})):
        with pytest.raises(ValueError, match=f"forged.safetensors: the {what} must be a name"):
            metarl.load(forged(checkpoint, **changes), device="cpu")


def test_a_checkpoint_of_the_first_format_is_refused(checkpoint: Any) -> None:
    path = forged(checkpoint, format=1)
    with pytest.raises(ValueError, match="checkpoint format 1, this metarl reads format 3"):
        metarl.load(path, device="cpu")


def test_what_is_trusted_must_still_be_what_it_should(checkpoint: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The class is looked at before it is called, by the file's word and by the command's."""
    with pytest.raises(TypeError, match=r"intruder:RL2 must be a subclass of metarl\.Agent"):
        metarl.load(forged(checkpoint, agent="intruder:RL2"), device="cpu", trust=True)
    with pytest.raises(TypeError, match=r"metarl:Agent must be a subclass of metarl\.Agent, with all its methods"):
        metarl.load(forged(checkpoint, agent="metarl:Agent"), device="cpu", trust=True)
    with pytest.raises(TypeError, match=r"must give a metarl.TaskDistribution, got BernoulliBandit"):
        metarl.load(forged(checkpoint, distribution__family="intruder:BernoulliBandit"), device="cpu", trust=True)
    run = received(checkpoint, "subprocess:Popen", {"args": ["touch", "pwned"]})
    with pytest.raises(TypeError, match=r"must give a metarl.TaskDistribution, got Popen"):
        metarl.load(run.path, device="cpu", trust=True)
    for command in (["evaluate", "random", "--distribution"], ["train", "rl2", "--distribution"], ["check"]):
        assert "must give a metarl.TaskDistribution, got str" in line(capsys, *command, "intruder:__name__")
        assert "got BernoulliBandit" in line(capsys, *command, "intruder:BernoulliBandit")
    assert "subclass of metarl.Agent" in line(capsys, "train", "intruder:RL2")
    assert not Path("called").exists()
    assert not Path("pwned").exists()


def test_modules_in_a_run_folder_do_not_shadow_others(
    checkpoint: Any, intruder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standing in the folder is how one looks at it; what lies in it must not take the place of a missing package."""
    monkeypatch.chdir(received(checkpoint, "shadowed-family", {}).path)
    Path("shadow.py").write_text((intruder / "path" / "intruder.py").read_text())
    Path("shadow-1.0.dist-info").mkdir()
    Path("shadow-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: shadow\nVersion: 1.0\n")
    names = "[metarl.distributions]\nshadowed-family = shadow:family\n"
    Path("shadow-1.0.dist-info/entry_points.txt").write_text(names)
    for command in (["evaluate", "."], ["check", "shadowed-family"]):
        assert "unknown distribution 'shadowed-family'" in line(capsys, *command)
    assert call("list") == 0
    assert not (intruder / "imported").exists()
    assert call("check", "shadow:family") == 2  # the command names it
    assert (intruder / "imported").exists()


def test_a_class_may_load_its_own_files_and_trust_loads_the_others(tmp_path: Path) -> None:
    FakeAgent(metarl.make("bernoulli-bandit"), FakeOptions(rate=0.25), device="cpu").save("own")
    assert load_checkpoint("own")[1]["agent"] == "fake_agent:FakeAgent"
    assert FakeAgent.load("own").options.rate == 0.25
    with pytest.raises(ValueError, match="own names the agent 'fake_agent:FakeAgent'"):
        metarl.load("own")
    assert metarl.load("own", trust=True).options.rate == 0.25


def test_a_run_in_a_family_of_ones_own_is_evaluated_when_the_command_says_so(
    user_project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drift = ["--distribution", "drift_family:drift"]
    small = ["--total-timesteps", "1", "--batch-steps", "60", "--width", "16", "--device", "cpu"]
    assert call("train", "rl2", *drift, *small, "--run-dir", "own") == 0
    assert "next: metarl evaluate own --trust" in capsys.readouterr().out
    assert Run.open("own").config.distribution == "drift_family:drift"
    evaluate = ["evaluate", "own", "--num-tasks", "2", "--no-baselines", "--device", "cpu"]
    assert "--trust" in line(capsys, *evaluate)
    assert call(*evaluate, "--trust") == 0
    assert call(*evaluate, *drift) == 0


def test_names_are_kept_where_places_were_typed() -> None:
    """Modules may move between saving and loading; registered names stay."""
    small = ["--total-timesteps", "1", "--batch-steps", "60", "--device", "cpu", "--run-dir", "a"]
    assert (
        call(
            "train", "metarl.agents.in_context.rl2:RL2", "--distribution", "metarl.envs.bandit:BernoulliBandit", *small
        )
        == 0
    )
    config = Run.open("a").config
    assert (config.agent, config.distribution) == ("rl2", "bernoulli-bandit")
    description = load_checkpoint(Run.open("a").checkpoint)[1]
    assert (description["agent"], description["distribution"]["family"]) == ("rl2", "bernoulli-bandit")
    assert metarl.load("a", device="cpu").distribution == metarl.make("bernoulli-bandit")
