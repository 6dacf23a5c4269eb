"""Uniform random actions: the lower limit of every comparison."""

from typing import final

import torch
from gymnasium import spaces
from torch import Tensor

from metarl import seeding
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import AdaptivePolicy, Transition


@final
class RandomLearner(AdaptivePolicy):
    """Uniform random actions; it does not adapt.

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
        """ValueError unless the action space is Discrete or a bounded Box."""
        space = distribution.action_space
        if not isinstance(space, spaces.Discrete) and not (isinstance(space, spaces.Box) and space.is_bounded()):
            raise ValueError(f"random actions need a Discrete or a bounded Box action space, got {space}")

    def begin(self, mask: Tensor | None = None) -> None:
        """Nothing to forget."""

    def act(self, observation: Tensor) -> Tensor:
        if isinstance(self._space, spaces.Discrete):
            shape, first = (self.num_tasks,), int(self._space.start)
            return torch.randint(
                first, first + int(self._space.n), shape, generator=self._generator, device=self.device
            )
        assert isinstance(self._space, spaces.Box)
        low, high = (torch.as_tensor(bound, device=self.device) for bound in (self._space.low, self._space.high))
        draws = torch.rand((self.num_tasks, *low.shape), generator=self._generator, device=self.device)
        return (low + (high - low) * draws).to(low.dtype)

    def observe(self, transition: Transition) -> None:
        """Nothing to learn."""
