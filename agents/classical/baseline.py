"""What classical baselines have in common: they know the kind of task, and need no meta-training."""

from abc import abstractmethod
from typing import ClassVar, TypedDict

import torch

from metarl import seeding
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import AdaptivePolicy


class Placement(TypedDict, total=False):
    """Arguments of every baseline's constructor that its own options stand beside."""

    device: torch.device | str
    seed: int


class ClassicalBaseline(AdaptivePolicy):
    """An adaptive policy for one kind of task, which it knows; it draws from `generator`."""

    stream: ClassVar[str]  # the name of its random stream

    def __init__(
        self, distribution: TaskDistribution, num_tasks: int, *, device: torch.device | str = "cpu", seed: int = 0
    ) -> None:
        self.check(distribution)
        super().__init__(num_tasks, device)
        self.distribution = distribution
        self.generator = seeding.generator(seed, self.stream, device=device)

    @staticmethod
    @abstractmethod
    def check(distribution: TaskDistribution) -> None:
        """Raise ValueError, which says what is needed, if this baseline does not know the kind of task."""
