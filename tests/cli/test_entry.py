"""The command line: what it writes, and one clear line with exit code 2 for every mistake."""

import subprocess
import sys
from pathlib import Path

import pytest
from fake_agent import FakeAgent

from metarl.cli.entry import main
from metarl.cli.train import parse_options
from metarl.runs.folder import Run
from metarl.tasks.policies import AdaptivePolicy
from metarl.training.logs import STEPS

BANDIT = ["--distribution", "bernoulli-bandit", "--env-kwargs", "arms=3", "pulls=4"]
TRAIN = ["train", "fake_agent:FakeAgent", *BANDIT, "--device", "cpu"]


@pytest.fixture(autouse=True)
def in_a_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return int(stop.value.code or 0)


def trained(name: str, *more: str) -> str:
    assert call(*TRAIN, "--total-timesteps", "200", "--run-dir", name, *more) == 0
    return name


def test_list_names_everything_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("list") == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("grid-navigation", "rl2", "thompson-sampling"):
        assert any(line.startswith(f"  {name} ") and len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize("command", ["", "list", "train", "train rl2", "evaluate", "compare", "check"])
def test_help_explains_and_ends_well(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*command.split(), "--help") == 0
    assert "usage: metarl" in capsys.readouterr().out


def test_train_help_shows_the_options_of_the_agent(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("train", "fake_agent:FakeAgent", "--help") == 0
    text = capsys.readouterr().out
    assert "--rate FLOAT" in text
    assert "How much of each update is new" in text


def test_train_makes_a_run_named_after_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*TRAIN, "--total-timesteps", "300", "--rate", "0.25", "--seed", "7") == 0
    run = Run.open("runs/FakeAgent-bernoulli-bandit-arms=3-pulls=4-rate=0.25-seed=7")
    assert run.config.distribution_options == {"arms": 3, "pulls": 4}
    assert run.config.options["rate"] == 0.25
    assert FakeAgent.load(run.checkpoint).options.rate == 0.25
    assert f"metarl evaluate {run.path} --trust\n" in capsys.readouterr().out


def test_train_says_who_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    trained("a")
    assert "learns from reward alone\n" in capsys.readouterr().out
    small = ["--width", "8", "--num-heads", "1", "--batch-steps", "100", "--total-timesteps", "100", "--device", "cpu"]
    assert call("train", "rl2", *BANDIT, *small, "--run-dir", "b") == 0
    said = "imitation of KnownBestArm in the first 30% of training, then reward; privileged critic"
    assert f"learns from {said}\n" in capsys.readouterr().out
    configs = [Run.open(folder).config.teaching for folder in ("a", "b")]
    assert configs[0] == {"expert": None, "share": 0.0, "privileged_critic": False, "task_predictor": False}
    assert configs[1] == {"expert": "KnownBestArm", "share": 0.3, "privileged_critic": True, "task_predictor": False}


def test_resume_goes_on_and_only_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    trained("a")
    assert call(*TRAIN, "--total-timesteps", "400", "--run-dir", "a") == 2
    assert "--resume" in capsys.readouterr().err
    assert call(*TRAIN, "--total-timesteps", "400", "--run-dir", "a", "--resume") == 0
    assert "going on at step 200" in capsys.readouterr().out
    assert [row[STEPS] for row in Run.open("a").log()] == [100, 200, 300, 400]


def test_a_run_killed_before_its_first_checkpoint_starts_again() -> None:
    trained("a")
    Run.open("a").checkpoint.unlink()
    assert call(*TRAIN, "--total-timesteps", "300", "--run-dir", "a", "--resume") == 0
    assert [row[STEPS] for row in Run.open("a").log()] == [100, 200, 300]


def test_evaluate_writes_into_the_run_folder(capsys: pytest.CaptureFixture[str]) -> None:
    trained("a")
    assert call("evaluate", "a", "--trust", "--num-tasks", "20", "--num-episodes", "3", "--device", "cpu") == 0
    table = capsys.readouterr().out
    assert "20 tasks" in table
    assert "3 episodes" in table
    assert "gittins" in table
    assert "optimum (exact)" in table
    assert {"evaluation-test.json", "evaluation-test.png", "report.html"} <= {p.name for p in Path("a").iterdir()}


def test_evaluate_leaves_it_to_the_agent_how_to_act_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    trained("a")
    asked, policy = [], FakeAgent.policy

    def record(self: FakeAgent, num_tasks: int, deterministic: bool | None = None, seed: int = 0) -> AdaptivePolicy:
        asked.append(deterministic)
        return policy(self, num_tasks, deterministic, seed)

    monkeypatch.setattr(FakeAgent, "policy", record)
    for choice in ([], ["--stochastic"], ["--deterministic"]):
        assert call("evaluate", "a", "--trust", "--num-tasks", "5", "--no-baselines", "--device", "cpu", *choice) == 0
    assert asked[::2] == [None, False, True]
    assert asked[1::2] == asked[::2]  # the trial that the report shows


def test_evaluate_on_another_distribution_keeps_apart() -> None:
    trained("a")
    other = ["--distribution", "bernoulli-bandit", "--env-kwargs", "arms=3", "pulls=6"]
    assert call("evaluate", "a", "--trust", *other, "--num-tasks", "5", "--no-baselines", "--device", "cpu") == 0
    assert list(Path("a").glob("*/evaluation-test.json"))
    assert not Path("a/evaluation-test.json").exists()


def test_evaluate_a_classical_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("evaluate", "thompson-sampling", *BANDIT, "--num-tasks", "20", "--device", "cpu") == 0
    assert "thompson-sampling" in capsys.readouterr().out


def test_compare_pools_the_seeds_of_a_setting(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [trained("a"), trained("b", "--seed", "1"), trained("c", "--rate", "0.1")]
    for run in runs:
        call("evaluate", run, "--trust", "--num-tasks", "10", "--no-baselines", "--device", "cpu")
    capsys.readouterr()
    assert call("compare", *runs) == 0
    cells = [line.split() for line in capsys.readouterr().out.splitlines()]
    numbers = {row[1]: row[2] for row in cells if row[:1] == ["fake_agent:FakeAgent"]}
    assert numbers == {"rate=0.5": "2", "rate=0.1": "1"}
    assert Path("comparison.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("user_project")
def test_check_passes_a_sound_family_of_the_users_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("check", "drift_family:drift") == 0
    *clauses, last = capsys.readouterr().out.splitlines()[1:]
    assert all(line.startswith("ok ") for line in clauses)
    assert last == f"all {len(clauses)} clauses hold"


BROKEN = """
from metarl.engines.gym_tasks import GymTasks
same = GymTasks("same-v1", make="CartPole-v1", parameters={"length": (0, 1)}, apply=lambda env, task: None,
    max_episode_steps=5)
"""


def test_check_finds_a_family_whose_tasks_are_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "same_family.py").write_text(BROKEN)
    assert call("check", "same_family:same") == 1
    broken = [line for line in capsys.readouterr().out.splitlines() if line.startswith("BROKEN")]
    assert len(broken) == 1
    assert "two tasks differ" in broken[0]


HOSTILE = """
import os
import metarl
from broken_environments import Walk, family

class Leaving(Walk):
    def reset(self, **options):
        print("all 29 clauses hold", flush=True)
        return super().reset(**options)

    def step(self, action):
        os._exit(0)

leaving = family(Leaving)
"""


def test_check_is_not_silenced(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its process may end without a word and with exit code 0: that is a finding."""
    (tmp_path / "hostile_family.py").write_text(HOSTILE)
    assert call("check", "hostile_family:leaving", "--seed", "-1") == 1
    *_, finding, last = capfd.readouterr().out.splitlines()
    assert finding.startswith("BROKEN  reset and step return what gymnasium asks for: the process that examines ")
    assert "exit code 0" in finding
    assert last == "1 of 5 clauses broken"


def test_check_accuses_nobody_by_its_seed(capfd: pytest.CaptureFixture[str]) -> None:
    assert call("check", "bernoulli-bandit", "--seed", "-1", "--timeout", "50") == 0
    assert call("check", "bernoulli-bandit", "--timeout", "0") == 2
    assert "--timeout must be positive" in capfd.readouterr().err


MISTAKES = {
    "unknown agent": (["train", "rl3", *BANDIT], "did you mean 'rl2'"),
    "unknown distribution": (["train", "rl2", "--distribution", "grid"], "Known: bernoulli-bandit"),
    "unknown option": (["train", "rl2", "--distribution", "dark-room", "--env-kwargs", "rooms=2"], "rooms"),
    "nested option": (["train", "rl2", "--distribution", "dark-room", "--env-kwargs", 'rooms={"a": 1}'], "flat list"),
    "option without value": (["train", "rl2", "--distribution", "dark-room", "--env-kwargs", "rooms"], "name=value"),
    "impossible option": (
        ["train", "rl2", "--distribution", "bernoulli-bandit", "--env-kwargs", "arms=1"],
        "arms >= 2",
    ),
    "no steps": ([*TRAIN, "--total-timesteps", "0"], "--total-timesteps must be at least 1"),
    "no time to save": ([*TRAIN, "--save-every", "nan"], "--save-every must be at least 0, got nan"),
    "missing module": (["train", "no_such_module:Agent", *BANDIT], "no_such_module"),
    "nothing to resume": ([*TRAIN, "--run-dir", "nowhere", "--resume"], "not a run folder"),
    "unknown baseline": (["evaluate", "thompson", *BANDIT], "thompson-sampling"),
    "baseline without distribution": (["evaluate", "gittins"], "--distribution"),
    "baseline that does not suit": (["evaluate", "gittins", "--distribution", "dark-room"], "dark-room"),
    "unknown split": (["evaluate", "random", *BANDIT, "--split", "validation"], "train, test, ood"),
    "no tasks": (["evaluate", "random", *BANDIT, "--num-tasks", "0"], "num_tasks must be at least 1"),
    "folder without a run": (["compare", "."], "not a run folder"),
    "checking nothing": (["check", "nothing"], "unknown distribution"),
    "missing attribute": (["check", "metarl.tasks.batch:nothing"], "no 'nothing'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_one_line_and_leave_nothing(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, explanation = MISTAKES[mistake]
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("metarl: ")
    assert error.count("\n") == 1
    assert explanation in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["evaluate"], [*TRAIN, "--rate", "fast"], [*TRAIN, "--rates", "1"]]
)
def test_flags_that_cannot_be_read_name_themselves(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_runs_that_were_not_evaluated_say_how(capsys: pytest.CaptureFixture[str]) -> None:
    trained("a")
    assert call("compare", "a") == 2
    assert "metarl evaluate a --split test" in capsys.readouterr().err


def test_an_agent_for_other_actions_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    trained("a")
    other = ["--distribution", "bernoulli-bandit", "--env-kwargs", "arms=9"]
    assert call("evaluate", "a", "--trust", *other, "--device", "cpu") == 2
    assert "action_space" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    trained("a")
    Run.open("a").checkpoint.write_bytes(b"not safetensors")
    assert call("evaluate", "a") == 2
    assert "checkpoint.safetensors" in capsys.readouterr().err


def test_a_crash_in_training_is_one_line_and_keeps_the_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*TRAIN, "--fail-at", "3", "--save-every", "0", "--run-dir", "a") == 2
    assert "NaN reward in update 3" in capsys.readouterr().err
    assert FakeAgent.load(Run.open("a").checkpoint).num_timesteps == 200


def test_options_are_read_as_json_or_text() -> None:
    read = parse_options(["a=5", "b=.5", "c=true", "d=[9, 9]", "e=dense", "f=x=y"])
    assert read == {"a": 5, "b": 0.5, "c": True, "d": (9, 9), "e": "dense", "f": "x=y"}


def test_the_current_folder_is_searched_for_modules(tmp_path: Path) -> None:
    (tmp_path / "only_here.py").write_text("import metarl\nrooms = metarl.make('dark-room')\n")
    assert call("evaluate", "random", "--distribution", "only_here:rooms", "--num-tasks", "3", "--device", "cpu") == 0


def test_help_loads_no_agent() -> None:
    """Imports stay inside the commands, so that help is as quick as torch allows."""
    heavy = {"metarl.agents.in_context.rl2", "metarl.reports.page", "scipy"}
    code = f"import sys, metarl.cli; sys.exit(bool({heavy} & {{*sys.modules}}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "ucb1", "--option", "arms=3"], "--option is now called --env-kwargs"),
        (["evaluate", "a", "--actions", "drawn"], "--actions is now called --deterministic or --stochastic"),
        (["train", "rl2", "--distribution", "dark-room", "--no-recall"], "recall is now called episodic_retrieval"),
        (["train", "maml", "--distribution", "dark-room", "--tasks=3"], "tasks is now called meta_batch_size"),
    ],
)
def test_former_flags_are_refused_with_the_new_name(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"metarl: {message}\n"
