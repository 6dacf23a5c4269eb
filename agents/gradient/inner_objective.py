"""The data of one inner step of gradient-based meta-RL, and the loss that the step minimises."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor

from metarl.agents.gradient.networks import PolicyNetwork
from metarl.functional.linear_baseline import linear_advantages, normalised_in_tasks, normalised_together
from metarl.functional.losses import dice, likelihood_ratio, log_likelihood
from metarl.trials.context import Context, trial_context
from metarl.trials.trajectories import Trajectories

Estimator = Literal["lvc", "dice", "reinforce"]


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
    def of(trajectories: Trajectories) -> "Rollouts":
        """Rollouts of trajectories: the first episode of each, as many as an inner step has in a test.

        Later episodes of a row do not count. An inner step would learn from more data than it will have in a test, and
        the last episode is cut.
        """
        done = trajectories.dones
        return Rollouts(
            trajectories.observations,
            trajectories.actions,
            trajectories.rewards,
            done,
            trajectories.log_probs,
            first_episodes(done),
        )


@final
class InnerBatch(NamedTuple):
    """Data of one inner step: R rollouts in each of N tasks, `[N, R, T, ...]`; inside one task `[R, T, ...]`."""

    observation: Tensor  # the first six are the fields of a Context
    previous_observation: Tensor
    previous_action: Tensor
    previous_reward: Tensor
    previous_done: Tensor
    started: Tensor
    action: Tensor
    done: Tensor  # true at the last step of an episode
    valid: Tensor  # which steps count
    old_log_prob: Tensor  # recorded while sampling
    advantage: Tensor  # normalised within each task, for the inner step
    outer_advantage: Tensor  # normalised over all tasks together, for the outer loop

    @property
    def context(self) -> Context:
        return Context(*(getattr(self, f.name) for f in fields(Context)))


InnerLoss = Callable[[PolicyNetwork, InnerBatch], Tensor]


def inner_batch(
    steps: Rollouts,
    num_tasks: int,
    features: Tensor,
    gamma: float,
    gae_lambda: float,
    mean: Callable[[Tensor], Tensor] = torch.mean,
) -> InnerBatch:
    """The data of one inner step in `num_tasks` tasks, with advantages over a linear baseline.

    `features` [N * R, T, D] are the observations as the baseline reads them; it is fitted in each task anew. `gamma` is
    the discount per step. `mean` averages over tasks, those of other processes included.
    """

    def in_tasks(x: Tensor) -> Tensor:
        return x.view(num_tasks, -1, *x.shape[1:])  # [N * R, T, ...] -> [N, R, T, ...]

    context = trial_context(steps.observation, steps.action, steps.reward, steps.done)
    done, valid = in_tasks(steps.done), in_tasks(steps.valid)
    advantage = linear_advantages(in_tasks(features), in_tasks(steps.reward), done, valid, gamma, gae_lambda)
    return InnerBatch(
        observation=in_tasks(context.observation),
        previous_observation=in_tasks(context.previous_observation),
        previous_action=in_tasks(context.previous_action),
        previous_reward=in_tasks(context.previous_reward),
        previous_done=in_tasks(context.previous_done),
        started=in_tasks(context.started),
        action=in_tasks(steps.action),
        done=done,
        valid=valid,
        old_log_prob=in_tasks(steps.log_prob),
        advantage=normalised_in_tasks(advantage, valid),
        outer_advantage=normalised_together(advantage, valid, mean),
    )


def action_parameters(network: PolicyNetwork, batch: InnerBatch) -> Tensor:
    """Parameters `[R, T, P]` of the action head in one task."""
    return network(batch.context)  # type: ignore[no-any-return]


def inner_loss(estimator: Estimator) -> InnerLoss:
    """The inner loss of one task by the name of its estimator.

    All estimators have the same first derivative at the policy that sampled; they differ in the second
    (`metarl.functional.losses`). Raises ValueError if there is no such estimator.
    """
    losses: dict[str, Callable[[Tensor, InnerBatch], Tensor]] = {
        "lvc": lambda x, batch: likelihood_ratio(x, batch.old_log_prob, batch.advantage, batch.valid),
        "dice": lambda x, batch: dice(x, batch.advantage, batch.done, batch.valid),
        "reinforce": lambda x, batch: log_likelihood(x, batch.advantage, batch.valid),
    }
    if estimator not in losses:
        raise ValueError(f"estimator must be one of {', '.join(losses)}, got {estimator!r}")
    surrogate = losses[estimator]

    def loss(network: PolicyNetwork, batch: InnerBatch) -> Tensor:
        return surrogate(network.head.log_prob(action_parameters(network, batch), batch.action), batch)

    return loss


def first_episodes(done: Tensor) -> Tensor:
    """Which steps `[..., T]` belong to the first episode of each row; `done` is true at the last step of an episode."""
    return done.long().cumsum(-1) - done.long() == 0
