"""Each flaw of an expert, and the clause of `metarl check` that finds it."""

import functools
from collections.abc import Callable

import pytest
from cooler import Thermostat, cooler
from torch import Tensor

from metarl.agents.classical.bandits import UCB1
from metarl.contracts.clauses import examine
from metarl.contracts.experts import CLAUSES
from metarl.contracts.probe import Probe
from metarl.envs.bandit import BernoulliBandit
from metarl.optima.experts import KnownBestArm
from metarl.tasks.distribution import TaskDistribution

POLICY, ADVICE, CHANCE = (clause.title for clause in CLAUSES)


def broken(family: TaskDistribution) -> dict[str, str]:
    return {f.title: f.detail for f in examine(CLAUSES, Probe(family, 0, "cpu")) if not f.ok}


def test_sound_experts_pass(device: str) -> None:
    for family in (BernoulliBandit(), cooler(make_expert=Thermostat), cooler()):
        findings = examine(CLAUSES, Probe(family, 0, device))
        assert [finding.detail for finding in findings if not finding.ok] == []


def test_an_expert_that_knows_the_wrong_way_is_found_out_and_told_in_numbers() -> None:
    backwards = functools.partial(Thermostat, sign=1.0)
    found = broken(cooler(make_expert=backwards))
    assert list(found) == [CHANCE]
    assert "an episode, random actions -" in found[CHANCE]


def test_an_expert_that_counts_on_clipping_is_found_out() -> None:
    found = broken(cooler(make_expert=functools.partial(Thermostat, limit=10.0)))
    assert list(found) == [ADVICE]
    assert "lies outside Box" in found[ADVICE]


ACT, VALUES = KnownBestArm.act, KnownBestArm.values


@pytest.mark.parametrize(
    ("method", "flawed", "clauses"),
    [
        ("act", lambda self, seen: ACT(self, seen) + 5, {POLICY, ADVICE, CHANCE}),
        ("act", lambda self, seen: ACT(self, seen)[:, None], {POLICY, ADVICE, CHANCE}),
        ("act", lambda self, seen: self._means.argmin(1), {ADVICE, CHANCE}),
        ("values", lambda self, seen: None, {ADVICE}),
        ("values", lambda self, seen: VALUES(self, seen)[:, :2], {ADVICE}),
        ("values", lambda self, seen: VALUES(self, seen) / 0, {ADVICE}),
        ("values", lambda self, seen: -VALUES(self, seen), {ADVICE}),
    ],
    ids=["outside", "columns", "worst arm", "no values", "too few values", "infinite values", "values of the others"],
)
def test_a_flawed_expert_of_discrete_actions_is_found_out(
    monkeypatch: pytest.MonkeyPatch, method: str, flawed: Callable[..., Tensor], clauses: set[str]
) -> None:
    monkeypatch.setattr(KnownBestArm, method, flawed)
    assert set(broken(BernoulliBandit())) == clauses


def test_what_is_no_privileged_policy_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BernoulliBandit, "expert", lambda self, num_tasks, device: UCB1(self, num_tasks, device=device))
    assert (
        "must give a PrivilegedPolicy, got <metarl.agents.classical.bandits.UCB1" in broken(BernoulliBandit())[POLICY]
    )
