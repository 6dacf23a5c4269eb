"""Every agent and every classical baseline keeps the contract of adaptive policies."""

from pathlib import Path
from typing import Literal

import pytest

import metarl
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.imports import import_attribute
from metarl.registry import applicable, baselines, distributions
from metarl.testing import check_agent

SUITED = [(baseline, family) for family in distributions() for baseline in applicable(metarl.make(family))]


@pytest.mark.parametrize(("baseline", "family"), SUITED, ids=str)
def test_classical_baselines_keep_the_contract(baseline: str, family: str, device: str) -> None:
    distribution = metarl.make(family)
    build = import_attribute(baselines()[baseline])
    check_agent(lambda num_tasks: build(distribution, num_tasks, device=device), distribution, device=device)


@pytest.mark.parametrize("memory", ["transformer", "gru", "lstm"])
@pytest.mark.parametrize("family", ["bernoulli-bandit", "point-navigation"])
def test_rl2_keeps_the_contract(family: str, memory: Literal["transformer", "gru", "lstm"], device: str) -> None:
    distribution = metarl.make(family)
    agent = RL2(distribution, RL2Options(memory=memory, width=16, num_heads=2), device=device)
    check_agent(agent, distribution)


@pytest.mark.parametrize("network", ["feed-forward", "attention"])
@pytest.mark.parametrize("family", ["tabular-mdp", "point-navigation"])
def test_maml_keeps_the_contract(family: str, network: Literal["feed-forward", "attention"], device: str) -> None:
    distribution = metarl.make(family)
    options = MAMLOptions(
        network=network, width=8, meta_batch_size=2, rollouts_per_task=1, test_rollouts=1, test_steps=2
    )
    check_agent(MAML(distribution, options, device=device), distribution)


def test_rl2_keeps_the_contract_when_it_samples(device: str) -> None:
    distribution = metarl.make("grid-navigation")
    agent = RL2(distribution, RL2Options(width=16, num_heads=2, num_layers=1), device=device)
    check_agent(lambda num_tasks: agent.policy(num_tasks, deterministic=False), distribution, device=device)


def test_rl2_keeps_the_contract_in_any_gymnasium_environment(user_project: Path, device: str) -> None:
    drift = metarl.make("drift_family:drift")
    check_agent(RL2(drift, RL2Options(width=16, num_heads=2, num_layers=1), device=device), drift)
