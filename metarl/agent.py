"""The contract of agents: an adaptive policy acts in a batch of tasks and changes with what it experiences there."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from metarl.tasks import Tasks
from metarl.trajectories import Transition


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
    def reveal(self, tasks: Tasks) -> None:
        """The task of every slot, told once before the trial begins."""
