"""The outer loss of meta-training against its formula, and its steps against closed forms, in plain torch."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import metarl
from metarl.agents.gradient.inner_objective import InnerBatch
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.meta_objective import CollectedBatch, MetaObjective
from metarl.agents.gradient.meta_updates import trust_region
from metarl.agents.gradient.options import MAMLOptions

RATE, TASKS = 0.7, 3
RETURNS = torch.tensor([1.0, 5.0, 3.0])
SCORES = torch.tensor([-1.0, 1.0, 0.0]) * 1.5**0.5  # less their mean 3, over their deviation sqrt(8/3)


def log_policy(agent: MAML, parameters: dict[str, Tensor], batch: InnerBatch) -> Tensor:
    """Log-probabilities [R, T, arms] of all actions in one task."""
    logits: Tensor = torch.func.functional_call(agent.network, parameters, (batch.context,))
    return logits - logits.exp().sum(-1, keepdim=True).log()


def by_hand(agent: MAML, batches: list[CollectedBatch], task: int, **terms: Any) -> Tensor:
    """The loss of one task, term by term as the docstring of `MetaObjective` says."""
    parameters = {name: p.detach().clone().requires_grad_() for name, p in agent.network.named_parameters()}
    in_task: list[CollectedBatch] = tree_map(lambda x: x[task], batches)
    *before, (after, _) = in_task
    total = torch.zeros(())
    for step, (batch, old_parameters) in enumerate(before):
        log_probs, old = log_policy(agent, parameters, batch), old_parameters.log_softmax(-1)
        ratio = (log_probs.gather(-1, batch.action[..., None])[..., 0] - batch.old_log_prob).exp()
        if terms["multi_step_loss"] and step > 0:
            total = total - (ratio * batch.outer_advantage).mean()
        total = total + terms["inner_kl"] / len(before) * (old.exp() * (old - log_probs)).sum(-1).mean()
        total = total - terms["exploration_credit"] * ratio.mean() * SCORES[task]
        inner = -(ratio * batch.advantage).mean()
        slopes = torch.autograd.grad(inner, list(parameters.values()), retain_graph=True)
        parameters = {name: p - RATE * s for (name, p), s in zip(parameters.items(), slopes, strict=True)}
    log_prob = log_policy(agent, parameters, after).gather(-1, after.action[..., None])[..., 0]
    ratio, gain = (log_prob - after.old_log_prob).exp(), after.outer_advantage
    if terms["clip_range"] is None:
        return total - (ratio * gain).mean()
    low, high = 1 - terms["clip_range"], 1 + terms["clip_range"]
    return total - torch.minimum(ratio * gain, ratio.clamp(low, high) * gain).mean()


@pytest.mark.parametrize(
    "terms",
    [{}, {"multi_step_loss": True}, {"clip_range": 0.1}, {"inner_kl": 0.3}, {"exploration_credit": 0.5}],
    ids=["maml", "every step", "ppo", "promp", "e-maml"],
)
def test_the_outer_loss_is_its_formula(terms: dict[str, Any]) -> None:
    """Two inner steps in three bandits, at parameters that have moved since the rollouts: no ratio is 1."""
    options = MAMLOptions(width=8, meta_batch_size=TASKS, rollouts_per_task=4, inner_steps=2, inner_lr=(RATE,))
    agent = MAML(metarl.make("bernoulli-bandit", arms=3), options, device="cpu")
    _, batches, _ = agent._collect(lambda env: None)
    stream = metarl.seeding.generator(0)
    with torch.no_grad():
        for p in agent.network.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=stream))
    terms = {"multi_step_loss": False, "clip_range": None, "inner_kl": 0.0, "exploration_credit": 0.0, **terms}
    losses, _ = MetaObjective(agent.inner, agent.loss, batches, RETURNS, **terms)(slice(0, TASKS))
    expected = torch.stack([by_hand(agent, batches, task, **terms) for task in range(TASKS)])
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
    assert expected.abs().min() > 1e-3


class Quadratic:
    """Linear in two parameters; their divergence is half a quadratic form, flat along the first."""

    num_tasks = 1
    slope, curvature = torch.tensor([0.01, 1.0]), torch.tensor([1e-2, 1.0])

    def __init__(self) -> None:
        self.at = nn.Parameter(torch.zeros(2))

    def __call__(self, part: slice) -> tuple[Tensor, Tensor]:
        return (self.slope @ self.at)[None], self.at[None]

    def kl_divergence(self, parameters: Tensor, part: slice) -> Tensor:
        return 0.5 * (self.curvature * parameters.square()).sum(-1)


def test_a_trust_region_step_is_the_natural_gradient_even_where_the_curvature_is_small() -> None:
    """- F^-1 g as long as the bound of the divergence allows; damping that is felt would turn it."""
    problem = Quadratic()
    measured = trust_region(cast(MetaObjective, problem), [problem.at], max_kl=0.01, fisher_fraction=1.0, chunk=1)
    natural = -problem.slope / problem.curvature
    length = (2 * 0.01 / (problem.curvature * natural.square()).sum()).sqrt() * 0.8 ** measured["train/backtracks"]
    torch.testing.assert_close(problem.at.detach(), length * natural, rtol=2e-3, atol=0.0)
    assert measured["train/backtracks"] <= 1  # the bound itself may be missed by rounding
