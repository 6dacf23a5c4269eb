"""Classical policies for a grid of bus lines: who explores them, who knows them and who never takes a bus."""

from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor
from typing_extensions import Unpack

from metarl.agents.classical.baseline import ClassicalBaseline, Placement
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import PrivilegedPolicy, Transition

UP, RIGHT, DOWN, LEFT, RIDE = range(5)
FAR = 1000  # steps, farther than any cell


@runtime_checkable
class BusLines(Protocol):
    """A grid with buses at `sources`, whose order of `stops` is the task parameter `layout`, beside `corners`.

    Observations are x, y and the corner to reach; actions up, right, down, left and ride.
    """

    @property
    def sources(self) -> tuple[tuple[int, int], ...]: ...
    @property
    def stops(self) -> tuple[tuple[int, int], ...]: ...
    @property
    def corners(self) -> tuple[tuple[int, int], ...]: ...


def check_bus_lines(distribution: TaskDistribution) -> None:
    """Raise ValueError unless the distribution is a grid of bus lines."""
    if not isinstance(distribution, BusLines):
        raise ValueError(f"bus lines need a distribution with sources, stops, corners; {distribution.name} has not")


class BusRider(ClassicalBaseline):
    """Takes the shortest way to the named corner along the lines it knows. A subclass learns which they are."""

    check = staticmethod(check_bus_lines)
    stream = "bus-rider"

    def __init__(self, distribution: TaskDistribution, num_tasks: int, **placement: Unpack[Placement]) -> None:
        super().__init__(distribution, num_tasks, **placement)
        assert isinstance(distribution, BusLines)
        self.sources, self.stops, self.corners = (
            torch.tensor(cells, device=self.device)
            for cells in (distribution.sources, distribution.stops, distribution.corners)
        )
        self.layout = torch.full((num_tasks, len(self.sources)), -1, device=self.device)  # -1: not known

    def travel(self, observation: Tensor) -> Tensor:
        """Actions `[N]` on the shortest known way to the corner."""
        place, corner = observation[:, :2], observation[:, 2]
        goal = self.corners[corner]
        bus = self.layout == corner[:, None]  # [N, buses] the one that leads beside it
        source = self.sources[bus.int().argmax(1)]
        by_bus = _steps(place, source) + 1 + _steps(self.stops[corner], goal)
        takes = bus.any(1) & (by_bus < _steps(place, goal))
        return torch.where(takes, _towards(place, source), _towards(place, goal))


@final
class Walker(BusRider):
    """Walks to the corner and takes no bus: as good as any policy that cannot explore.

    >>> import metarl
    >>> Walker(metarl.make("bus-grid"), num_tasks=2).act(torch.tensor([[4, 4, 0], [8, 7, 3]]))
    tensor([3, 0])
    """

    def begin(self, mask: Tensor | None = None) -> None:
        """Nothing to forget."""

    def act(self, observation: Tensor) -> Tensor:
        return self.travel(observation)

    def observe(self, transition: Transition) -> None:
        """Nothing to learn."""


@final
class KnownBuses(BusRider, PrivilegedPolicy):
    """Knows the layout of the bus lines.

    >>> import metarl
    >>> KnownBuses(metarl.make("bus-grid"), num_tasks=2).num_tasks
    2
    """

    def set_tasks(self, tasks: Tasks) -> None:
        self.layout = tasks["layout"].to(self.device)

    def begin(self, mask: Tensor | None = None) -> None:
        """Nothing to forget."""

    def act(self, observation: Tensor) -> Tensor:
        return self.travel(observation)

    def observe(self, transition: Transition) -> None:
        """Nothing to learn."""

    def values(self, observation: Tensor) -> None:
        return None


@final
class BusExplorer(BusRider):
    """Rides the nearest unknown bus and back until the layout is known, then goes where it is named: the optimum.

    Three rides tell the fourth line. After the first episode it explores no more.

    >>> import metarl
    >>> BusExplorer(metarl.make("bus-grid"), num_tasks=2).act(torch.tensor([[4, 4, 0], [4, 5, 0]]))
    tensor([0, 4])
    """

    def __init__(self, distribution: TaskDistribution, num_tasks: int, **placement: Unpack[Placement]) -> None:
        super().__init__(distribution, num_tasks, **placement)
        self._explores = torch.ones(num_tasks, dtype=torch.bool, device=self.device)

    def begin(self, mask: Tensor | None = None) -> None:
        forgotten = slice(None) if mask is None else mask
        self.layout[forgotten] = -1
        self._explores[forgotten] = True

    def act(self, observation: Tensor) -> Tensor:
        place = observation[:, :2]
        steps = _steps(place[:, None], self.sources).masked_fill(self.layout >= 0, FAR)
        search = _towards(place, self.sources[steps.argmin(1)])
        at_stop = (place[:, None] == self.stops).all(-1).any(1)
        search = torch.where(at_stop, RIDE, search)
        exploring = self._explores & (self.layout < 0).any(1)
        return torch.where(exploring, search, self.travel(observation))

    def observe(self, transition: Transition) -> None:
        left, arrived = transition.observation[:, None, :2], transition.next_observation[:, None, :2]
        bus, stop = (left == self.sources).all(-1), (arrived == self.stops).all(-1)
        rode = bus & stop.any(1, keepdim=True) & (transition.action == RIDE)[:, None]
        layout = torch.where(rode, stop.int().argmax(1)[:, None], self.layout)
        last = (layout < 0) & ((layout < 0).sum(1, keepdim=True) == 1)
        others = torch.where(layout < 0, 0, layout).sum(1, keepdim=True)
        buses = len(self.sources)
        self.layout = torch.where(last, buses * (buses - 1) // 2 - others, layout)
        self._explores = self._explores & ~transition.done


def _steps(place: Tensor, other: Tensor) -> Tensor:
    """Steps between cells `[..., 2]` on foot."""
    return (place - other).abs().sum(-1)


def _towards(place: Tensor, target: Tensor) -> Tensor:
    """The step from `place` [N, 2] to `target` [N, 2], first along x; on the target, to ride."""
    dx, dy = (target - place).unbind(1)
    along_y = torch.where(dy > 0, UP, torch.where(dy < 0, DOWN, RIDE))
    return torch.where(dx > 0, RIGHT, torch.where(dx < 0, LEFT, along_y))
