"""What a file keeps of a distribution is its registered name and plain options, and it comes back from them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_agent import FakeAgent
from gymnasium import spaces

import metarl
from metarl.engines.changing_tasks import ChangingTasks
from metarl.registry import adapted, build, distributions, name_of, registered, resolve
from metarl.tasks.distribution import TaskDistribution
from metarl.training.agent import Agent
from metarl.training.description import describe_distribution, restore_distribution

BANDIT = {"arms": 3, "pulls": 4}
SIZED = """
from dataclasses import dataclass
from metarl.envs.bandit import BernoulliBandit

@dataclass(frozen=True)
class Sized(BernoulliBandit):
    "A family of a user's own, one option of which is a tuple."
    sizes: tuple[int, ...] = (1, 2)
"""


def described(distribution: TaskDistribution) -> dict[str, Any]:
    """What a checkpoint says of a distribution, as JSON gives it back."""
    description: dict[str, Any] = json.loads(json.dumps(describe_distribution(distribution)))
    return description


@pytest.mark.parametrize("name", distributions())
def test_every_family_comes_back_by_its_registered_name(name: str) -> None:
    family = metarl.make(name)
    for distribution in (family, family.split("test"), _narrowed(family)):
        description = described(distribution)
        assert description["family"] == name
        assert "metarl." not in json.dumps(description)
        assert restore_distribution(description, "file") == distribution


def _narrowed(family: TaskDistribution) -> TaskDistribution:
    """Half of the prior of one parameter."""
    name, box = next(iter(family.task_space.spaces.items()))
    assert isinstance(box, spaces.Box)
    return family.where(**{name: (float(box.low.max()), float((box.low.max() + box.high.min()) / 2))})


def test_options_come_back_tuples_too_and_a_users_own_family_needs_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert restore_distribution(described(metarl.make("bernoulli-bandit", **BANDIT)), "file").options == BANDIT
    (tmp_path / "sized_family.py").write_text(SIZED)
    monkeypatch.syspath_prepend(tmp_path)
    family = build("sized_family:Sized", {"sizes": (3, 4)})
    description = described(family.split("ood"))
    assert description["family"] == "sized_family:Sized"
    del sys.modules["sized_family"]
    with pytest.raises(ValueError, match="file names the distribution 'sized_family:Sized'"):
        restore_distribution(description, "file")
    assert "sized_family" not in sys.modules
    restored = restore_distribution(description, "file", trust=True)
    assert (restored.options, restored.split_name) == (family.options, "ood")
    del sys.modules["sized_family"]


def test_families_that_are_built_ask_for_the_object(user_project: Path) -> None:
    wrapped = ChangingTasks(metarl.make("bernoulli-bandit"), change_episodes=(2,))
    for family in (wrapped, metarl.make("frozen-lake"), metarl.make("drift_family:drift")):
        with pytest.raises(
            ValueError, match=f"{family.name} cannot be made again from a checkpoint: give it as the arg"
        ):
            restore_distribution(described(family), "file", trust=True)


def test_what_is_registered_has_one_name_and_every_other_has_none() -> None:
    for name in (*distributions(), *adapted()):
        assert name_of(resolve(name, "distribution", "file"), "distribution") == name
    for thing in (Agent, FakeAgent, resolve, 3):
        assert name_of(thing, "agent") is None
    assert registered("metarl.agents.in_context.rl2:RL2", "agent")
    assert not registered("metarl.agents.in_context.rl2:RL2", "distribution")
    assert not registered("metarl.agents.in_context.rl2:RL2Options", "agent")
