"""PPO over whole trials (Schulman et al. 2017, arXiv 1707.06347), or imitation of an expert on the same trials."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from metarl import distributed
from metarl.functional import losses
from metarl.functional.returns import gae, trial_time
from metarl.nn.actor import Actor, ActorState
from metarl.nn.critic import TrialCritic
from metarl.trials.context import Context
from metarl.trials.trajectories import Trajectories

STEPS_AT_ONCE = 65_536  # in one forward pass without gradients, so that memory does not grow with the batch


class Losses(NamedTuple):
    """Losses of one gradient step, each a mean over environment steps. A new measure is a field here."""

    policy_gradient_loss: Any  # a tensor [], or a number once the host has it
    value_loss: Any
    entropy: Any
    approx_kl: Any
    clip_fraction: Any

    def metrics(self) -> dict[str, float]:
        """The losses by the names of `metarl.training.logs.METRICS`."""
        own = {f"train/{name}": value for name, value in self._asdict().items() if name != "entropy"}
        return own | {"train/entropy_loss": -self.entropy}


@final
@dataclass(frozen=True)
class Batch:
    """B trials of T steps, with what PPO needs to learn from them."""

    context: Context
    action: Tensor  # [B, T, ...]
    old_log_prob: Tensor  # [B, T]
    advantage: Tensor  # [B, T] mean 0, deviation 1
    target: Tensor  # [B, T] normalised value targets
    task_vector: Tensor  # [B, D]
    time_left: Tensor  # [B, T] as a share of a whole trial
    expert_labels: Tensor | None  # [B, T, A] probabilities or [B, T, ...] actions to imitate; None: PPO


@final
@dataclass(frozen=True, eq=False)
class TrialPPO:
    """PPO's gradients: `prepare_batch` computes advantages and targets, `backward` the gradients of a minibatch."""

    actor: Actor
    critic: TrialCritic
    horizon: int  # steps of the longest episode
    trial_steps: int  # of a whole trial
    gae_lambda: float  # GAE's lambda
    clip_range: float
    bptt_steps: int | None  # steps through which gradients flow back; None: whole trials
    bf16: bool = False  # the actor learns with matrix products in bfloat16

    @torch.no_grad()
    def prepare_batch(
        self, trajectories: Trajectories, expert_labels: Tensor | None, gamma: float, steps: int
    ) -> tuple[Batch, float]:
        """Advantages and value targets of B trials, and the critic's explained variance.

        `steps` is the length of a trial on the clock of `functional.returns.trial_time`. If a trial is not over at the
        last step of its row, GAE continues from the value before that step. `gamma` is per step of that clock.
        Updates the statistics with which the critic normalises returns.
        """
        before, after = trial_time(trajectories.dones, self.horizon, steps)
        time_left = (steps - before) / self.trial_steps
        context, tasks = trajectories.context(), trajectories.tasks.vector()
        value = self._values(context, time_left, tasks)
        gamma_t = torch.where(after < steps, gamma ** (after - before), 0.0)
        advantage = gae(trajectories.rewards, value, gamma_t, self.gae_lambda, value[:, -1])
        returns = advantage + value
        self.critic.update_statistics(returns)
        batch = Batch(
            context,
            trajectories.actions,
            trajectories.log_probs,
            losses.normalised(advantage, distributed.mean_and_deviation),
            self.critic.normalised(returns),
            tasks,
            time_left,
            expert_labels,
        )
        return batch, 1 - (advantage.var() / returns.var().clamp(min=1e-8)).item()

    def backward(self, batch: Batch, part: Tensor, entropy_weight: float | Tensor) -> Tensor:
        """Add the gradients of the trials with indices `part` [n], one segment of `bptt_steps` after the other.

        Returns `Losses` as one tensor `[measures]`.
        """
        steps = batch.old_log_prob.shape[1]
        state, measured = None, torch.zeros(len(Losses._fields), device=batch.old_log_prob.device)
        for window in _segments(steps, self.bptt_steps):
            share = (window.stop - window.start) / steps
            terms, state = self._losses(batch, part, window, state)
            total = terms.policy_gradient_loss + terms.value_loss - entropy_weight * terms.entropy
            (share * total).backward()
            measured += share * torch.stack(terms).detach()
        return measured

    @torch.no_grad()
    def memory_outputs(self, context: Context) -> Tensor:
        """Outputs `[B, T, M]` of the actor's memory, computed for some trials at a time."""
        return torch.cat([self.actor(context[part])[0] for part in _parts(context.started)])

    def backward_critic(self, batch: Batch, memory: Tensor, steps: Tensor) -> Tensor:
        """Add the critic's gradients at single steps, and return the value loss [].

        `steps` [N] are indices into the B * T steps of the batch, trial by trial; `memory` is `[B, T, M]`.
        """
        at = (steps[:, None] // memory.shape[1], steps[:, None] % memory.shape[1])  # N trials of one step
        value = self.critic(
            memory[at], batch.context.observation[at], batch.time_left[at], batch.task_vector[at[0][:, 0]]
        )
        loss = losses.squared_error(value, batch.target[at])
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _values(self, context: Context, time_left: Tensor, tasks: Tensor) -> Tensor:
        """Values `[B, T]` in units of reward, computed for some trials at a time."""
        memory = self.memory_outputs(context)
        values = [
            self.critic(memory[part], context.observation[part], time_left[part], tasks[part])
            for part in _parts(context.started)
        ]
        return self.critic.denormalised(torch.cat(values))

    def _losses(self, batch: Batch, part: Tensor, window: slice, state: ActorState | None) -> tuple[Losses, ActorState]:
        """Losses on the steps `window` of the trials with indices `part`, and the actor's state after them."""
        context = batch.context[part, window]
        memory, parameters, after = self._read(context, state)
        log_prob = self.actor.head.log_prob(parameters, batch.action[part, window])
        old_log_prob = batch.old_log_prob[part, window]
        if batch.expert_labels is None:
            advantage = batch.advantage[part, window]
            policy_loss = losses.clipped_surrogate(log_prob, old_log_prob, advantage, self.clip_range)
        else:
            policy_loss = self.actor.head.cross_entropy(parameters, batch.expert_labels[part, window]).mean()
        value = self.critic(memory, context.observation, batch.time_left[part, window], batch.task_vector[part])
        return Losses(
            policy_loss,
            losses.squared_error(value, batch.target[part, window]),
            self.actor.head.entropy(parameters).mean(),
            losses.approx_kl(log_prob.detach(), old_log_prob),
            losses.clip_fraction(log_prob.detach(), old_log_prob, self.clip_range),
        ), after

    def _read(self, context: Context, state: ActorState | None) -> tuple[Tensor, Tensor, ActorState]:
        """Memory `[B, T, M]`, action parameters `[B, T, P]` and the state for the next segment."""
        if not self.bf16:
            return self.actor(context, state)  # type: ignore[no-any-return]
        with torch.autocast(context.started.device.type, torch.bfloat16):
            memory, parameters, after = self.actor(context, state)
        return memory.float(), parameters.float(), after


def _segments(steps: int, length: int | None) -> Iterator[slice]:
    for start in range(0, steps, length or steps):
        yield slice(start, min(start + (length or steps), steps))


def _parts(started: Tensor) -> tuple[Tensor, ...]:
    """Indices of the trials `[B, T]` in groups of at most `STEPS_AT_ONCE` steps."""
    return torch.split(torch.arange(len(started), device=started.device), max(1, STEPS_AT_ONCE // started.shape[1]))
