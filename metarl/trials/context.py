"""The context that an in-context agent reads at each step, for whole trials and step by step."""

from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from metarl.tasks.policies import Transition


@final
@dataclass(frozen=True)
class Context:
    """What an in-context agent reads at each step: the observation and the transition before it.

    Fields are `[B, ...]` for one step, or `[B, T, ...]` for whole trials. At the first step of a trial there is no
    transition: reward, done and started are zero, and the observation stands for the one before, which may be any.
    After a soft reset the previous action, reward and done are those of the last step of the episode that ended.
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


def trial_context(observation: Tensor, action: Tensor, reward: Tensor, done: Tensor) -> Context:
    """The context `[B, S, ...]` of whole trials, from `observation` `[B, S, ...]` and the transitions between.

    `action` `[B, T, ...]`, `reward` and `done` `[B, T]` have S steps, of which the last is not read, or S - 1.
    """
    steps = observation.shape[1] - 1
    return Context(
        observation,
        torch.cat([observation[:, :1], observation[:, :steps]], 1),
        _after_nothing(action[:, :steps]),
        _after_nothing(reward[:, :steps]),
        _after_nothing(done[:, :steps].float()),
        _after_nothing(torch.ones_like(reward[:, :steps])),
    )


def _after_nothing(x: Tensor) -> Tensor:
    """`x` [B, T, ...] with zero before its first step, `[B, T + 1, ...]`."""
    return torch.cat([x.new_zeros(len(x), 1, *x.shape[2:]), x], 1)


@final
class ContextTracker:
    """Keeps the last transition of B trials, and gives the context of their next step.

    Step by step it gives what `Trajectories.context` gives for whole trials.
    """

    def __init__(self, num_trials: int, no_action: Tensor) -> None:
        """`no_action` [B, ...] is the previous action before a trial's first step."""
        self._no_action = no_action
        self._started = torch.zeros(num_trials, device=no_action.device)
        self._previous: Transition | None = None

    def begin(self, mask: Tensor) -> None:
        """Forget the trials where `mask` [B] is true."""
        self._started = self._started.masked_fill(mask.to(self._started.device), 0.0)

    def observe(self, transition: Transition) -> None:
        self._previous = transition
        self._started = torch.ones_like(self._started)

    def at(self, observation: Tensor) -> Context:
        """The context of one step, from its observation `[B, ...]`."""
        started, previous = self._started, self._previous
        if previous is None:
            return Context(observation, observation, self._no_action, *[started] * 3)
        return Context(
            observation,
            previous.observation,
            previous.action,
            previous.reward * started,
            previous.done.float() * started,
            started,
        )
