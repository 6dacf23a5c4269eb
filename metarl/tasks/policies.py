"""The contract of policies that act in tasks and adapt to them."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.tasks.batch import Tasks


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


class AdaptivePolicy(ABC):
    """Acts in `num_tasks` tasks at once and adapts inside each of them. One robot is a batch of one.

    The loop is `begin`, then `act` and `observe` in turn, for all episodes of the trial.

    >>> class Up(AdaptivePolicy):
    ...     def begin(self, mask=None): pass
    ...     def act(self, observation): return torch.ones(self.num_tasks, dtype=torch.int64)
    ...     def observe(self, transition): pass
    >>> Up(3).act(torch.zeros(3))
    tensor([1, 1, 1])

    Raises ValueError if `num_tasks` is below 1.
    """

    def __init__(self, num_tasks: int, device: torch.device | str = "cpu") -> None:
        if num_tasks < 1:
            raise ValueError(f"num_tasks must be at least 1, got {num_tasks}")
        self.num_tasks = num_tasks
        self.device = torch.device(device)

    def rewind(self) -> None:
        """Put the random streams back to where they began, so that an evaluation is a function of its seed.

        It restarts every `torch.Generator` among the policy's attributes. A policy that draws from anywhere else, or
        keeps more than `begin` forgets, overrides it.
        """
        for value in vars(self).values():
            if isinstance(value, torch.Generator):
                value.manual_seed(value.initial_seed())

    @abstractmethod
    def begin(self, mask: Tensor | None = None) -> None:
        """A hard reset: forget the task in the slots where `mask` [num_tasks] is true (default: in all)."""

    @abstractmethod
    def act(self, observation: Tensor) -> Tensor:
        """Actions `[num_tasks, ...]` for observations `[num_tasks, ...]`."""

    @abstractmethod
    def observe(self, transition: Transition) -> None:
        """Learn from the transition of the last actions."""


class PrivilegedPolicy(AdaptivePolicy):
    """An oracle that knows the task: an upper limit in evaluation, and an expert to imitate in meta-training."""

    @abstractmethod
    def set_tasks(self, tasks: Tasks) -> None:
        """Give the policy the task of every slot, once, before the trial begins."""

    @abstractmethod
    def values(self, observation: Tensor) -> Tensor | None:
        """Return of the rest of the episode after each action `[num_tasks, actions]`, up to a constant for each task.

        None where actions are continuous.
        """
