"""A reference policy that knows where key and door are."""

from typing import final

import torch
from torch import Tensor
from typing_extensions import Unpack

from metarl.agents.classical.baseline import ClassicalBaseline, Placement
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import PrivilegedPolicy, Transition

STAY, UP, RIGHT, DOWN, LEFT = range(5)


def check_key_to_door(distribution: TaskDistribution) -> None:
    """Raise ValueError unless tasks are a `key` and a `door` on a grid with a `side`."""
    if not {"key", "door"} <= set(distribution.task_space) or not isinstance(getattr(distribution, "side", None), int):
        raise ValueError(f"key and door need a grid with a side, and tasks with both; {distribution.name} has not")


@final
class KnownKeyAndDoor(ClassicalBaseline, PrivilegedPolicy):
    """Knows where key and door are, and goes straight to the key, then to the door.

    >>> import metarl
    >>> KnownKeyAndDoor(metarl.make("dark-key-to-door"), num_tasks=3).num_tasks
    3
    """

    check = staticmethod(check_key_to_door)
    stream = "key-to-door"

    def __init__(self, distribution: TaskDistribution, num_tasks: int, **placement: Unpack[Placement]) -> None:
        super().__init__(distribution, num_tasks, **placement)
        self._side = int(getattr(distribution, "side"))  # noqa: B009 - `check` has seen it
        self._key = torch.zeros(num_tasks, 2, dtype=torch.int64, device=self.device)
        self._door = torch.zeros_like(self._key)
        self._has_key = torch.zeros(num_tasks, dtype=torch.bool, device=self.device)

    def set_tasks(self, tasks: Tasks) -> None:
        self._key, self._door = tasks["key"].to(self.device), tasks["door"].to(self.device)

    def begin(self, mask: Tensor | None = None) -> None:
        self._has_key[slice(None) if mask is None else mask] = False

    def act(self, observation: Tensor) -> Tensor:
        target = torch.where(self._has_key[:, None], self._door, self._key)
        dx, dy = target[:, 0] - observation // self._side, target[:, 1] - observation % self._side
        along_y = torch.where(dy > 0, UP, torch.where(dy < 0, DOWN, STAY))
        return torch.where(dx > 0, RIGHT, torch.where(dx < 0, LEFT, along_y))

    def observe(self, transition: Transition) -> None:
        self._has_key = (self._has_key ^ (transition.reward > 0)) & ~transition.done  # a door leaves none

    def values(self, observation: Tensor) -> None:
        return None
