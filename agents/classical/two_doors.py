"""Classical baselines for two doors: the optimum, and never trying."""

from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor
from typing_extensions import Unpack

from metarl.agents.classical.baseline import ClassicalBaseline, Placement
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import Transition


@runtime_checkable
class Doors(Protocol):
    """A family of a `safe` pay beside two doors, of which one pays `right` and the other `wrong`."""

    @property
    def safe(self) -> float: ...
    @property
    def right(self) -> float: ...
    @property
    def wrong(self) -> float: ...


def check_doors(distribution: TaskDistribution) -> None:
    """Raise ValueError unless the distribution is one of two doors."""
    if not isinstance(distribution, Doors):
        raise ValueError(f"two doors need a distribution with safe, right and wrong; {distribution.name} has not")


@final
class NeverTries(ClassicalBaseline):
    """Takes the safe pay in every episode: who does not look ahead to the next episode.

    >>> import metarl
    >>> NeverTries(metarl.make("two-doors"), num_tasks=3).act(torch.zeros(3))
    tensor([0, 0, 0])
    """

    check = staticmethod(check_doors)
    stream = "never-tries"

    def begin(self, mask: Tensor | None = None) -> None:
        """Nothing to forget."""

    def act(self, observation: Tensor) -> Tensor:
        return torch.zeros(self.num_tasks, dtype=torch.int64, device=self.device)

    def observe(self, transition: Transition) -> None:
        """Nothing to learn."""


@final
class BayesOptimalDoors(ClassicalBaseline):
    """Opens the first door in the first episode where that pays over the trial, then the one that is right.

    >>> import metarl
    >>> BayesOptimalDoors(metarl.make("two-doors"), num_tasks=3).act(torch.zeros(3))
    tensor([1, 1, 1])
    """

    check = staticmethod(check_doors)
    stream = "bayes-optimal-doors"

    def __init__(
        self,
        distribution: TaskDistribution,
        num_tasks: int,
        *,
        num_episodes: int | None = None,
        **placement: Unpack[Placement],
    ) -> None:
        super().__init__(distribution, num_tasks, **placement)
        assert isinstance(distribution, Doors)
        episodes = distribution.num_episodes if num_episodes is None else num_episodes
        free = min(distribution.free_episodes, 1)  # a try there costs nothing
        tried = (1 - free) * (distribution.right + distribution.wrong) / 2 + (episodes - 1) * distribution.right
        self._first = int(tried > (episodes - free) * distribution.safe)
        self._right = distribution.right
        self._choice = torch.full((num_tasks,), self._first, device=self.device)

    def begin(self, mask: Tensor | None = None) -> None:
        forgotten = slice(None) if mask is None else mask
        self._choice[forgotten] = self._first

    def act(self, observation: Tensor) -> Tensor:
        return self._choice.clone()

    def observe(self, transition: Transition) -> None:
        disappointed = (transition.observation == 0) & (transition.action > 0) & (transition.reward < self._right)
        self._choice = torch.where(disappointed, 3 - transition.action, self._choice)
