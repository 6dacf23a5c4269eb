"""What a contract check is: clauses that hold or do not, each with a line that says so."""

import random
import re
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, final

import numpy as np
import torch

Subject = TypeVar("Subject")


class ContractError(AssertionError):
    """A clause of the contract is broken; the text names the clause and what was found."""


@final
@dataclass(frozen=True)
class Clause(Generic[Subject]):
    """One promise: `check` returns a remark, or raises to say how the promise is broken."""

    title: str
    check: Callable[[Subject], str]


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


def check(condition: object, problem: str) -> None:
    """ContractError with `problem` unless the condition is true."""
    if not condition:
        raise ContractError(problem)


def examine(clauses: Sequence[Clause[Subject]], subject: Subject, skip: Collection[str] = ()) -> list[Finding]:
    """Every clause in turn; whatever a check raises breaks its clause and leaves the others standing."""
    unknown = set(skip) - {clause.title for clause in clauses}
    if unknown:
        raise ValueError(f"no clause {sorted(unknown)}; there are {[clause.title for clause in clauses]}")
    told: dict[str, str] = {}  # an error that stops many clauses is told by the first
    return [_examine(clause, subject, clause.title in skip, told) for clause in clauses]


def uphold(findings: Sequence[Finding], name: str) -> None:
    """ContractError that lists every broken clause."""
    broken = [str(finding) for finding in findings if not finding.ok]
    if broken:
        raise ContractError("\n".join([f"{name} breaks {len(broken)} of {len(findings)} clauses", *broken]))


def untouched_by(action: Callable[[], object], advice: str = "") -> None:
    """ContractError, with some advice, if `action` changes the global random state of Python, numpy or torch."""
    before = _random_states()
    action()
    changed = [name for name, state in _random_states().items() if state != before[name]]
    check(not changed, f"changed the global random state of {', '.join(changed)}{advice}")


def _examine(clause: Clause[Subject], subject: Subject, skipped: bool, told: dict[str, str]) -> Finding:
    if skipped:
        return Finding(clause.title, True, "", skipped=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a clause says what it has to say in its finding
            return Finding(clause.title, True, clause.check(subject))
    except ContractError as error:
        return Finding(clause.title, False, str(error))
    except (Exception, SystemExit) as error:
        text = f"{type(error).__name__}: {error}"
        first = told.setdefault(_essence(error), clause.title)
        return Finding(clause.title, False, text if first == clause.title else f"the same error as in {first!r}")


def _essence(error: BaseException) -> str:
    """The text of the error at the root, without its numbers: in other tasks and at other steps it stays the same."""
    while error.__cause__ is not None:
        error = error.__cause__
    return re.sub(r"\d[\d.e+-]*", "#", str(error).partition("\n")[0])


def _random_states() -> dict[str, object]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - read only, to see that nobody draws from it
    return {
        "random": random.getstate(),
        "numpy.random": (kind, np.asarray(keys).tobytes(), *rest),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "torch.cuda": [state.numpy().tobytes() for state in _cuda_states()],
    }


def _cuda_states() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
