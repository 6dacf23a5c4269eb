"""Uniform random actions: the lower limit of every comparison."""

from typing import final

from torch import Tensor

from metarl.agents.classical.baseline import ClassicalBaseline
from metarl.spaces import is_plain, kinds, sample_actions
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import Transition


@final
class RandomPolicy(ClassicalBaseline):
    """Uniform random actions, as `spaces.sample_actions` draws them; it does not adapt.

    >>> import metarl, torch
    >>> RandomPolicy(metarl.make("grid-navigation"), num_tasks=3).act(torch.zeros(3)).shape
    torch.Size([3])
    """

    stream = "random-learner"

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
        return sample_actions(self.distribution.action_space, self.num_tasks, self.generator)

    def observe(self, transition: Transition) -> None:
        """Nothing to learn."""
