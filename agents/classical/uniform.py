"""Uniform random actions: the lower limit of every comparison."""

from typing import final

import torch
from torch import Tensor

from metarl import seeding
from metarl.spaces import is_plain, kinds, sample_actions
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import AdaptivePolicy, Transition


@final
class RandomLearner(AdaptivePolicy):
    """Uniform random actions, as `spaces.sample_actions` draws them; it does not adapt.

    >>> import metarl
    >>> RandomLearner(metarl.make("grid-navigation"), num_tasks=3).act(torch.zeros(3)).shape
    torch.Size([3])
    """

    def __init__(
        self, distribution: TaskDistribution, num_tasks: int, device: torch.device | str = "cpu", seed: int = 0
    ) -> None:
        self.check(distribution)
        super().__init__(num_tasks, device)
        self._space = distribution.action_space
        self._generator = seeding.generator(seed, "random-learner", device=device)

    @staticmethod
    def check(distribution: TaskDistribution) -> None:
        """ValueError unless the kind of action space is known."""
        if not is_plain(distribution.action_space, "action"):
            raise ValueError(
                f"random actions need {kinds('action')}, {distribution.name} has {distribution.action_space}"
            )

    def begin(self, mask: Tensor | None = None) -> None:
        """Nothing to forget."""

    def act(self, observation: Tensor) -> Tensor:
        return sample_actions(self._space, self.num_tasks, self._generator)

    def observe(self, transition: Transition) -> None:
        """Nothing to learn."""
