"""The outer loss of gradient-based meta-training: the loss of the policies after their inner steps."""

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from metarl import distributed
from metarl.adaptation.inner_loop import InnerLoop
from metarl.adaptation.stacked import part_of
from metarl.agents.gradient.inner_objective import InnerBatch, InnerLoss, action_parameters
from metarl.agents.gradient.networks import PolicyNetwork
from metarl.functional.losses import clipped_likelihood_ratio, likelihood_ratio, normalised, valid_mean


@final
class CollectedBatch(NamedTuple):
    """Rollouts of N tasks, and the policies that collected them."""

    rollouts: InnerBatch
    old_parameters: Tensor  # [N, R, T, P] of their action head


@final
class MetaObjective:
    """The outer loss of N tasks, differentiable through their inner steps.

    loss = - E[ratio A] after the last inner step, or with `multi_step_loss` after each of them, summed (MAML++,
             Antoniou et al. 2019, arXiv 1810.09502); A is normalised over all tasks together, so that the gradient
             follows their mean return; ratios are clipped if `clip_range` is given (PPO)
           + inner_kl * mean over inner steps of KL(policy that collected || policy now)
           - exploration_credit * sum over inner steps of E[ratio] * (return after the last, normalised over tasks)

    The first term alone is MAML. The second makes it ProMP (Rothfuss et al. 2019, arXiv 1810.06784). The third makes it
    E-MAML (Stadie et al. 2018, arXiv 1803.01118): exploration gets credit for the return after adaptation.
    """

    def __init__(
        self,
        inner: InnerLoop[PolicyNetwork],
        loss: InnerLoss,
        batches: Sequence[CollectedBatch],
        returns: Tensor,
        *,
        multi_step_loss: bool = False,
        clip_range: float | None = None,
        inner_kl: float = 0.0,
        exploration_credit: float = 0.0,
    ) -> None:
        """`batches`: one of each inner step, then that of the adapted policies, with their mean returns [N]."""
        *self._before, self._after = batches
        self._inner = inner
        self._loss = loss
        self._exploration_credit = exploration_credit * normalised(returns, distributed.mean_and_deviation)
        self._credited = exploration_credit != 0
        self._multi_step_loss = multi_step_loss
        self._clip_range = clip_range
        self._inner_kl = inner_kl / max(1, len(self._before))
        self.num_tasks = len(returns)

    def __call__(self, part: slice) -> tuple[Tensor, Tensor]:
        """Losses [n] of the tasks in `part`, and action parameters `[n, R, T, P]` of their adapted policies."""
        adapted = self._inner.begin(part.stop - part.start, part.start)
        extra = 0.0 * self._exploration_credit[part]
        for step, every_task in enumerate(self._before):
            batch = part_of(every_task, part)
            if self._multi_step_loss and step > 0:
                extra = extra + self._inner.call(self._adapted_loss, adapted, batch.rollouts)[0]
            if self._inner_kl or self._credited:
                surrogate, divergence = self._inner.call(_at_sampling, adapted, batch)
                extra = extra + self._exploration_credit[part] * surrogate + self._inner_kl * divergence
            adapted = self._inner.step(self._loss, adapted, batch.rollouts)
        loss, parameters = self._inner.call(self._adapted_loss, adapted, part_of(self._after, part).rollouts)
        return loss + extra, parameters

    def kl_divergence(self, parameters: Tensor, part: slice) -> Tensor:
        """Mean KL divergence [n], in nats, from the adapted policy that collected to the one with `parameters`."""
        batch = part_of(self._after, part)
        each = self._inner.module.head.kl_divergence(batch.old_parameters, parameters)
        valid = batch.rollouts.valid.to(each.dtype)
        return (each * valid).flatten(1).sum(1) / valid.flatten(1).sum(1)

    def _adapted_loss(self, network: PolicyNetwork, batch: InnerBatch) -> tuple[Tensor, Tensor]:
        parameters = action_parameters(network, batch)
        log_prob = network.head.log_prob(parameters, batch.action)
        terms = (log_prob, batch.old_log_prob, batch.outer_advantage)
        if self._clip_range is None:
            return likelihood_ratio(*terms, batch.valid), parameters
        return clipped_likelihood_ratio(*terms, self._clip_range, batch.valid), parameters


def _at_sampling(network: PolicyNetwork, batch: CollectedBatch) -> tuple[Tensor, Tensor]:
    """- E[ratio] and KL(old || new) of the policy that collects, before its inner step."""
    rollouts, parameters = batch.rollouts, action_parameters(network, batch.rollouts)
    log_prob = network.head.log_prob(parameters, rollouts.action)
    surrogate = likelihood_ratio(log_prob, rollouts.old_log_prob, torch.ones_like(log_prob), rollouts.valid)
    return surrogate, valid_mean(network.head.kl_divergence(batch.old_parameters, parameters), rollouts.valid)
