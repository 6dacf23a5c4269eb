"""Whatever other people's code raises, exit() included, is an error that says which environment and task it was."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

import metarl
from metarl.agents.classical.uniform import RandomPolicy
from metarl.cli.entry import main
from metarl.engines.vector_tasks import VectorTasks
from metarl.engines.workers import Worker
from metarl.foreign import ForeignError
from metarl.imports import import_attribute
from metarl.trials.player import play


class Own(BaseException):
    """Of no kind that anybody expects."""


ERRORS = [SystemExit(0), SystemExit("bye"), GeneratorExit(), Own("odd"), KeyError("key")]
PLACES = ["make", "reset", "step", "close"]


class Leaving(gymnasium.Env[Any, Any]):
    """Raises `error` in the method called `place`, where its parameter is large."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)
    place: ClassVar[str] = ""
    error: ClassVar[BaseException] = SystemExit(0)
    made: ClassVar[int] = 0
    closed: ClassVar[int] = 0

    def __init__(self) -> None:
        Leaving.made += 1
        self.size = 0.0
        self._leave("make", Leaving.made > 3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._leave("reset")
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self._leave("step")
        return np.zeros(1, np.float32), 0.0, False, False, {}

    def close(self) -> None:
        Leaving.closed += 1
        self._leave("close")

    def _leave(self, place: str, here: bool = False) -> None:
        if place == self.place and (here or self.size > 0.5):
            raise self.error


def family(place: str, error: BaseException) -> metarl.TaskDistribution:
    """Its environments leave in `place`; nobody has looked at it before."""
    Leaving.place, Leaving.error, Leaving.made, Leaving.closed = "", error, 0, 0
    made = metarl.from_gym(lambda: Leaving(), {"size": (0, 1)}, name="leaving-v1", max_episode_steps=5)
    Leaving.place = place
    return made


def use(distribution: metarl.TaskDistribution) -> None:
    env = distribution.vector_env(4)
    env.set_tasks(distribution.tasks(size=[0.0, 0.25, 0.75, 0.125]))
    env.reset(seed=0)
    env.step(torch.zeros(4, dtype=torch.int64))
    env.close()


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("place", PLACES)
def test_an_environment_that_leaves_is_named_with_its_task(place: str, error: BaseException) -> None:
    distribution = family(place, error)
    task = r"\{\}" if place == "make" else r"\{'size': 0.75\}"
    with pytest.raises(ForeignError, match=rf"environment 2 of leaving-v1, task {task}: .*{type(error).__name__}"):
        use(distribution)
    assert Leaving.closed >= Leaving.made - 1  # all that were made, whatever one of them does


def test_an_interrupt_inside_an_environment_stays_one_and_says_where() -> None:
    """It may be a Ctrl-C."""
    with pytest.raises(KeyboardInterrupt, match=r"in environment 2 of leaving-v1, task \{'size': 0.75\}"):
        use(family("step", KeyboardInterrupt()))


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_family_whose_environment_leaves_when_it_is_made_cannot_be_made(error: BaseException) -> None:
    def leave() -> Any:
        raise error

    with pytest.raises(ValueError, match=f"leaving-v1: the environment cannot be made: .*{type(error).__name__}"):
        metarl.from_gym(leave, {"size": (0, 1)}, name="leaving-v1", max_episode_steps=5)
    with pytest.raises(ValueError, match=f"leaving-v1: two environments cannot be tried: .*{type(error).__name__}"):
        VectorTasks("leaving-v1", lambda num_envs: leave(), {"size": (0, 1)}, apply=lambda envs, tasks: None)


@pytest.mark.parametrize("place", ["reset", "step", "close"])
def test_a_vector_environment_that_leaves_is_named_with_its_tasks(place: str) -> None:
    family("", SystemExit(0))

    def set_sizes(envs: Any, tasks: dict[str, np.ndarray]) -> None:
        envs.set_attr("size", tasks["size"].tolist())

    def make_vector(num_envs: int) -> Any:
        return gymnasium.vector.SyncVectorEnv([Leaving] * num_envs)

    distribution = VectorTasks("leaving-v1", make_vector, {"size": (0, 1)}, apply=set_sizes, max_episode_steps=5)
    Leaving.place = place
    with pytest.raises(ForeignError, match=r"leaving-v1, .* in the tasks \{'size': \[0.0, 0.25, 0.75, 0.125\]\}: it"):
        use(distribution)
    Leaving.place = ""


def test_a_native_family_that_leaves_is_named_with_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(*arguments: Any) -> Any:
        sys.exit(0)

    bandit = metarl.make("bernoulli-bandit", arms=2)
    monkeypatch.setattr(type(bandit), "transition", leave)
    env = bandit.vector_env(3)
    env.set_tasks(bandit.tasks(means=[[0.25, 0.5]] * 3))
    with pytest.raises(ForeignError, match=r"bernoulli-bandit-v1, .*'means': \[\[0.25, 0.5\], .*it called exit\(\)"):
        next(play(RandomPolicy(bandit, 3), env, 1, seed=0))


@pytest.mark.parametrize("line", ["exit(0)", "raise SystemExit('x')", "raise GeneratorExit", "1 / 0", "no python"])
def test_a_module_that_leaves_cannot_be_imported(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaving_module.py").write_text(f"family = None\n{line}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="leaving_module:family: importing leaving_module failed: "):
        import_attribute("leaving_module:family")
    sys.modules.pop("leaving_module", None)


COMMAND = """
import sys
from test_foreign_code import Leaving, family as made
family = made({place!r}, SystemExit(0))
def leave(): sys.exit(0)
"""


@pytest.mark.parametrize(
    ("place", "subject", "words"),
    [
        ("step", "leaving_commands:family", "environment 0 of leaving-v1, task {'size': "),
        ("", "leaving_commands:leave", "leaving_commands:leave: it called exit(), SystemExit: 0"),
    ],
)
def test_a_command_does_not_end_as_if_all_were_done(
    place: str,
    subject: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "leaving_commands.py").write_text(COMMAND.format(place=place))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    for command in (
        ["evaluate", "random", "--num-tasks", "20"],
        ["train", "rl2", "--batch-steps", "60", "--run-dir", str(tmp_path / "run")],
    ):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--distribution", subject, "--device", "cpu"])
        assert stop.value.code == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert words.split(" of ")[-1] in error
    for name in ("leaving_commands", "test_foreign_code"):
        sys.modules.pop(name, None)


class Answers:
    """What a worker may be asked."""

    def __init__(self, pid_of: Callable[[], int]) -> None:
        self.pid = pid_of

    def leave(self) -> None:
        sys.exit(0)


def test_a_worker_tells_of_an_exit_and_builds_anew_in_its_process() -> None:
    """The next object lives in the process that is there: to start another takes seconds."""
    worker = Worker(lambda: Answers(os.getpid), "the worker")
    worker.receive()
    worker.send("pid")
    process = worker.receive()
    worker.send("leave")
    with pytest.raises(ForeignError, match=r"it called exit\(\), SystemExit: 0.*\n(.*\n)*\(in the worker\)"):
        worker.receive()
    worker.rebuild(lambda: Answers(os.getpid), "the next")
    worker.receive()
    worker.send("pid")
    assert worker.receive() == process
    worker.close()
