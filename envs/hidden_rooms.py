"""Hidden rooms: three goals that pay ever more, each hidden until the one before was reached (HyperX)."""

import functools
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.engines.native import NativeDistribution
from metarl.optima import ordered_goals
from metarl.optima.ordered_goals import Goals
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import OptimalReturn

Cell = tuple[int, int]
MOVES = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))  # stay, up, right, down, left as (x, y)
ROOMS = (0, -6, 6)  # x of the centre of the middle, the left and the right room, each 3x3
CELLS: tuple[Cell, ...] = (
    *((x, y) for middle in ROOMS for x in range(middle - 1, middle + 2) for y in (-1, 0, 1)),
    *((x, 0) for side in (-1, 1) for x in (2 * side, 3 * side, 4 * side)),  # the two corridors
)


def _corners(middle: int) -> list[int]:
    """The numbers of the cells in the corners of a room."""
    return [CELLS.index((middle + dx, dy)) for dx in (-1, 1) for dy in (-1, 1)]


@final
@dataclass(frozen=True)
class HiddenRooms(NativeDistribution):
    """Three rooms in a row; goals in corners of the middle, a side and again the middle room pay 1, 10, 100 a step.

    As in HyperX (Zintgraf et al. 2021, arXiv 2010.01062): one episode of 50 steps from the centre, -.1 on steps that
    end on no goal. The first goal is in a corner of the middle room, the second in a corner of the room on that side,
    the third in another corner of the middle room; each pays once the one before was reached. Only the cell is seen.
    The 48 tasks are met in training and in test. Rooms are 3x3, three steps of corridor apart.

    Observations: the number of the cell, of 33. Actions: stay, up, right, down, left.
    """

    num_episodes: int = 1
    """Episodes in a trial."""

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    splits_share_tasks: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "hidden-rooms-v1"

    @property
    def observation_space(self) -> spaces.Discrete:
        return spaces.Discrete(len(CELLS))

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(len(MOVES))

    @property
    def task_space(self) -> spaces.Dict:
        """`corners`: those of the first and second goal (left ones first), and which of the others has the third."""
        return spaces.Dict({"corners": spaces.Box(np.zeros(3, np.int64), np.array([3, 3, 2]), dtype=np.int64)})

    @property
    def horizon(self) -> int:
        return 50

    @property
    def start(self) -> int:
        """The cell where every episode begins."""
        return CELLS.index((0, 0))

    @property
    def pays(self) -> tuple[float, ...]:
        """Reward of a step that ends on the first, second and third goal."""
        return (1.0, 10.0, 100.0)

    @property
    def step_cost(self) -> float:
        """Subtracted on every other step."""
        return 0.1

    def goals(self) -> tuple[Goals, ...]:
        """The cells of the three goals in each task within `limits`."""
        table = _goal_table(torch.device("cpu"))
        return tuple(tuple(table[corners].tolist()) for corners in self._corners_within())

    def goals_of(self, tasks: Tasks) -> Tensor:
        """The cells `[N, 3]` of the goals of each task."""
        return _goal_table(tasks.device)[tasks["corners"].unbind(1)]

    def successors(self, device: torch.device | str = "cpu") -> Tensor:
        """The cell `[cells, actions]` that each action leads to from each cell."""
        return _successors(torch.device(device))

    def optimal_return(self, num_episodes: int | None = None) -> OptimalReturn:
        """Exact for a trial of one episode, by planning over beliefs; else the bound of the known goals."""
        episodes = self.num_episodes if num_episodes is None else num_episodes
        if episodes < 1:
            raise ValueError(f"num_episodes must be at least 1, got {episodes}")
        if episodes == 1:
            value = ordered_goals.solve(ordered_goals.problem(self)).value
            return OptimalReturn((value,), value, "exact", source="dynamic programming over beliefs")
        value = self.known_goals_return()
        return OptimalReturn((value,) * episodes, value * episodes, "bound", source="the goals are known")

    def known_goals_return(self) -> float:
        """The mean return of an episode of an agent that knows the goals."""
        plans = [ordered_goals.solve(ordered_goals.problem(self, (task,))) for task in self.goals()]
        return float(np.mean([plan.value for plan in plans]))

    def _corners_within(self) -> list[tuple[int, ...]]:
        low, high = self._interval("corners", (0, 0, 0), (3, 3, 2))
        kept = [each for each in np.ndindex(4, 4, 3) if np.all(low <= each) and np.all(each <= high)]
        if not kept:
            raise ValueError(f"{self.name}: no goals lie within {self.limits}")
        return kept

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        corners = torch.tensor(self._corners_within(), device=generator.device)
        drawn = torch.randint(len(corners), (num_tasks,), generator=generator, device=generator.device)
        return {"corners": corners[drawn]}

    def initial_state(self, tasks: Tasks, generator: torch.Generator) -> Tensor:
        """States `[B, 2]` are the cell and the number of goals reached."""
        begun = torch.zeros(len(tasks), 2, dtype=torch.int64, device=tasks.device)
        begun[:, 0] = self.start
        return begun

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state[:, 0]

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        cell, reached = self.successors(state.device)[state[:, 0], action], state[:, 1]
        on = (cell[:, None] == self.goals_of(tasks)) & (torch.arange(3, device=state.device) <= reached[:, None])
        pay = (on * 10.0 ** torch.arange(3, device=state.device)).sum(1)
        place = on.int().argmax(1) + 1
        paid = on.any(1)
        reached = torch.where(paid, torch.maximum(reached, place), reached)
        return torch.stack([cell, reached], 1), torch.where(paid, pay, -self.step_cost), torch.zeros_like(paid)

    def frame(self, state: Tensor, task: Tasks) -> np.ndarray:
        """The rooms with the agent dark; the goals are the greener the more they pay, pale while they are hidden."""
        image = np.full((3, 15, 3), 255, np.uint8)
        places = [(y + 1, x + 7) for x, y in CELLS]
        for place in places:
            image[place] = 225
        for order, goal in enumerate(self.goals_of(task)[0].tolist()):
            color = np.array([(190, 225, 190), (140, 200, 140), (60, 150, 60)][order])
            image[places[goal]] = color if order <= int(state[0, 1]) else (color + 225) // 2
        image[places[int(state[0, 0])]] = (31, 60, 110)
        return np.ascontiguousarray(image[::-1].repeat(20, 0).repeat(20, 1))


@functools.cache
def _successors(device: torch.device) -> Tensor:
    moved = [[(x + dx, y + dy) for dx, dy in MOVES] for x, y in CELLS]
    table = [[CELLS.index(to) if to in CELLS else cell for to in row] for cell, row in enumerate(moved)]
    return torch.tensor(table, device=device)


@functools.cache
def _goal_table(device: torch.device) -> Tensor:
    """`[4, 4, 3, 3]` the cells of the three goals for each first, second and third corner."""
    middle, left, right = (_corners(room) for room in ROOMS)
    table = [
        [[[one, two, three] for three in middle if three != one] for two in (left if CELLS[one][0] < 0 else right)]
        for one in middle
    ]
    return torch.tensor(table, device=device)
