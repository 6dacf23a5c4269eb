"""Bus grid: buses lead to the corners, which to which must be found out in a free episode (DREAM)."""

import functools
from dataclasses import dataclass
from itertools import permutations
from typing import ClassVar, NamedTuple, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.engines.native import NativeDistribution
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import OptimalReturn

Cell = tuple[int, int]
SIDE = 9
CENTRE = (4, 4)
MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0), (0, 0))  # up, right, down, left, ride as (x, y)
RIDE = 4
SOURCES: tuple[Cell, ...] = ((4, 5), (5, 4), (3, 4), (4, 3))  # around the centre
STOPS: tuple[Cell, ...] = ((0, 1), (0, 7), (8, 1), (8, 7))  # beside the corners
CORNERS: tuple[Cell, ...] = ((0, 0), (0, 8), (8, 0), (8, 8))  # each beside the stop of its number
DISTRACTING_SOURCES: tuple[Cell, ...] = ((2, 2), (2, 6), (6, 2), (6, 6))
DISTRACTING_STOPS: tuple[Cell, ...] = ((4, 1), (1, 4), (7, 4), (4, 7))  # no nearer to a corner
STEP_COST = 0.1
BY_BUS = 1.0 - 2 * STEP_COST  # to the bus, along its line, into the corner


class Lines(NamedTuple):
    """Where the buses of one kind wait, and their stops, each `[4, 2]`."""

    sources: Tensor
    stops: Tensor


@final
@dataclass(frozen=True)
class BusGrid(NativeDistribution):
    """A 9x9 grid with four buses around the start, which lead to stops beside the corners in an unknown order.

    As in DREAM (Liu et al. 2021, arXiv 2008.02790): a free episode of 20 steps, then an episode in which one corner is
    named: -.1 a step, +1 on arrival, which ends it. A bus waits at each source; to ride leads to its stop, and back.
    Elsewhere, to ride is to wait. Who knows the lines gets .8; who walks gets .3.

    Observations: x, y and the named corner. Actions: up, right, down, left, ride. The 24 layouts are met in training
    and in test. Choices made here: a corner is drawn and named in every episode, in the free one, too, where it has no
    use; the bus that one stands beside is known by its place, as colours are fixed to the sources; with `distractors`
    four more buses in the open field (576 layouts) lead nowhere useful.
    """

    distractors: bool = False
    """Whether there are four more buses, of no use."""
    num_episodes: int = 2
    """Episodes in a trial."""
    free_episodes: int = 1
    """The first episodes of a trial, whose return does not count."""

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    splits_share_tasks: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "bus-grid-v1"

    @property
    def observation_space(self) -> spaces.MultiDiscrete:
        return spaces.MultiDiscrete([SIDE, SIDE, len(CORNERS)])

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(len(MOVES))

    @property
    def task_space(self) -> spaces.Dict:
        """`layout`: the stop of the bus at each source, a permutation."""
        names = ["layout", "distraction"] if self.distractors else ["layout"]
        return spaces.Dict({name: spaces.Box(0, 3, (4,), np.int64) for name in names})

    @property
    def horizon(self) -> int:
        return 20

    @property
    def sources(self) -> tuple[Cell, ...]:
        """Where the useful buses wait."""
        return SOURCES

    @property
    def stops(self) -> tuple[Cell, ...]:
        """The stops of the useful buses, one beside each of `corners`."""
        return STOPS

    @property
    def corners(self) -> tuple[Cell, ...]:
        """The goals."""
        return CORNERS

    def optimal_return(self, num_episodes: int | None = None) -> OptimalReturn:
        """.8 for each episode that counts: exact after a free one, for ten steps tell the layout; else a bound."""
        episodes = self.num_episodes if num_episodes is None else num_episodes
        if episodes < 1:
            raise ValueError(f"num_episodes must be at least 1, got {episodes}")
        total = BY_BUS * max(0, episodes - self.free_episodes)
        if self.free_episodes:
            return OptimalReturn(None, total, "exact", source="the layout is found in a free episode")
        return OptimalReturn(None, total, "bound", source="the layout is known from the start")

    def layouts(self, name: str) -> list[tuple[int, ...]]:
        """The orders of the stops within `limits`, equally likely."""
        low, high = self._interval(name, 0, 3)
        kept = [order for order in permutations(range(4)) if np.all(low <= order) and np.all(order <= high)]
        if not kept:
            raise ValueError(f"{self.name}: no order of the four stops lies within {self.limits}")
        return kept

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        drawn = {}
        for name in self.task_space:
            orders = torch.tensor(self.layouts(name), device=generator.device)
            drawn[name] = orders[torch.randint(len(orders), (num_tasks,), generator=generator, device=orders.device)]
        return drawn

    def initial_state(self, tasks: Tasks, generator: torch.Generator) -> Tensor:
        """States `[B, 3]` are x, y and the number of the corner to reach."""
        corner = torch.randint(4, (len(tasks), 1), generator=generator, device=tasks.device)
        return torch.cat([_cells((CENTRE,), tasks.device).expand(len(tasks), 2), corner], 1)

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        place, corner = state[:, :2], state[:, 2]
        walked = (place + _cells(MOVES, state.device)[action]).clamp(0, SIDE - 1)
        rides = (action == RIDE)[:, None]
        for name in tasks.parameters:
            walked = torch.where(rides, _ride(walked, tasks[name], _lines(name, state.device)), walked)
        reached = (walked == _cells(CORNERS, state.device)[corner]).all(1)
        return torch.cat([walked, corner[:, None]], 1), torch.where(reached, 1.0, -STEP_COST), reached

    def frame(self, state: Tensor, task: Tasks) -> np.ndarray:
        """The grid: a colour for each bus and its stop, the named corner green, the agent dark; y grows upwards."""
        image = np.full((SIDE, SIDE, 3), 235, np.uint8)
        colors = ((214, 96, 77), (146, 112, 176), (90, 150, 200), (222, 170, 60))
        for source, (color, stop) in enumerate(zip(colors, task["layout"][0].tolist(), strict=True)):
            image[SOURCES[source]] = image[STOPS[stop]] = color
        if "distraction" in task.parameters:
            for cell in (*DISTRACTING_SOURCES, *DISTRACTING_STOPS):
                image[cell] = (190, 190, 190)
        image[CORNERS[int(state[0, 2])]] = (90, 170, 90)
        image[tuple(state[0, :2].tolist())] = (31, 60, 110)
        return np.ascontiguousarray(image.transpose(1, 0, 2)[::-1].repeat(20, 0).repeat(20, 1))


def _ride(place: Tensor, layout: Tensor, lines: Lines) -> Tensor:
    """Where the bus at each place `[B, 2]` leads, along the lines of `layout` [B, 4]; the place itself without one."""
    stops = lines.stops[layout]  # [B, 4, 2] of the bus at each source
    leaves, returns = ((place[:, None] == ends).all(-1) for ends in (lines.sources, stops))
    ways = torch.cat([stops, lines.sources.expand_as(stops)], 1)
    which = torch.cat([leaves, returns], 1)
    led = ways.gather(1, which.int().argmax(1)[:, None, None].expand(-1, 1, 2)).squeeze(1)
    return torch.where(which.any(1, keepdim=True), led, place)


def _lines(name: str, device: torch.device) -> Lines:
    ends = (SOURCES, STOPS) if name == "layout" else (DISTRACTING_SOURCES, DISTRACTING_STOPS)
    return Lines(*(_cells(cells, device) for cells in ends))


@functools.cache
def _cells(cells: tuple[Cell, ...], device: torch.device) -> Tensor:
    """`[cells, 2]` on the device, kept there."""
    return torch.tensor(cells, device=device)
