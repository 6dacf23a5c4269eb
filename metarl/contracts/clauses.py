"""What a contract check is: clauses that hold or do not, each with a line that says so."""

import re
import signal
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, final

from metarl.contracts.process_state import fresh_random_states, random_states, restore, settings, start_anew
from metarl.engines.workers import WorkerLost
from metarl.foreign import described

Subject = TypeVar("Subject")


class ContractError(AssertionError):
    """A clause of the contract is broken; the text names the clause and what was found."""


@final
@dataclass(frozen=True)
class Clause(Generic[Subject]):
    """One promise: `check` returns a remark, or raises to say how the promise is broken."""

    title: str
    check: Callable[[Subject], str]
    about: str = ""  # random or settings: what it tells of the process, whichever clause changed it


@final
@dataclass(frozen=True)
class Finding:
    """How one clause came out."""

    title: str
    ok: bool
    detail: str  # a remark, or what is wrong
    skipped: bool = False

    def __str__(self) -> str:
        mark = "skipped" if self.skipped else "ok" if self.ok else "BROKEN"
        return f"{mark:8}{self.title}" + (f": {self.detail}" if self.detail else "")


def nothing_to_add(subject: object) -> str:
    """The check of a clause that only tells what the others did to the process."""
    return ""


SETTINGS_KEPT: Clause[Any] = Clause("settings of the whole process are untouched", nothing_to_add, about="settings")


def check(condition: object, problem: str) -> None:
    """ContractError with `problem` unless the condition is true."""
    if not condition:
        raise ContractError(problem)


def examine(clauses: Sequence[Clause[Subject]], subject: Subject, skip: Collection[str] = ()) -> list[Finding]:
    """Every clause in turn; whatever a check raises breaks its clause and leaves the others standing."""
    return list(examine_each(clauses, subject, skip))


def examine_each(clauses: Sequence[Clause[Subject]], subject: Subject, skip: Collection[str] = ()) -> Iterator[Finding]:
    """The finding of each clause as soon as it is there.

    What the process keeps (random states, settings) is looked at after each clause, and put back. The clause that is
    about it tells what any of them did. After the loss of a worker the remaining clauses are skipped: they would wait
    for it, too.
    """
    unknown = set(skip) - {clause.title for clause in clauses}
    if unknown:
        raise ValueError(f"no clause {sorted(unknown)}; there are {[clause.title for clause in clauses]}")
    told: dict[str, str] = {}  # an error that stops many clauses is told by the first
    touched: list[Touch] = []
    lost = False
    with fresh_random_states():
        for clause in clauses:
            if lost or clause.title in skip:
                yield Finding(clause.title, True, "not asked after the loss of a worker" if lost else "", skipped=True)
                continue
            before = random_states(), settings()
            finding, lost = _examine(clause, subject, told)
            touched += _touches(clause.title, *before)
            start_anew()
            restore(before[1])
            yield _with_touches(finding, [touch for touch in touched if touch.kind == clause.about])


@final
@dataclass(frozen=True)
class Touch:
    """Something of the whole process that was not left alone."""

    kind: str
    what: str
    title: str  # of the clause in which it was first seen


def _touches(title: str, states: Mapping[str, object], kept: Mapping[str, object]) -> list[Touch]:
    drawn = [Touch("random", name, title) for name, state in random_states().items() if state != states[name]]
    return drawn + [Touch("settings", name, title) for name, value in settings().items() if value != kept[name]]


def _with_touches(finding: Finding, touches: Sequence[Touch]) -> Finding:
    """The finding of the clause that is about them, unless it has something to say itself."""
    if not touches or not finding.ok:
        return finding
    first = {touch.what: touch.title for touch in reversed(touches)}
    what = "the global random state of " if touches[0].kind == "random" else ""
    seen = " and ".join(f"{name} (seen in {title!r})" for name, title in first.items())
    return replace(finding, ok=False, detail=f"changed {what}{seen}: other code goes another way")


def uphold(findings: Sequence[Finding], name: str) -> None:
    """ContractError that lists every broken clause."""
    broken = [str(finding) for finding in findings if not finding.ok]
    if broken:
        raise ContractError("\n".join([f"{name} breaks {len(broken)} of {len(findings)} clauses", *broken]))


def untouched_by(action: Callable[[], object], advice: str = "") -> None:
    """ContractError, with some advice, if `action` changes the global random state of Python, numpy or torch."""
    with fresh_random_states():
        before = random_states()
        action()
        changed = [name for name, state in random_states().items() if state != before[name]]
    check(not changed, f"changed the global random state of {', '.join(changed)}{advice}")


def _examine(clause: Clause[Subject], subject: Subject, told: dict[str, str]) -> tuple[Finding, bool]:
    """How the clause came out, and whether a worker was lost."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a clause says what it has to say in its finding
            return Finding(clause.title, True, clause.check(subject)), False
    except ContractError as error:
        return Finding(clause.title, False, str(error)), False
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            raise  # a Ctrl-C
        first = told.setdefault(_essence(error), clause.title)
        text = described(error) if first == clause.title else f"the same error as in {first!r}"
        return Finding(clause.title, False, text), isinstance(_root(error), WorkerLost)


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _essence(error: BaseException) -> str:
    """The text of the error at the root, without its numbers: in other tasks and at other steps it stays the same."""
    return re.sub(r"\d[\d.e+-]*", "#", str(_root(error)).partition("\n")[0])
