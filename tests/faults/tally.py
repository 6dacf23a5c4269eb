"""Counting: each promise with how often it was tried and how often it was broken."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar, final

LONG = os.environ.get("METARL_FAULTS") == "long"
Case = TypeVar("Case")


@final
class Tally:
    """The tries of one promise."""

    def __init__(self) -> None:
        self.tries = 0
        self.failures: list[str] = []

    def expect(self, kept: object, what: str) -> None:
        """One try; `what` tells of it where the promise was not kept."""
        self.tries += 1
        if not kept:
            self.failures.append(what)


@contextmanager
def counted(promise: str, record: Callable[[str, object], None]) -> Iterator[Tally]:
    """Tries of a promise, for pytest's `record_property`; none may fail."""
    tally = Tally()
    try:
        yield tally
    finally:
        record("fault", (promise, tally.tries, len(tally.failures)))
    assert not tally.failures, "\n".join(tally.failures)


def some(cases: Sequence[Case], short: int) -> list[Case]:
    """All cases in the long form, else `short` of them, the same each time."""
    return list(cases) if LONG else random.Random(0).sample(list(cases), min(short, len(cases)))


def table(rows: Sequence[tuple[str, int, int]]) -> str:
    """Promises, tries and failures in columns.

    >>> print(table([("whole after a kill", 60, 0)]))
    whole after a kill    60 tries  0 failures
    """
    width = max(len(promise) for promise, _, _ in rows)
    return "\n".join(f"{promise:<{width}} {tries:>5} tries {failed:>2} failures" for promise, tries, failed in rows)
