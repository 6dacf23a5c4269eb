"""Search for an unseen goal cell: grid navigation (VariBAD) and dark room (Algorithm Distillation, DPT)."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.engines.native import NativeDistribution
from metarl.optima import goal_search
from metarl.optima.experts import KnownGoal
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import OptimalReturn

MOVES = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))  # stay, up, right, down, left as (x, y)


@dataclass(frozen=True)
class GoalGrid(NativeDistribution):
    """A square grid with one rewarding cell that is never observed; the agent sees only the cell it is in.

    A cell is numbered x * size + y. Actions: stay, up, right, down, left; walls stop a move.
    """

    @property
    @abstractmethod
    def side(self) -> int:
        """Cells along one side."""

    @property
    @abstractmethod
    def start(self) -> tuple[int, int]:
        """Where every episode begins."""

    @property
    @abstractmethod
    def step_cost(self) -> float:
        """Subtracted on every step that does not end on the goal."""

    @abstractmethod
    def goals(self) -> list[tuple[int, int]]:
        """The goal cells of this split, equally likely."""

    @property
    @final
    def observation_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.side**2)

    @property
    @final
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(len(MOVES))

    @property
    @final
    def task_space(self) -> spaces.Dict:
        return spaces.Dict({"goal": spaces.Box(0, self.side - 1, (2,), np.int64)})

    @final
    def candidates(self) -> list[tuple[int, int]]:
        """The goal cells within `limits`."""
        low, high = self._interval("goal", 0, self.side - 1)
        kept = [cell for cell in self.goals() if np.all(low <= cell) and np.all(cell <= high)]
        if not kept:
            raise ValueError(f"{self.name}: no goal of the {self.split_name} split lies within {self.limits}")
        return kept

    @final
    def optimal_return(self, num_episodes: int | None = None) -> OptimalReturn:
        """The Bayes-optimal return: exact where the best search path can be proved, else a bound."""
        return goal_search.optimal_return(goal_search.problem(self, num_episodes))

    @final
    def expert(self, num_tasks: int, device: torch.device | str = "cpu") -> KnownGoal:
        return KnownGoal(self, num_tasks, device)

    @final
    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        cells = torch.tensor(self.candidates(), device=generator.device)
        return {"goal": cells[torch.randint(len(cells), (num_tasks,), generator=generator, device=generator.device)]}

    @final
    def initial_state(self, tasks: Tasks, generator: torch.Generator) -> Tensor:
        x, y = self.start
        return torch.full((len(tasks),), x * self.side + y, device=tasks.device)

    @final
    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state

    @final
    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        following = self.successors(state.device)[state, action]
        reached = following == tasks["goal"][:, 0] * self.side + tasks["goal"][:, 1]
        reward = torch.where(reached, 1.0, -self.step_cost)
        return following, reward, torch.zeros_like(reached)

    @final
    def successors(self, device: torch.device | str = "cpu") -> Tensor:
        """The cell `[cells, actions]` that each action leads to from each cell."""
        return _successors(self.side, torch.device(device))

    @final
    def frame(self, state: Tensor, task: Tasks) -> np.ndarray:
        """The grid with the agent dark and the goal green; y grows upwards."""
        image = np.full((self.side, self.side, 3), 235, np.uint8)
        image[tuple(task["goal"][0].tolist())] = (90, 170, 90)
        image[divmod(int(state[0]), self.side)] = (31, 60, 110)
        return np.ascontiguousarray(image.transpose(1, 0, 2)[::-1].repeat(20, 0).repeat(20, 1))


@final
@dataclass(frozen=True)
class GridNavigation(GoalGrid):
    """A 5x5 grid, start in a corner, goal outside the start's 2x2 corner; +1 on the goal, -0.1 elsewhere, 15 steps.

    As in VariBAD (Zintgraf et al. 2020, arXiv 1910.08348), test goals are the 21 training goals.
    ood: the three cells next to the start, which are never goals in training.
    """

    num_episodes: int = 4

    splits_share_tasks: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "grid-navigation-v1"

    @property
    def side(self) -> int:
        return 5

    @property
    def start(self) -> tuple[int, int]:
        return (0, 0)

    @property
    def step_cost(self) -> float:
        return 0.1

    @property
    def horizon(self) -> int:
        return 15

    def goals(self) -> list[tuple[int, int]]:
        if self.split_name == "ood":
            return [(0, 1), (1, 0), (1, 1)]
        return [(x, y) for x in range(5) for y in range(5) if max(x, y) >= 2]


@final
@dataclass(frozen=True)
class DarkRoom(GoalGrid):
    """A dark room with one goal cell: +1 on every step on the goal, nothing elsewhere; only the position is seen.

    `ad`: 9x9, start in the centre, 20 steps, any goal in training and test (Laskin et al. 2022, arXiv 2210.14215);
    ood: only the four corner cells. `dpt`: 10x10, start in a corner, 100 steps, 80 training and 20 test goals (Lee et
    al. 2023, arXiv 2306.14892); ood: the test goals in the far quarter of the room.
    """

    variant: Literal["ad", "dpt"] = "ad"
    num_episodes: int = 10

    def __post_init__(self) -> None:
        if self.variant not in ("ad", "dpt"):
            raise ValueError(f"need variant 'ad' or 'dpt', got {self.variant!r}")
        super().__post_init__()

    @property
    def splits_share_tasks(self) -> bool:  # type: ignore[override]
        return self.variant == "ad"

    @property
    def name(self) -> str:
        return f"dark-room-{self.variant}-v1"

    @property
    def side(self) -> int:
        return 9 if self.variant == "ad" else 10

    @property
    def start(self) -> tuple[int, int]:
        return (4, 4) if self.variant == "ad" else (0, 0)

    @property
    def step_cost(self) -> float:
        return 0.0

    @property
    def horizon(self) -> int:
        return 20 if self.variant == "ad" else 100

    def goals(self) -> list[tuple[int, int]]:
        cells = [(x, y) for x in range(self.side) for y in range(self.side)]
        if self.variant == "ad":
            return cells if self.split_name != "ood" else [(0, 0), (0, 8), (8, 0), (8, 8)]
        order = np.random.default_rng(0).permutation(len(cells))  # fixed: the split belongs to the family's name
        chosen = [cells[i] for i in (order[:80] if self.split_name == "train" else order[80:])]
        return chosen if self.split_name != "ood" else [cell for cell in chosen if min(cell) >= 5]


_SUCCESSORS: dict[tuple[int, torch.device], Tensor] = {}


def _successors(side: int, device: torch.device) -> Tensor:
    if (side, device) not in _SUCCESSORS:
        cell = torch.arange(side**2)
        position = torch.stack([cell // side, cell % side], -1)[:, None]
        moved = (position + torch.tensor(MOVES)).clamp(0, side - 1)
        _SUCCESSORS[side, device] = (moved[..., 0] * side + moved[..., 1]).to(device)
    return _SUCCESSORS[side, device]
