"""Outer-loop updates of gradient-based meta-RL: how the initial parameters follow the outer loss."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from metarl import distributed
from metarl.adaptation.inner_loop import mean_meta_gradient
from metarl.adaptation.stacked import task_chunks
from metarl.agents.gradient.meta_objective import MetaObjective
from metarl.distributed import flatten
from metarl.functional.trust_region import curvature_product, damped, natural_step, trust_region_step

DAMPING = 1e-5
RATES = (1e-5, 1e-2)  # smallest and largest learning rate that adaptation may choose


def gradient_descent(
    objective: MetaObjective,
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    epochs: int,
    max_kl: float,
    chunk: int,
) -> dict[str, float]:
    """`epochs` steps of `optimiser` on the mean outer loss; then its learning rate adapts to `max_kl`.

    `chunk` is the number of tasks in one backward pass. Returns what to log. Raises FloatingPointError if a gradient is
    not finite; the parameters then stay as they were before that step.
    """
    for _ in range(epochs):
        _, gradients = mean_meta_gradient(lambda part: objective(part)[0], objective.num_tasks, parameters, chunk)
        distributed.average(gradients)
        if not all(gradient.isfinite().all() for gradient in gradients):
            raise FloatingPointError("the meta-gradient is not finite")
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
    loss, kl = _evaluated(objective, chunk)
    rate = optimiser.param_groups[0]["lr"]
    for group in optimiser.param_groups:
        group["lr"] = adapted_rate(rate, kl, max_kl)
    return {"train/loss": loss, "train/approx_kl": kl, "train/learning_rate": rate}


def adapted_rate(rate: float, kl: float, max_kl: float) -> float:
    """The learning rate divided by 1.5 if `kl` is above 2 * `max_kl`, times 1.5 if below `max_kl` / 2 (in nats).

    Rudin et al. 2022, arXiv 2109.11978.
    """
    if kl > 2 * max_kl:
        return max(rate / 1.5, min(rate, RATES[0]))
    if kl < max_kl / 2:
        return min(rate * 1.5, max(rate, RATES[1]))
    return rate


def trust_region(
    objective: MetaObjective, parameters: Sequence[nn.Parameter], max_kl: float, fisher_fraction: float, chunk: int
) -> dict[str, float]:
    """One step of TRPO (Schulman et al. 2015, arXiv 1502.05477); returns what to log.

    If the line search accepts no step, the parameters stay as they are, bit for bit.
    The curvature takes most of the time, so it is measured on the first `fisher_fraction` of each process's tasks
    (Schulman et al. 2015, appendix C). The line search bounds the mean KL divergence of all tasks by `max_kl` nats.
    `chunk` is the number of tasks in one backward pass.
    """
    losses, gradient = mean_meta_gradient(lambda part: objective(part)[0], objective.num_tasks, parameters, chunk)
    distributed.average(gradient)
    parts = list(task_chunks(math.ceil(fisher_fraction * objective.num_tasks), chunk))
    outputs = [objective(part)[1] for part in parts]

    def divergence(new: Sequence[Tensor]) -> Tensor:
        each = [objective.kl_divergence(heads, part) for heads, part in zip(new, parts, strict=True)]
        return torch.cat(each).mean()

    own = curvature_product(outputs, divergence, parameters)
    product = damped(lambda vector: distributed.averaged(own(vector)), DAMPING)
    step = natural_step(product, flatten(gradient), max_kl)
    loss = distributed.mean(losses).item()
    search = trust_region_step(parameters, step, lambda: _evaluated(objective, chunk), loss, max_kl)
    return {
        "train/loss": search.loss if search.accepted else loss,
        "train/approx_kl": search.kl if search.accepted else 0.0,
        "train/backtracks": search.backtracks,
    }


@torch.no_grad()
def _evaluated(objective: MetaObjective, chunk: int) -> tuple[float, float]:
    """The mean outer loss of all tasks, and the mean KL divergence of their adapted policies."""
    losses, divergences = [], []
    for part in task_chunks(objective.num_tasks, chunk):
        loss, parameters = objective(part)
        losses.append(loss)
        divergences.append(objective.kl_divergence(parameters, part))
    means = distributed.mean(torch.cat(losses)), distributed.mean(torch.cat(divergences))
    loss, kl = torch.stack(means).tolist()
    return loss, kl
