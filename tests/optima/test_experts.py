"""Experts know the task and act optimally in it; a family names its own, and nobody is taught by a guess."""

import pytest
import torch
from cooler import Thermostat, cooler

import metarl
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.engines.changing_tasks import ChangingTasks
from metarl.evaluation.evaluator import evaluate
from metarl.optima.experts import KnownBestArm, KnownGoal, KnownMDP, KnownPointGoal
from metarl.registry import applicable, distributions
from metarl.tasks.distribution import TaskDistribution

EXPERTS = {
    "bernoulli-bandit": KnownBestArm,
    "tabular-mdp": KnownMDP,
    "grid-navigation": KnownGoal,
    "dark-room": KnownGoal,
    "point-navigation": KnownPointGoal,
    "sparse-point-navigation": KnownPointGoal,
}


def test_families_name_their_experts() -> None:
    found = {name: type(metarl.make(name).expert(1)) for name in distributions()}
    assert found == {name: EXPERTS.get(name, type(None)) for name in distributions()}


@pytest.mark.parametrize("family", EXPERTS)
def test_experts_get_what_the_task_allows(family: str) -> None:
    """The bound of the family; for bandits the mean of the best of five arms, for cells the mean over the goals."""
    distribution = metarl.make(family)
    expert = distribution.expert(1000)
    assert expert is not None
    result = evaluate(expert, distribution, 1000, 2)
    limit = {"bernoulli-bandit": 5 / 6, "grid-navigation": 11.0714, "dark-room": 16.543}.get(family)
    if limit is None:
        assert result.optimal is not None
        limit = result.optimal.total / 2
    assert result.returns.mean(0) == pytest.approx([limit] * 2, abs=4 * result.returns.std(0).max() / 1000**0.5)


@pytest.mark.parametrize(
    "changed",
    [
        metarl.make("grid-navigation").split("test"),
        metarl.make("grid-navigation").split("ood"),
        metarl.make("grid-navigation").where(goal=(2, 3)),
    ],
    ids=["test", "ood", "where"],
)
def test_a_split_or_a_narrower_prior_keeps_the_expert(changed: TaskDistribution) -> None:
    expert = changed.expert(200)
    assert isinstance(expert, KnownGoal)
    result = evaluate(expert, changed, 200, 1)
    assert result.returns.min() == pytest.approx(15 - 1.1 * (max(sum(goal) for goal in result.tasks["goal"]) - 1))  # type: ignore[index]


def test_nobody_knows_when_tasks_change() -> None:
    assert ChangingTasks(metarl.make("grid-navigation")).expert(2) is None


def test_a_family_that_only_looks_like_a_point_in_the_plane_has_no_expert() -> None:
    family = cooler()
    assert family.expert(1) is None
    assert applicable(family) == ["random"]
    assert RL2(family, RL2Options(width=8, num_heads=2), device="cpu").teaching.expert is None


def test_a_plugged_in_family_names_its_expert() -> None:
    family = cooler(make_expert=Thermostat)
    for distribution in (family, family.split("test"), family.where(goal=(1.0, 2.0))):
        assert isinstance(distribution.expert(3), Thermostat)
    assert applicable(family) == ["random", "expert"]
    assert RL2(family, RL2Options(width=8, num_heads=2), device="cpu").teaching.expert == "Thermostat"
    tasks = family.tasks(goal=[[0.75], [-1.0]])
    expert = Thermostat(2)
    expert.set_tasks(tasks)
    torch.testing.assert_close(expert.act(torch.zeros(2, 1)), torch.tensor([[-1.0], [1.0]]), check_dtype=False)
