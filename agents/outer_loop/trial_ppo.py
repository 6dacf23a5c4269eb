"""PPO over whole trials (Schulman et al. 2017, arXiv 1707.06347), or imitation of an expert on the same trials."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from metarl import cuda_graphs, distributed
from metarl.cuda_graphs import Captured
from metarl.functional import losses
from metarl.functional.returns import counted_rewards, gae, trial_time
from metarl.nn.actor import Actor, ActorState
from metarl.nn.critic import TrialCritic
from metarl.nn.task_predictor import TaskPredictor
from metarl.training.checkpoints import adam_state, load_adam_state
from metarl.training.options import AgentOptions, Count, Fraction, NonNegativeInt, Positive
from metarl.trials.context import Context
from metarl.trials.trajectories import Trajectories

STEPS_AT_ONCE = 65_536  # in one forward pass without gradients, so that memory does not grow with the batch
FEW_TRIALS = 100  # with fewer in a batch, minibatches of whole trials are too noisy for the critic
PREDICTOR_WEIGHT = 0.1  # of the loss of the predictor of the task, in nats
LEAST_DEVIATION = 0.01  # of advantages, in deviations of the returns: less is noise of the critic


@dataclass(frozen=True)
class TrialPPOOptions(AgentOptions):
    """Options of PPO over whole trials, for agents that learn by it."""

    n_epochs: Count = 4
    """Passes over each batch."""
    num_minibatches: Count = 8
    """Minibatches of whole trials in each epoch, one gradient step each."""
    critic_epochs: NonNegativeInt | None = None
    """Further passes of the critic alone over each batch; None: 10 if the batch has fewer than 100 trials, else 0."""
    critic_minibatches: Count = 32
    """Minibatches of single steps in each of these passes of the critic."""
    gae_lambda: Fraction = 0.95
    """Lambda of generalised advantage estimation."""
    clip_range: Positive = 0.2
    """PPO's clip range."""
    target_kl: Positive | None = None
    """No further pass over a batch once the policy is this far from the one that collected it, in nats; None: all."""
    max_grad_norm: Positive = 0.5
    """Largest norm of the gradient; policy and critic are clipped separately."""
    bptt_steps: Count | None = None
    """Steps through which gradients flow back (truncated backpropagation); None: whole trials."""
    cuda_graphs: bool | None = None
    """On CUDA, run native rollouts and epochs of learning as CUDA graphs; no effect elsewhere. None: off."""
    bf16: bool = False
    """Learn with matrix products of the Transformer in bfloat16; acting and values stay in float32."""


class Losses(NamedTuple):
    """Losses of one gradient step, each a mean over environment steps. A new measure is a field here."""

    policy_gradient_loss: Any  # a tensor [], or a number once the host has it
    value_loss: Any
    entropy: Any
    approx_kl: Any
    clip_fraction: Any
    task_loss: Any  # of the predictor of the task, in nats; 0 without one

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
class TrialPPO:
    """PPO over whole trials: `prepare_batch` computes advantages and targets, `update` learns from them."""

    def __init__(
        self,
        actor: Actor,
        critic: TrialCritic,
        options: TrialPPOOptions,
        horizon: int,
        trial_steps: int,
        free_episodes: int = 0,
        predictor: TaskPredictor | None = None,
    ) -> None:
        """`horizon` steps has the longest episode, `trial_steps` a whole trial, whose `free_episodes` do not count.

        `predictor` measures what a step tells of the task.
        """
        self.actor = actor
        self.critic = critic
        self.predictor = predictor
        self._options = options
        self._horizon = horizon
        self._trial_steps = trial_steps
        self._free_episodes = free_episodes
        self._learners = [actor, critic] if predictor is None else [actor, critic, predictor]
        parameters = [parameter for module in self._learners for parameter in module.parameters()]
        self._device = parameters[0].device
        self.graphs = distributed.size() == 1 and cuda_graphs.wanted(options.cuda_graphs, self._device)
        rate = torch.zeros((), device=self._device) if self.graphs else 0.0
        self.optimiser = torch.optim.Adam(parameters, lr=rate, eps=1e-5, fused=True, capturable=self.graphs)
        self._record_anew()

    @torch.no_grad()
    def prepare_batch(
        self,
        trajectories: Trajectories,
        expert_labels: Tensor | None,
        gamma: float,
        steps: int,
        information_weight: float = 0.0,
    ) -> tuple[Batch, float]:
        """Advantages and value targets of B trials, and the critic's explained variance.

        `steps` is the length of a trial on the clock of `functional.returns.trial_time`. If a trial is not over at the
        last step of its row, GAE continues from the value of the state after it. `gamma` is per step of that clock.
        With a predictor of the task, a step is also rewarded for what it told: by how much the log-likelihood of the
        task rises with what the memory holds after it, times `information_weight` and the largest deviation of returns.
        Such bonuses add up to what the whole trial told, however many steps it took. They favour trials that tell more,
        so what is best for the reward alone is learned once their weight has fallen to zero.
        Updates the statistics with which the critic normalises returns.
        """
        before, after = trial_time(trajectories.dones, self._horizon, steps)
        time_left = (steps - torch.cat([before, after[:, -1:] % steps], 1)) / self._trial_steps
        context, tasks = trajectories.context(and_next=True), trajectories.tasks.vector()
        memory = self.memory_outputs(context)
        values = self._values(memory, context, time_left, tasks)  # [B, T + 1]
        rewards = counted_rewards(trajectories.rewards, before, self._horizon, self._free_episodes)
        if self.predictor is not None:
            told = self.predictor(memory, tasks).diff(dim=1)
            rewards = rewards + information_weight * self.critic.largest_deviation * told
        gamma_t = torch.where(after < steps, gamma ** (after - before), 0.0)
        advantage = gae(rewards, values[:, :-1], gamma_t, self._options.gae_lambda, values[:, -1])
        returns = advantage + values[:, :-1]
        self.critic.update_statistics(returns)
        batch = Batch(
            context[:, :-1],
            trajectories.actions,
            trajectories.log_probs,
            losses.normalised(advantage, distributed.mean_and_deviation, LEAST_DEVIATION * self.critic.deviation),
            self.critic.normalised(returns),
            tasks,
            time_left[:, :-1],
            expert_labels,
        )
        return batch, 1 - (advantage.var() / returns.var().clamp(min=1e-8)).item()

    def update(self, batch: Batch, learning_rate: float, entropy_weight: float, generator: torch.Generator) -> Losses:
        """Epochs over minibatches of whole trials, then of the critic alone over single steps; returns mean losses.

        The order of minibatches is drawn from `generator`. A step whose losses are not finite is left out, and the mean
        then is not finite.
        """
        options = self._options
        for group in self.optimiser.param_groups:
            group["lr"] = group["lr"].fill_(learning_rate) if self.graphs else learning_rate
        weight = torch.full((), entropy_weight, device=self._device)
        measured: list[Tensor] = []
        for _ in range(options.n_epochs):
            order = torch.randperm(len(batch.target), generator=generator, device=self._device)
            measured.append(self._policy_epoch(batch, order, weight))
            if options.target_kl is not None and _mean_kl(measured[-1]) > options.target_kl:
                break
        policy_losses = Losses(*torch.cat(measured).mean(0))
        epochs = options.critic_epochs
        if epochs is None:
            epochs = 10 if len(batch.target) * distributed.size() < FEW_TRIALS else 0
        if epochs > 0:
            memory = self.memory_outputs(batch.context)
            for _ in range(epochs):
                order = torch.randperm(batch.target.numel(), generator=generator, device=self._device)
                value_losses = self._critic_epoch(batch, memory, order)
            policy_losses = policy_losses._replace(value_loss=value_losses.mean())
        return Losses(*torch.stack(policy_losses).tolist())

    def state(self) -> dict[str, Tensor]:
        """The optimiser's state, by name."""
        return adam_state(self.optimiser)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state` returned."""
        load_adam_state(self.optimiser, state)
        self._record_anew()

    def _record_anew(self) -> None:
        """Choose how epochs run. Graphs are recorded anew: tensors of the optimiser may be new ones."""
        self._policy_epoch: Callable[[Batch, Tensor, Tensor], Tensor] = self._policy_steps
        self._critic_epoch: Callable[[Batch, Tensor, Tensor], Tensor] = self._critic_steps
        if self.graphs:
            self._policy_epoch, self._critic_epoch = Captured(self._policy_steps), Captured(self._critic_steps)

    def _policy_steps(self, batch: Batch, order: Tensor, entropy_weight: Tensor) -> Tensor:
        """Gradient steps on minibatches of the trials in this order. Returns `Losses` `[num_minibatches, measures]`."""
        rows = []
        for part in order.chunk(self._options.num_minibatches):
            self.optimiser.zero_grad()
            rows.append(self._step(self.backward(batch, part, entropy_weight), *self._learners))
        return torch.stack(rows)

    def _critic_steps(self, batch: Batch, memory: Tensor, order: Tensor) -> Tensor:
        """Gradient steps of the critic on single steps in this order. Returns value losses `[critic_minibatches]`.

        Minibatches of few whole trials are too noisy for a critic. Even few trials have many single steps.
        """
        rows = []
        for part in order.chunk(self._options.critic_minibatches):
            self.optimiser.zero_grad()
            rows.append(self._step(self.backward_critic(batch, memory, part), self.critic))
        return torch.stack(rows)

    def _step(self, measured: Tensor, *modules: nn.Module) -> Tensor:
        """One optimiser step on the clipped gradients of `modules`, left out if `measured` is not finite.

        Returns `measured`. The host reads it once an update: after every step it would wait for the device each time.
        """
        gradients = [p.grad for module in modules for p in module.parameters() if p.grad is not None]
        distributed.average([measured, *gradients])
        norms = [nn.utils.clip_grad_norm_(module.parameters(), self._options.max_grad_norm) for module in modules]
        sound = torch.stack([each.isfinite().all() for each in (measured, *norms)]).all()
        self.optimiser.found_inf = 1 - sound.float()  # type: ignore[attr-defined]  # as a gradient scaler tells Adam
        self.optimiser.step()
        return torch.where(sound, measured, torch.nan)

    def backward(self, batch: Batch, part: Tensor, entropy_weight: float | Tensor) -> Tensor:
        """Add the gradients of the trials with indices `part` [n], one segment of `bptt_steps` after the other.

        Returns `Losses` as one tensor `[measures]`.
        """
        steps = batch.old_log_prob.shape[1]
        state, measured = None, torch.zeros(len(Losses._fields), device=batch.old_log_prob.device)
        for window in _segments(steps, self._options.bptt_steps):
            share = (window.stop - window.start) / steps
            terms, state = self._losses(batch, part, window, state)
            total = terms.policy_gradient_loss + terms.value_loss - entropy_weight * terms.entropy
            total = total + PREDICTOR_WEIGHT * terms.task_loss
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

    def _values(self, memory: Tensor, context: Context, time_left: Tensor, tasks: Tensor) -> Tensor:
        """Values `[B, T]` in units of reward, computed for some trials at a time."""
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
            policy_loss = losses.clipped_surrogate(log_prob, old_log_prob, advantage, self._options.clip_range)
        else:
            policy_loss = self.actor.head.cross_entropy(parameters, batch.expert_labels[part, window]).mean()
        tasks = batch.task_vector[part]
        value = self.critic(memory, context.observation, batch.time_left[part, window], tasks)
        return Losses(
            policy_loss,
            losses.squared_error(value, batch.target[part, window]),
            self.actor.head.entropy(parameters).mean(),
            losses.approx_kl(log_prob.detach(), old_log_prob),
            losses.clip_fraction(log_prob.detach(), old_log_prob, self._options.clip_range),
            torch.zeros_like(policy_loss) if self.predictor is None else -self.predictor(memory, tasks).mean(),
        ), after

    def _read(self, context: Context, state: ActorState | None) -> tuple[Tensor, Tensor, ActorState]:
        """Memory `[B, T, M]`, action parameters `[B, T, P]` and the state for the next segment."""
        if not self._options.bf16:
            return self.actor(context, state)  # type: ignore[no-any-return]
        with torch.autocast(context.started.device.type, torch.bfloat16):
            memory, parameters, after = self.actor(context, state)
        return memory.float(), parameters.float(), after


def _mean_kl(measured: Tensor) -> float:
    """The mean KL divergence of an epoch `[num_minibatches, measures]`."""
    return measured[:, Losses._fields.index("approx_kl")].mean().item()


def _segments(steps: int, length: int | None) -> Iterator[slice]:
    for start in range(0, steps, length or steps):
        yield slice(start, min(start + (length or steps), steps))


def _parts(started: Tensor) -> tuple[Tensor, ...]:
    """Indices of the trials `[B, T]` in groups of at most `STEPS_AT_ONCE` steps."""
    return torch.split(torch.arange(len(started), device=started.device), max(1, STEPS_AT_ONCE // started.shape[1]))
