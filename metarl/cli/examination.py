"""`metarl check` in a process of its own: a family that hangs, crashes or leaves is found out, and not believed."""

import contextlib
import functools
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any, final

from metarl.contracts.clauses import Finding, examine_each
from metarl.contracts.distributions import CLAUSES
from metarl.contracts.probe import Probe
from metarl.engines.workers import Worker, WorkerLost
from metarl.foreign import ForeignError
from metarl.registry import make


@final
class Examination:
    """The findings about one family, one after the other."""

    def __init__(self, place: str, options: Mapping[str, Any], seed: int, skip: Collection[str]) -> None:
        with contextlib.suppress(OSError):
            os.dup2(2, 1)  # what the family prints must not stand between the findings
        self._distribution = make(place, **options)
        self._findings = examine_each(CLAUSES, Probe(self._distribution, seed, "cpu"), skip)

    def name(self) -> str:
        """Name of the family."""
        return self._distribution.name

    def following(self) -> Finding:
        """The next finding."""
        return next(self._findings)


@final
class Examined:
    """A family that is examined in another process; ends it in the end.

    Raises ValueError or ForeignError if there is no such family.
    """

    def __init__(
        self, place: str, options: Mapping[str, Any], seed: int, skip: Collection[str], timeout: float
    ) -> None:
        build = functools.partial(Examination, place, options, seed, skip)
        self._worker = Worker(build, f"the process that examines {place}", timeout, daemon=False)
        self._worker.receive()
        self.name: str = self._asked("name")

    def findings(self) -> Iterator[Finding]:
        """Each finding as soon as it is there; the last one is broken if the process is lost with it."""
        for clause in CLAUSES:
            finding, lost = self._finding(clause.title)
            yield finding
            if lost:
                return

    def close(self) -> None:
        """End the process."""
        self._worker.close()

    def _asked(self, method: str) -> Any:
        self._worker.send(method)
        return self._worker.receive()

    def _finding(self, title: str) -> tuple[Finding, bool]:
        """The next finding, and whether the process was lost with it."""
        try:
            return self._asked("following"), False
        except WorkerLost as error:
            return Finding(title, False, f"{error}; the clauses after it were not asked"), True
        except (ForeignError, ValueError) as error:
            return Finding(title, False, str(error).partition("\n\n")[0]), False
