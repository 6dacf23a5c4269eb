"""Classical policies that look for a treasure: along the circle, from the mountain, or with its place known."""

import math
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor
from typing_extensions import Unpack

from metarl.agents.classical.baseline import ClassicalBaseline, Placement
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import PrivilegedPolicy, Transition

STEP = 0.1  # the largest displacement per axis
START = -math.pi / 2  # the angle on the circle where episodes begin
TRIES = 60  # lengths of a step along the circle


@runtime_checkable
class Treasure(Protocol):
    """A family of a point at (0, -1) that looks for a treasure on the unit circle, which it sees at the centre.

    Observations are the position and that of the treasure, zeros where it is not seen.
    """

    @property
    def horizon(self) -> int: ...
    def treasure(self, tasks: Tasks) -> Tensor:
        """Where it is, `[N, 2]`."""

    def pay(self, position: Tensor, treasure: Tensor) -> Tensor:
        """The reward `[...]` of a step that ends at `position` [..., 2]; positive on the treasure alone."""


def check_treasure(distribution: TaskDistribution) -> None:
    """Raise ValueError unless the distribution has a treasure on a circle."""
    if not isinstance(distribution, Treasure):
        raise ValueError(f"a search needs a distribution with treasure and pay; {distribution.name} has not")


class TreasureHunter(ClassicalBaseline):
    """Knows how many steps of its episode are over, and whether the last one paid. A subclass goes somewhere."""

    check = staticmethod(check_treasure)
    stream = "treasure-hunter"

    def __init__(self, distribution: TaskDistribution, num_tasks: int, **placement: Unpack[Placement]) -> None:
        super().__init__(distribution, num_tasks, **placement)
        assert isinstance(distribution, Treasure)
        self.family = distribution
        self.circle = circle_walk(distribution.horizon).to(self.device)
        self.found = torch.zeros(num_tasks, 2, device=self.device)  # where it was; zeros: not yet
        self.elapsed = torch.zeros(num_tasks, dtype=torch.int64, device=self.device)

    def begin(self, mask: Tensor | None = None) -> None:
        forgotten = slice(None) if mask is None else mask
        self.found[forgotten] = 0
        self.elapsed[forgotten] = 0

    def observe(self, transition: Transition) -> None:
        place, shown = transition.next_observation[:, :2], transition.next_observation[:, 2:]
        self.found = torch.where(_known(shown), shown, self.found)
        paid = (transition.reward > 0)[:, None]
        self.found = torch.where(paid & ~_known(self.found), place, self.found)
        self.elapsed = (self.elapsed + 1).clamp(max=len(self.circle) - 1) * ~transition.done


@final
class CircleSearch(TreasureHunter):
    """Walks along the circle until a step pays, and stays: who does not climb.

    >>> import metarl
    >>> CircleSearch(metarl.make("mountain-treasure"), num_tasks=3).num_tasks
    3
    """

    def act(self, observation: Tensor) -> Tensor:
        place = observation[:, :2]
        goal = torch.where(_known(self.found), self.found, self.circle[self.elapsed])
        return (goal - place).clamp(-STEP, STEP)


@final
class ClimbLookGo(TreasureHunter):
    """Climbs the mountain, sees the treasure and goes straight to it: a lower bound of the optimum.

    >>> import metarl
    >>> ClimbLookGo(metarl.make("mountain-treasure"), num_tasks=3).num_tasks
    3
    """

    def act(self, observation: Tensor) -> Tensor:
        return (self.found - observation[:, :2]).clamp(-STEP, STEP)  # not found: zeros, which is the top


@final
class KnownTreasure(TreasureHunter, PrivilegedPolicy):
    """Knows the treasure, and takes the best of three ways: straight, or along the circle to either side.

    >>> import metarl
    >>> KnownTreasure(metarl.make("mountain-treasure"), num_tasks=3).num_tasks
    3
    """

    def __init__(self, distribution: TaskDistribution, num_tasks: int, **placement: Unpack[Placement]) -> None:
        super().__init__(distribution, num_tasks, **placement)
        self._ways = self.circle.repeat(num_tasks, 1, 1)  # [N, horizon, 2] where to be after each step

    def set_tasks(self, tasks: Tasks) -> None:
        treasure = self.family.treasure(tasks.to(self.device))
        mirrored = self.circle * torch.tensor([-1.0, 1.0], device=self.device)
        straight = _straight(treasure, len(self.circle))
        ways = torch.stack([straight, *(_until_found(walk, treasure) for walk in (self.circle, mirrored))])
        returns = self.family.pay(ways, treasure[:, None]).sum(-1)  # [3, N]
        self._ways = ways[returns.argmax(0), torch.arange(len(treasure), device=self.device)]

    def act(self, observation: Tensor) -> Tensor:
        slot = torch.arange(self.num_tasks, device=self.device)
        return (self._ways[slot, self.elapsed] - observation[:, :2]).clamp(-STEP, STEP)

    def values(self, observation: Tensor) -> None:
        return None


def circle_walk(steps: int) -> Tensor:
    """Positions `[steps, 2]` after each of the longest steps along the unit circle from (0, -1) to the right."""
    angle, places = START, [(0.0, -1.0)]
    for _ in range(steps):
        tried = [0.2 - 0.15 * k / (TRIES - 1) for k in range(TRIES)]
        angle += next((d for d in tried if _within(places[-1], angle + d)), tried[-1])
        places.append((math.cos(angle), math.sin(angle)))
    return torch.tensor(places[1:])


def _within(place: tuple[float, float], angle: float) -> bool:
    """Whether one step leads from `place` to the angle on the circle."""
    return max(abs(math.cos(angle) - place[0]), abs(math.sin(angle) - place[1])) <= STEP + 1e-9


def _straight(treasure: Tensor, steps: int) -> Tensor:
    """Positions `[N, steps, 2]` on the way from (0, -1) to the treasure, each axis as fast as it can."""
    start = torch.tensor([0.0, -1.0], device=treasure.device)
    moved = STEP * torch.arange(1, steps + 1, device=treasure.device)[:, None]
    offset = (treasure - start)[:, None]
    return start + offset.sign() * torch.minimum(offset.abs(), moved)


def _until_found(walk: Tensor, treasure: Tensor) -> Tensor:
    """`[N, steps, 2]` a walk `[steps, 2]`, which stays where it comes within reach of the treasure."""
    near = ((walk - treasure[:, None]).norm(dim=-1) <= STEP).int()  # [N, steps]
    first = torch.where(near.any(1), near.argmax(1), len(walk) - 1)
    return walk[torch.minimum(torch.arange(len(walk), device=walk.device), first[:, None])]


def _known(place: Tensor) -> Tensor:
    """Whether a place is one: zeros stand for none."""
    return (place != 0).any(1, keepdim=True)
