"""The data of one inner step of gradient-based meta-RL, and the loss that the step minimises."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, final

import torch
from torch import Tensor

from metarl.adaptation.stacked import Data
from metarl.agents.gradient.networks import PolicyNetwork
from metarl.functional.linear_baseline import linear_advantages, normalised_in_tasks, normalised_together
from metarl.functional.losses import dice, likelihood_ratio, log_likelihood
from metarl.trials.context import Context, trial_context
from metarl.trials.trajectories import Trajectories

Estimator = Literal["lvc", "dice", "reinforce"]
InnerLoss = Callable[[PolicyNetwork, Data], Tensor]


@final
@dataclass(frozen=True)
class Rollouts:
    """B rollouts of T steps, task-major: the rollouts of one task stand together. `valid` says which steps count."""

    observation: Tensor  # [B, T, ...]
    action: Tensor  # [B, T, ...]
    reward: Tensor  # [B, T]
    done: Tensor  # [B, T] true at the last step of an episode
    log_prob: Tensor  # [B, T] recorded while sampling
    valid: Tensor  # [B, T]

    @staticmethod
    def of(trajectories: Trajectories, whole_episodes: bool) -> "Rollouts":
        """Rollouts of trajectories; with `whole_episodes` only the first episode of each is valid, else all steps."""
        done = trajectories.dones
        valid = first_episodes(done) if whole_episodes else torch.ones_like(done)
        return Rollouts(
            trajectories.observations, trajectories.actions, trajectories.rewards, done, trajectories.log_probs, valid
        )


def lesson(
    steps: Rollouts,
    num_tasks: int,
    features: Tensor,
    discount: float,
    trace: float,
    mean: Callable[[Tensor], Tensor] = torch.mean,
) -> dict[str, Tensor]:
    """Data `[N, R, T, ...]` of N tasks for one inner step: context, actions, advantages.

    `features` [N * R, T, D] are the observations as the linear baseline reads them. The baseline is fitted in each task
    anew. `discount` is per step, `trace` is GAE's lambda.
    `advantage` is normalised within each task; the inner step uses it. `outer_advantage` is normalised over all tasks
    together; the outer loop uses it. `mean` averages over tasks, those of other processes included.
    """
    context = trial_context(steps.observation, steps.action, steps.reward, steps.done)
    rows = {
        "action": steps.action,
        "old_log_prob": steps.log_prob,
        "done": steps.done,
        "valid": steps.valid,
        **{f.name: getattr(context, f.name) for f in fields(Context)},
    }
    data = {name: x.view(num_tasks, -1, *x.shape[1:]) for name, x in rows.items()}
    seen, reward = (x.view(num_tasks, -1, *x.shape[1:]) for x in (features, steps.reward))
    advantage = linear_advantages(seen, reward, data["done"], data["valid"], discount, trace)
    return {
        **data,
        "advantage": normalised_in_tasks(advantage, data["valid"]),
        "outer_advantage": normalised_together(advantage, data["valid"], mean),
    }


def context_of(data: Data) -> Context:
    """The context `[..., T]` in the data of an inner step."""
    return Context(*(data[f.name] for f in fields(Context)))


def action_parameters(network: PolicyNetwork, data: Data) -> Tensor:
    """Parameters `[R, T, P]` of the action head in one task."""
    return network(context_of(data))  # type: ignore[no-any-return]


def inner_loss(estimator: Estimator) -> InnerLoss:
    """The inner loss of one task by the name of its estimator.

    All estimators have the same first derivative at the policy that sampled; they differ in the second
    (`metarl.functional.losses`). Raises ValueError if there is no such estimator.
    """
    losses: dict[str, Callable[[Tensor, Data], Tensor]] = {
        "lvc": lambda x, data: likelihood_ratio(x, data["old_log_prob"], data["advantage"], data["valid"]),
        "dice": lambda x, data: dice(x, data["advantage"], data["done"], data["valid"]),
        "reinforce": lambda x, data: log_likelihood(x, data["advantage"], data["valid"]),
    }
    if estimator not in losses:
        raise ValueError(f"estimator must be one of {', '.join(losses)}, got {estimator!r}")
    surrogate = losses[estimator]

    def loss(network: PolicyNetwork, data: Data) -> Tensor:
        return surrogate(network.head.log_prob(action_parameters(network, data), data["action"]), data)

    return loss


def first_episodes(done: Tensor) -> Tensor:
    """Which steps `[..., T]` belong to the first episode of each row; `done` is true at the last step of an episode."""
    return done.long().cumsum(-1) - done.long() == 0
