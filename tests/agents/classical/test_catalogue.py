"""Every classical baseline keeps the contract of policies, refuses what it does not suit, and can be found by name."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

import metarl
from metarl.agents.catalogue import AGENTS, BASELINES
from metarl.agents.classical.uniform import RandomPolicy
from metarl.imports import import_attribute
from metarl.registry import applicable, distributions
from metarl.tasks.policies import AdaptivePolicy
from metarl.testing import check_agent

BANDITS = ["greedy", "epsilon-greedy", "ucb1", "thompson-sampling", "gittins", "bayes-optimal-bandit", "expert"]
SEARCHERS = ["goal-posterior-sampling", "bayes-optimal-search", "expert"]
SUITED = {
    "bernoulli-bandit": BANDITS,
    "tabular-mdp": ["psrl", "beb", "ucrl", "expert"],
    "grid-navigation": SEARCHERS,
    "dark-room": SEARCHERS,
    "point-navigation": ["expert"],
    "sparse-point-navigation": ["expert"],
    "bus-grid": ["bus-walker", "bus-explorer", "known-buses"],
    "hidden-rooms": ["bayes-optimal-goals", "without-last-goal", "known-goals"],
    "mountain-treasure": ["circle-search", "climb-look-go", "known-treasure"],
    "dark-key-to-door": ["known-key-and-door"],
    "two-doors": ["never-tries", "bayes-optimal-doors"],
}
PAIRS = [(family, baseline) for family, baselines in SUITED.items() for baseline in ["random", *baselines]]


def make_baseline(baseline: str, family: str, num_tasks: int, **options: Any) -> AdaptivePolicy:
    made = import_attribute(BASELINES[baseline])(metarl.make(family), num_tasks, **options)
    assert isinstance(made, AdaptivePolicy)
    return made


def test_suited_baselines() -> None:
    assert {name: applicable(metarl.make(name)) for name in distributions()} == {
        name: ["random", *SUITED.get(name, ())] for name in distributions()
    }


def test_exact_solution_suits_short_bandits_only() -> None:
    long = applicable(metarl.make("bernoulli-bandit", pulls=100))
    assert "gittins" in long
    assert "bayes-optimal-bandit" not in long


@pytest.mark.parametrize(("family", "baseline"), PAIRS)
def test_contract(family: str, baseline: str, device: str) -> None:
    """Hard resets with staggered masks, draws of their own, untouched inputs and more."""
    made = partial(make_baseline, baseline, family, device=device)
    check_agent(made, metarl.make(family), device=device)


@pytest.mark.parametrize("baseline", BASELINES)
def test_unsuited_distributions_are_refused_with_what_is_needed(baseline: str) -> None:
    strangers = [name for name in distributions() if baseline not in ["random", *SUITED.get(name, ())]]
    for name in strangers:
        with pytest.raises(ValueError, match=rf"need.*{metarl.make(name).name}"):
            make_baseline(baseline, name, 2)


@pytest.mark.parametrize("baseline", ["thompson-sampling", "random", "epsilon-greedy"])
def test_the_seed_decides(baseline: str) -> None:
    def actions(seed: int) -> list[int]:
        policy = make_baseline(baseline, "bernoulli-bandit", 100, seed=seed)
        policy.begin()
        return [int(action) for _ in range(3) for action in policy.act(torch.zeros(100, 1))]

    assert actions(1) == actions(1) != actions(2)


def test_tables_name_documented_classes() -> None:
    for path in [*AGENTS.values(), *BASELINES.values()]:
        first = import_attribute(path).__doc__.splitlines()[0]
        assert first.endswith(".")
        assert len(first) < 120


@pytest.mark.parametrize(
    ("baseline", "option"),
    [
        ("epsilon-greedy", {"epsilon": 1.5}),
        ("ucb1", {"scale": -1.0}),
        ("gittins", {"num_episodes": 0}),
        ("bayes-optimal-bandit", {"num_episodes": 0}),
    ],
)
def test_impossible_options_are_refused(baseline: str, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"epsilon must|scale must|horizon >= 1"):
        make_baseline(baseline, "bernoulli-bandit", 2, **option)


def test_random_actions_are_a_floor_for_choices_and_numbers_without_bounds() -> None:
    def family(space: Any) -> Any:
        return SimpleNamespace(name="switches-v1", action_space=space)

    for space in (spaces.MultiDiscrete([2, 3]), spaces.Box(-np.inf, np.inf, (2,))):
        assert all(action in space for action in RandomPolicy(family(space), 50).act(torch.zeros(50, 1)).numpy())
    with pytest.raises(ValueError, match=r"need Box, Discrete.* switches-v1 has Text"):
        RandomPolicy(family(spaces.Text(2)), 2)
