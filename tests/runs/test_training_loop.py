"""Training inside a run folder: signals, lost terminals and crashes save, and what goes on ends as ever."""

import errno
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_agent import FakeAgent, FakeOptions, make_agent
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

import metarl
from metarl.files import leftovers
from metarl.runs.folder import Run, RunConfig
from metarl.runs.training_loop import train
from metarl.training.logs import STEPS

CONFIG = RunConfig(
    "rl2", "bernoulli-bandit", {"arms": 3}, seed=1, total_timesteps=500, options={"rate": 0.1, "net": {"width": 8}}
)


def start(folder: Path, total_timesteps: int = 500) -> Run:
    return Run.create(folder, replace(CONFIG, total_timesteps=total_timesteps))


class Raise(BaseCallback):
    """Sends a signal to this process in the update that begins at `steps`, `times` times."""

    def __init__(self, number: signal.Signals, steps: int, times: int = 1) -> None:
        super().__init__()
        self.number, self.steps, self.times = number, steps, times

    def _on_step(self) -> bool:
        if self.model.num_timesteps == self.steps + 10:
            for _ in range(self.times):
                signal.raise_signal(self.number)
        return True


def test_training_leaves_logs_and_a_checkpoint(tmp_path: Path) -> None:
    agent = make_agent()
    assert train(start(tmp_path), agent, progress_bar=False) is None
    assert [row[STEPS] for row in Run.open(tmp_path).log()] == [100, 200, 300, 400, 500]
    assert torch.equal(FakeAgent.load(tmp_path / "checkpoint.safetensors").weight, agent.weight)
    assert list(tmp_path.glob("events.out.tfevents*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_ends_the_update_saves_and_resumes_exactly(tmp_path: Path, number: signal.Signals) -> None:
    whole = make_agent()
    train(start(tmp_path / "whole"), whole, progress_bar=False)

    run = start(tmp_path / "stopped")
    assert train(run, make_agent(), Raise(number, steps=200), progress_bar=False) == number
    agent = FakeAgent.load(run.checkpoint)
    assert agent.num_timesteps == 300
    assert train(run, agent, progress_bar=False) is None

    assert torch.equal(agent.weight, whole.weight)
    assert without_times(run) == without_times(Run.open(tmp_path / "whole"))


def without_times(run: Run) -> list[dict[str, float]]:
    """What was logged, but for how long it took."""
    return [{name: value for name, value in row.items() if name != "time/time_elapsed"} for row in run.log()]


def test_a_second_interrupt_stops_at_once_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    run = start(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(run, make_agent(), Raise(signal.SIGINT, 200, times=2), seconds_between_checkpoints=0, progress_bar=False)
    assert FakeAgent.load(run.checkpoint).num_timesteps == 200


def test_what_is_ignored_stays_so(tmp_path: Path) -> None:
    """nohup ignores the end of the terminal, and training goes on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert train(start(tmp_path), make_agent(), Raise(signal.SIGHUP, 200), progress_bar=False) is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_lost_terminal_and_then_sigterm_still_saves(tmp_path: Path) -> None:
    class Both(BaseCallback):
        def _on_step(self) -> bool:
            if self.model.num_timesteps == 210:
                signal.raise_signal(signal.SIGHUP)
                signal.raise_signal(signal.SIGTERM)
            return True

    run = start(tmp_path)
    assert train(run, make_agent(), Both(), progress_bar=False) == signal.SIGTERM
    assert FakeAgent.load(run.checkpoint).num_timesteps == 300


def test_a_log_that_cannot_be_closed_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt inside TensorBoard's queue can make its close wait for ever; more interrupts change nothing."""
    monkeypatch.setattr("metarl.runs.training_loop.CLOSING_S", 0.2)
    never, close = threading.Event(), Logger.close
    closed = threading.Event()

    def hanging(logger: Logger) -> None:
        never.wait()
        close(logger)
        closed.set()

    monkeypatch.setattr(Logger, "close", hanging)
    with pytest.raises(KeyboardInterrupt):
        train(start(tmp_path), make_agent(), Raise(signal.SIGINT, 200, times=2), progress_bar=False)
    never.set()
    closed.wait(10)


def test_an_interrupt_while_the_log_closes_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    close = threading.Thread.join

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
        close(thread, timeout)
        closed.append(thread)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    run = start(tmp_path)
    assert train(run, make_agent(), progress_bar=False) is None
    assert closed
    assert FakeAgent.load(run.checkpoint).num_timesteps == 500


class Gone:
    """A stream whose reader has left."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise BrokenPipeError

    flush = isatty = fileno = lambda self: self.write("")


def test_a_lost_terminal_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, stream in enumerate((Gone(), None)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert train(start(tmp_path / str(number)), make_agent(), progress_bar=True) is None


def test_a_signal_that_cannot_be_answered_still_saves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*arguments: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(os, "write", gone)
    run = start(tmp_path)
    assert train(run, make_agent(), Raise(signal.SIGTERM, 200), progress_bar=False) == signal.SIGTERM
    assert FakeAgent.load(run.checkpoint).num_timesteps == 300


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 2}, "seed 2, not 1"),
        ({"options": FakeOptions(rate=0.1)}, "options.rate 0.1, not 0.5"),
        ({"distribution": metarl.make("bernoulli-bandit", arms=3, pulls=7)}, "distribution.options.pulls 7, not 10"),
        ({"distribution": metarl.make("bernoulli-bandit", arms=3).split("test")}, "distribution.split_name 'test'"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    mine: dict[str, Any] = {
        "distribution": metarl.make("bernoulli-bandit", arms=3),
        "options": FakeOptions(),
        "seed": 1,
    }
    FakeAgent(**{**mine, **changes}, device="cpu").save(tmp_path / "c")
    with pytest.raises(ValueError, match=rf"c is the checkpoint of another run: .*{words}"):
        FakeAgent(**mine, device="cpu").resume(tmp_path / "c")


def test_the_checkpoint_of_an_edited_family_is_refused(tmp_path: Path) -> None:
    def agent(longest: float) -> FakeAgent:
        return FakeAgent(metarl.from_gym("CartPole-v1", {"length": (0.25, longest)}), device="cpu")

    agent(1.5).save(tmp_path / "c")
    agent(1.5).resume(tmp_path / "c")
    with pytest.raises(ValueError, match=r"ranges\.train\.length '\(0.25, 1.5\)', not '\(0.25, 6\)'"):
        agent(6).resume(tmp_path / "c")


def test_interrupts_while_a_checkpoint_is_written_wait_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any line of the writing: no part of it is left, and the second one still stops before the next update."""
    run, flush = start(tmp_path), os.fsync

    def interrupted(handle: int) -> None:
        if (tmp_path / "progress.csv").exists():
            signal.raise_signal(signal.SIGINT)
        flush(handle)

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(run, make_agent(), seconds_between_checkpoints=0, progress_bar=False)
    assert FakeAgent.load(run.checkpoint).num_timesteps == 100
    assert not leftovers(tmp_path)


def test_handlers_are_as_before_after_training(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(start(tmp_path), make_agent(), Raise(signal.SIGINT, 100), progress_bar=False)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_training_works_outside_the_main_thread(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train, start(tmp_path), make_agent(), progress_bar=False).result() is None


def test_a_crash_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    run = start(tmp_path)
    with pytest.raises(ValueError, match="NaN reward"):
        train(run, make_agent(fail_at=4), seconds_between_checkpoints=0, progress_bar=False)
    assert FakeAgent.load(run.checkpoint).num_timesteps == 300


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(tmp_path)
    train(run, make_agent(), Raise(signal.SIGINT, 200), progress_bar=False)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device: .*checkpoint\.safetensors"):
        train(run, FakeAgent.load(run.checkpoint), progress_bar=False)
    assert FakeAgent.load(run.checkpoint).num_timesteps == 300
    assert not list(tmp_path.glob(".*"))


def test_without_tensorboard_there_are_still_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metarl.runs.folder.has_tensorboard", lambda: False)
    run = start(tmp_path)
    train(run, make_agent(), progress_bar=False)
    assert len(run.log()) == 5
    assert not list(tmp_path.glob("events*"))
