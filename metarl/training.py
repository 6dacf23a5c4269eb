"""Training inside a run folder: checkpoints at an interval, and a Ctrl-C that saves before it stops."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, final

from stable_baselines3.common.callbacks import BaseCallback

from metarl.runs import Run

if TYPE_CHECKING:
    from metarl.agent import Agent


def train(
    run: Run,
    agent: "Agent",
    callback: BaseCallback | None = None,
    *,
    seconds_between_checkpoints: float = 60.0,
    progress_bar: bool = True,
) -> int | None:
    """Train `agent` to the end of its run, with logs and checkpoints in the run folder.

    Returns None when the run is complete, else the signal that stopped it; both times everything is saved.
    Whatever is raised, a second Ctrl-C included, the last checkpoint stays whole.
    """
    logger = run.logger(agent.num_timesteps)
    agent.set_logger(logger)
    try:
        with Interruption() as interruption:
            keeper = Checkpointing(run.checkpoint, interruption, seconds_between_checkpoints)
            callbacks = [keeper] if callback is None else [callback, keeper]
            with contextlib.suppress(_Stop):
                agent.learn(run.config.total_steps, callback=callbacks, progress_bar=progress_bar)
            agent.save(run.checkpoint)
    finally:
        logger.close()
    return interruption.signal


@final
class Interruption:
    """Turns the first Ctrl-C (or SIGTERM) inside the `with` into a wish to stop; the second interrupts at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # print could be interrupted inside itself: a handler may only use the plain system call
        os.write(2, b"\nstopping after this update and saving; Ctrl-C again stops at once\n")


@final
class Checkpointing(BaseCallback):
    """Saves after an update, at most every `seconds`, and ends training when `interruption` was asked for."""

    def __init__(self, path: Path, interruption: Interruption, seconds: float) -> None:
        super().__init__()
        self._path = path
        self._interruption = interruption
        self._seconds = seconds
        self._saved = time.monotonic()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        """An update is complete."""
        if self._interruption.signal is not None:
            raise _Stop  # `_on_step` could only ask for it in the next rollout, and so wait for one more update
        if time.monotonic() - self._saved >= self._seconds:
            self.model.save(self._path)
            self._saved = time.monotonic()


class _Stop(Exception):
    """Leaves `learn` between two updates."""
