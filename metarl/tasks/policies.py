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
    """Acts in `num_tasks` tasks at once, learning inside each of them; one robot is a batch of one.

    The loop is `begin`, then `act` and `observe` in turn for as many episodes as the trial has.
    """

    def __init__(self, num_tasks: int, device: torch.device | str = "cpu") -> None:
        if num_tasks < 1:
            raise ValueError(f"num_tasks must be at least 1, got {num_tasks}")
        self.num_tasks = num_tasks
        self.device = torch.device(device)

    @abstractmethod
    def begin(self, mask: Tensor | None = None) -> None:
        """A hard reset: forget the task in the slots where `mask` [num_tasks] is true (default: in all)."""

    @abstractmethod
    def act(self, observation: Tensor) -> Tensor:
        """Actions `[num_tasks, ...]` for observations `[num_tasks, ...]`."""

    @abstractmethod
    def observe(self, transition: Transition) -> None:
        """Learn from what the last actions led to."""


class PrivilegedPolicy(AdaptivePolicy):
    """An oracle that is told the task: a limit to measure against and a teacher, never a competitor."""

    @abstractmethod
    def set_tasks(self, tasks: Tasks) -> None:
        """The task of every slot, told once before the trial begins."""

    @abstractmethod
    def values(self, observation: Tensor) -> Tensor | None:
        """Return of the rest of the episode after each action `[num_tasks, actions]`, up to a constant for each task.

        None where actions are continuous.
        """
