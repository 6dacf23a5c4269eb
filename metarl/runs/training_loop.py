"""Training inside a run folder: checkpoints at an interval, and a Ctrl-C that saves before it stops."""

import contextlib
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, final

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from metarl import distributed
from metarl.runs.folder import Run

if TYPE_CHECKING:
    from metarl.training.agent import Agent

CLOSING_S = 10.0  # how long the log may take to close


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
    Whatever is raised, a second Ctrl-C included, the last checkpoint stays whole. The log is closed in any case, and a
    log that cannot be closed is left after some seconds.
    Of several processes the first alone logs, saves and calls `callback`; a signal to any of them stops all.
    """
    first = distributed.rank() == 0
    logger = run.logger(agent.num_timesteps) if first else Logger(None, [])
    agent.set_logger(logger)
    with Interruption() as interruption:
        keeper = Checkpointing(run.checkpoint, interruption, seconds_between_checkpoints)
        callbacks = [keeper] if callback is None or not first else [callback, keeper]
        try:
            with contextlib.suppress(_Stop), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "trained for .* steps already")  # a run may be complete
                agent.learn(run.config.total_timesteps, callback=callbacks, progress_bar=progress_bar and first)
            keeper.save()
            return interruption.signal
        finally:
            interruption.hold()
            _close(logger)


def _close(logger: Logger) -> None:
    """Close the log, or leave it: an interrupt in the middle of a row may have made TensorBoard wait for ever."""
    errors: list[Exception] = []

    def close() -> None:
        try:
            logger.close()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=close, daemon=True)
    thread.start()
    thread.join(CLOSING_S)
    if errors:
        raise errors[0]


@final
class Interruption:
    """Turns the first Ctrl-C inside the `with` into a wish to stop; the second interrupts at once, but
    for a checkpoint that is being written.

    So do SIGTERM, the end of the terminal (SIGHUP, unless nohup had it ignored) and Slurm's warning (SIGUSR1).
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            self._previous = {number: signal.signal(number, self._note) for number in _signals()}
        return self

    def __exit__(self, *exception: object) -> None:
        if distributed.size() > 1 and exception[0] is not None:
            return  # torchrun sends SIGTERM to those who remain when one has failed, and they have yet to say why
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, signals wait for the end, so that nothing is left half done."""
        waiting: list[int] = []
        before = {n: signal.signal(n, lambda number, _: waiting.append(number)) for n in self._previous}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for number in waiting:
                signal.raise_signal(number)

    def hold(self) -> None:
        """From here on signals are only noted, so that what follows inside the `with` is done to its end."""
        for number in self._previous:
            signal.signal(number, self._keep)

    def _keep(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number

    def _note(self, number: int, frame: FrameType | None) -> None:
        again, self.signal = self.signal is not None, number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if number in (signal.SIGINT, signal.SIGTERM):  # a lost terminal is often followed by SIGTERM
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if again:
            return
        if distributed.size() > 1 and (distributed.rank() > 0 or number == signal.SIGTERM):
            return  # once is enough; and torchrun ends the others by SIGTERM when one has failed
        # print could be interrupted inside itself: a handler may only use the plain system call
        with contextlib.suppress(OSError):  # there may be nobody to read it
            os.write(2, b"\nstopping after this update and saving; Ctrl-C again stops at once\n")


def _signals() -> list[int]:
    """Those by which a process is asked to end. What is ignored before, as nohup does, stays so."""
    more = [getattr(signal, name) for name in ("SIGHUP", "SIGUSR1") if hasattr(signal, name)]
    return [signal.SIGINT, signal.SIGTERM, *(n for n in more if signal.getsignal(n) is not signal.SIG_IGN)]


@final
class Checkpointing(BaseCallback):
    """Saves after an update, at most every `seconds`, and ends training when `interruption` was asked for.

    Of several processes the first saves; all end when any was asked to.
    """

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
        self._interruption.signal = distributed.largest(self._interruption.signal or 0) or None
        if self._interruption.signal is not None:
            raise _Stop  # `_on_step` could only ask for it in the next rollout, and so wait for one more update
        if time.monotonic() - self._saved >= self._seconds:
            self.save()

    def save(self) -> None:
        if distributed.rank() == 0:
            with self._interruption.deferred():
                self.model.save(self._path)
        self._saved = time.monotonic()


class _Stop(Exception):
    """Leaves `learn` between two updates."""
