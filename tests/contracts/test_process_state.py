"""What the process keeps is watched in every clause: it is found whichever of them changed it, and put back."""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from metarl.contracts.clauses import Clause, Finding, check, examine, examine_each, nothing_to_add
from metarl.contracts.process_state import random_states, settings
from metarl.engines.workers import WorkerLost
from metarl.foreign import ForeignError

RANDOM = Clause("random", nothing_to_add, about="random")
SETTINGS = Clause("settings", nothing_to_add, about="settings")


def doing(action: Callable[[], object], title: str = "first") -> Clause[None]:
    def act(subject: None) -> str:
        action()
        return ""

    return Clause(title, act)


def findings(*clauses: Clause[Any]) -> dict[str, Finding]:
    return {finding.title: finding for finding in examine([*clauses, RANDOM, SETTINGS], None)}


DRAWS: dict[str, Callable[[], object]] = {
    "random": random.random,
    "numpy.random": lambda: np.random.uniform(),  # noqa: NPY002 - the flaw
    "torch": lambda: torch.rand(1),
}
SEEDS: dict[str, Callable[[], object]] = {
    "random": lambda: random.seed(0),
    "numpy.random": lambda: np.random.seed(0),  # noqa: NPY002 - the flaw
    "torch": lambda: torch.default_generator.manual_seed(0),
}


@pytest.mark.parametrize("name", SEEDS)
def test_global_seeding_is_found_in_whatever_clause(name: str) -> None:
    """Also where the state was at that seed before, and where every clause seeds."""
    SEEDS[name]()
    once = findings(doing(SEEDS[name]), doing(lambda: None, "second"))
    always = findings(doing(SEEDS[name]), doing(SEEDS[name], "second"))
    only_later = findings(doing(lambda: None), doing(DRAWS[name], "second"))
    for found, title in ((once, "first"), (always, "first"), (only_later, "second")):
        assert not found["random"].ok
        assert f"changed the global random state of {name} (seen in {title!r})" in found["random"].detail
        assert found["first"].ok
        assert found["second"].ok
        assert found["settings"].ok


def test_the_innocent_are_not_accused_and_nothing_is_left_behind() -> None:
    before = random_states(), settings()
    assert all(finding.ok for finding in findings(doing(lambda: None)).values())
    findings(*(doing(act, f"{act}") for act in (*SEEDS.values(), *DRAWS.values())))
    assert (random_states(), settings()) == before


@pytest.fixture
def put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings as they were, should a test fail."""
    monkeypatch.chdir(os.getcwd())
    handler, dtype, handling = signal.getsignal(signal.SIGTERM), torch.get_default_dtype(), np.geterr()
    yield
    signal.signal(signal.SIGTERM, handler)
    torch.set_default_dtype(dtype)
    np.seterr(**handling)


CHANGES: dict[str, Callable[[], object]] = {
    "the working directory": lambda: os.chdir("/"),
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's gradient mode": lambda: torch.set_grad_enabled(False),
    "numpy's error handling": lambda: np.seterr(all="raise"),
    "signal handlers": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
}


@pytest.mark.usefixtures("put_back")
@pytest.mark.parametrize("name", CHANGES)
def test_changed_settings_are_found_and_put_back(name: str) -> None:
    before = settings()
    found = findings(doing(CHANGES[name]), doing(lambda: check(settings() == before, "still changed"), "second"))
    assert f"changed {name} (seen in 'first')" in found["settings"].detail
    assert found["second"].ok
    assert found["random"].ok
    assert settings() == before


def test_a_thread_that_keeps_the_process_alive_is_found() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="stays")
    found = findings(doing(thread.start))
    end.set()
    thread.join()
    assert "threads, of which some still run" in found["settings"].detail


def test_findings_come_one_by_one() -> None:
    asked: list[str] = []
    clauses = [doing(lambda title=title: asked.append(title), title) for title in ("a", "b", "c")]  # type: ignore[misc]
    for number, finding in enumerate(examine_each(clauses, None), 1):
        assert len(asked) == number
        assert finding.title == asked[-1]


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), KeyError("x")], ids=repr)
def test_whatever_is_raised_breaks_its_clause_only(error: BaseException) -> None:
    found = findings(doing(raising(error)), doing(lambda: None, "second"))
    assert [finding.ok for finding in found.values()] == [False, True, True, True]
    assert type(error).__name__ in found["first"].detail


def test_an_interrupt_is_a_finding_only_where_nobody_can_press_it() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us without one
    try:
        with pytest.raises(KeyboardInterrupt):
            findings(doing(raising(KeyboardInterrupt())))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert not findings(doing(raising(KeyboardInterrupt())))["first"].ok
    finally:
        signal.signal(signal.SIGINT, before)


def test_after_the_loss_of_a_worker_nothing_more_is_asked() -> None:
    """Every clause would wait for it as long as the first."""

    def lose() -> None:
        try:
            raise WorkerLost("gave no answer")
        except WorkerLost as error:
            raise ForeignError("outside") from error

    found = findings(doing(lose), doing(raising(AssertionError("was asked")), "second"))
    assert not found["first"].ok
    assert all(found[title].skipped for title in ("second", "random", "settings"))
