"""What happened in a batch of trials: the one batch container, and the context that an in-context agent reads."""

from dataclasses import dataclass, fields
from typing import NamedTuple, final

import torch
from torch import Tensor

from metarl.tasks import Tasks


class Transition(NamedTuple):
    """One step of a batch of B tasks, as an adaptive policy observes it."""

    observation: Tensor  # [B, ...] what the policy acted on
    action: Tensor  # [B, ...]
    reward: Tensor  # [B]
    terminated: Tensor  # [B] the episode reached an end of the task
    truncated: Tensor  # [B] the episode ran out of time
    next_observation: Tensor  # [B, ...] where the action led, before any automatic reset

    @property
    def done(self) -> Tensor:
        return self.terminated | self.truncated


@final
@dataclass(frozen=True)
class Context:
    """What an in-context agent reads at each step: the observation and the transition that led there.

    Fields are `[B, ...]` for one step or `[B, T, ...]` for whole trials; all zero before a trial's first transition.
    After a soft reset the previous action, reward and done are still those of the episode that ended.
    """

    observation: Tensor
    previous_observation: Tensor
    previous_action: Tensor
    previous_reward: Tensor
    previous_done: Tensor  # float: 1 where the previous step ended an episode
    started: Tensor  # float: 0 at the first step of a trial, where there is no previous transition, else 1

    def __getitem__(self, index: object) -> "Context":
        """The same index into every field."""
        return Context(*(getattr(self, f.name)[index] for f in fields(self)))


@final
@dataclass(frozen=True)
class Trajectories:
    """B trials of T steps each, batch first; tensors live on the device of the environments."""

    tasks: Tasks
    observations: Tensor  # [B, T, ...]
    actions: Tensor  # [B, T, ...] as sampled, before the environment clips them
    rewards: Tensor  # [B, T]
    terminated: Tensor  # [B, T]
    truncated: Tensor  # [B, T]
    log_probs: Tensor  # [B, T] of the actions, recorded while sampling

    @property
    def num_trials(self) -> int:
        return self.rewards.shape[0]

    @property
    def num_steps(self) -> int:
        return self.rewards.shape[1]

    @property
    def dones(self) -> Tensor:
        """[B, T] true where an episode ended."""
        return self.terminated | self.truncated

    def mean_episode_return(self) -> float:
        """Of the episodes that ended; not a number if none did."""
        complete = self.dones.flip(1).cumsum(1).flip(1) > 0
        return ((self.rewards * complete).sum() / self.dones.sum()).item()

    def context(self) -> Context:
        """The context `[B, T, ...]` that an agent read before each action."""
        return trial_context(self.observations, self.actions, self.rewards, self.dones)


def trial_context(observation: Tensor, action: Tensor, reward: Tensor, done: Tensor) -> Context:
    """The context of whole trials `[B, T, ...]`: at each step the observation and the step before it."""
    return Context(
        observation,
        _shifted(observation),
        _shifted(action),
        _shifted(reward),
        _shifted(done.float()),
        _shifted(torch.ones_like(reward)),
    )


def _shifted(x: Tensor) -> Tensor:
    """`x` [B, T, ...] one step later, zero at the first."""
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
