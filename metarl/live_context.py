"""The context of trials that are going on: what an agent that reads its past has before it at each step."""

from typing import final

import torch
from torch import Tensor

from metarl.trajectories import Context, Transition


@final
class LiveContext:
    """Remembers the last transition of B trials, and says what their next step begins with.

    It gives the same numbers, step by step, as `Trajectories.context` gives for whole trials.
    """

    def __init__(self, num_trials: int, no_action: Tensor) -> None:
        """`no_action` [B, ...] stands for the previous action where there is none."""
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
        """The context of one step, `[B, ...]`."""
        started, previous = self._started, self._previous
        if previous is None:
            return Context(observation, torch.zeros_like(observation), self._no_action, *[started] * 3)
        return Context(
            observation,
            previous.observation,
            previous.action,
            previous.reward * started,
            previous.done.float() * started,
            started,
        )
