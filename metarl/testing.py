"""Checks of the contracts that task distributions and agents keep, for anyone's tests: one line each.

    from metarl.testing import check_agent, check_distribution

    def test_my_distribution():
        check_distribution(my_distribution)

    def test_my_agent():
        check_agent(lambda num_tasks: MyPolicy(num_tasks), my_distribution)

`metarl check` prints the same findings, a line for each clause.
"""

from collections.abc import Callable, Collection

import torch

from metarl.contracts import distributions as distribution_contract
from metarl.contracts import policies as policy_contract
from metarl.contracts.clauses import ContractError, Finding, examine, uphold
from metarl.contracts.policies import PolicyProbe
from metarl.contracts.probe import Probe
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import AdaptivePolicy
from metarl.training.agent import Agent

__all__ = [
    "ContractError",
    "Finding",
    "agent_findings",
    "check_agent",
    "check_distribution",
    "distribution_findings",
]


PolicySource = Agent | Callable[[int], AdaptivePolicy]


def distribution_findings(
    distribution: TaskDistribution, seed: int = 0, device: torch.device | str = "cpu", skip: Collection[str] = ()
) -> list[Finding]:
    """One finding for each clause; clauses whose title is in `skip` are left out. ValueError for an unknown title."""
    return examine(distribution_contract.CLAUSES, Probe(distribution, seed, device), skip)


def check_distribution(
    distribution: TaskDistribution, seed: int = 0, device: torch.device | str = "cpu", skip: Collection[str] = ()
) -> None:
    """Raise ContractError, an AssertionError, that lists the clauses which `distribution` breaks.

    >>> import metarl
    >>> check_distribution(metarl.make("bernoulli-bandit"))
    """
    uphold(distribution_findings(distribution, seed, device, skip), distribution.name)


def agent_findings(
    source: PolicySource,
    distribution: TaskDistribution,
    seed: int = 0,
    device: torch.device | str = "cpu",
    skip: Collection[str] = (),
) -> list[Finding]:
    """One finding for each clause that `source` keeps or breaks in tasks of `distribution`.

    `source` is an agent, or a function from a number of tasks to a new AdaptivePolicy in its initial state.
    """
    if isinstance(source, Agent):
        trial = PolicyProbe(source.policy, distribution, seed, source.device, source)
    else:
        trial = PolicyProbe(source, distribution, seed, device)
    return examine(policy_contract.CLAUSES, trial, skip)


def check_agent(
    source: PolicySource,
    distribution: TaskDistribution,
    seed: int = 0,
    device: torch.device | str = "cpu",
    skip: Collection[str] = (),
) -> None:
    """Raise ContractError, an AssertionError, that lists the clauses which the policies of `source` break."""
    name = getattr(source, "__name__", type(source).__name__)
    uphold(agent_findings(source, distribution, seed, device, skip), name)
