"""Dark key-to-door: find an unseen key, then an unseen door (Algorithm Distillation, AMAGO)."""

import functools
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.engines.native import NativeDistribution
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import OptimalReturn

MOVES = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))  # stay, up, right, down, left as (x, y)
SEEKS_KEY, SEEKS_DOOR, OPENED = range(3)  # stages of a search


@final
@dataclass(frozen=True)
class DarkKeyToDoor(NativeDistribution):
    """A dark room with a key and a door: +1 for the key, then +1 for the door; only the position is seen.

    A step that ends on the key's cell picks it up; with the key, a step that ends on the door's cell opens it. Both may
    be in one cell, and then it takes two steps.

    `ad`: 9x9, start in the centre; an episode ends when the door opens, or after 50 steps (Laskin et al. 2022,
    arXiv 2210.14215). `amago`: 8x8, 500 steps; the step after a door leads back to the start, where the search begins
    anew (Grigsby et al. 2024, arXiv 2310.09971); the start is part of the task. A known layout opens 49.16 doors there.
    Choices made here: cells of key, door and start are uniform and independent, and the same tasks are met in training
    and in test. An observation is the number x * side + y of the cell. Actions: stay, up, right, down, left.
    """

    variant: Literal["ad", "amago"] = "ad"
    """Which paper's room."""
    num_episodes: int = 0
    """Episodes in a trial; 0: ten for `ad`, one for `amago`."""

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    splits_share_tasks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.variant not in ("ad", "amago"):
            raise ValueError(f"need variant 'ad' or 'amago', got {self.variant!r}")
        if self.num_episodes == 0:
            object.__setattr__(self, "num_episodes", 10 if self.variant == "ad" else 1)
        super().__post_init__()

    @property
    def observations_show_tasks(self) -> bool:  # type: ignore[override]
        """Where the start is part of the task, it is seen."""
        return self.variant == "amago"

    @property
    def name(self) -> str:
        return f"dark-key-to-door-{self.variant}-v1"

    @property
    def side(self) -> int:
        """Cells along one side."""
        return 9 if self.variant == "ad" else 8

    @property
    def observation_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.side**2)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(len(MOVES))

    @property
    def task_space(self) -> spaces.Dict:
        places = ("key", "door") if self.variant == "ad" else ("key", "door", "start")
        return spaces.Dict({place: spaces.Box(0, self.side - 1, (2,), np.int64) for place in places})

    @property
    def horizon(self) -> int:
        return 50 if self.variant == "ad" else 500

    def start(self, tasks: Tasks) -> Tensor:
        """Where each search begins, `[N, 2]`."""
        if self.variant == "amago":
            start: Tensor = tasks["start"]
            return start
        return torch.full((len(tasks), 2), self.side // 2, device=tasks.device)

    def optimal_return(self, num_episodes: int | None = None) -> OptimalReturn:
        """A bound: the layout known, over all tasks of the prior."""
        episodes = self.num_episodes if num_episodes is None else num_episodes
        if episodes < 1:
            raise ValueError(f"num_episodes must be at least 1, got {episodes}")
        value = self.known_layout_return()
        return OptimalReturn((value,) * episodes, value * episodes, "bound", source="key and door are known")

    def known_layout_return(self) -> float:
        """The mean return of an episode of an agent that knows the layout: keys and doors."""
        key, door = (self._cells_within(place) for place in ("key", "door"))
        start = self._cells_within("start") if self.variant == "amago" else np.full((1, 2), self.side // 2)
        to_key, to_door = _steps(start, key)[:, :, None], _steps(key, door)[None]  # [starts, keys, doors]
        if self.variant == "ad":
            return float(np.mean(1.0 * (to_key <= self.horizon) + (to_key + to_door <= self.horizon)))
        around = to_key + to_door + 1
        doors, left = np.divmod(self.horizon, around)
        return float(np.mean(2.0 * doors + (left >= to_key) + (left >= to_key + to_door)))

    def _cells_within(self, place: str) -> np.ndarray:
        """The cells `[M, 2]` within `limits` where this may be, equally likely."""
        low, high = (bound.astype(np.float64) for bound in self._interval(place, 0, self.side - 1))
        cells = np.stack(np.meshgrid(*[np.arange(self.side)] * 2, indexing="ij"), -1).reshape(-1, 2)
        kept = cells[((low <= cells) & (cells <= high)).all(1)]
        if not len(kept):
            raise ValueError(f"{self.name}: no cell of the {place} lies within {self.limits}")
        return kept

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        drawn = {}
        for place in self.task_space:
            cells = torch.from_numpy(self._cells_within(place)).to(generator.device)
            drawn[place] = cells[torch.randint(len(cells), (num_tasks,), generator=generator, device=generator.device)]
        return drawn

    def initial_state(self, tasks: Tasks, generator: torch.Generator) -> Tensor:
        """States `[B, 3]` are x, y and the stage of the search."""
        return torch.cat([self.start(tasks), torch.zeros(len(tasks), 1, dtype=torch.int64, device=tasks.device)], 1)

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state[:, 0] * self.side + state[:, 1]

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        stage = state[:, 2]
        place = (state[:, :2] + _moves(state.device)[action]).clamp(0, self.side - 1)
        got_key = (stage == SEEKS_KEY) & (place == tasks["key"]).all(1)
        opened = (stage == SEEKS_DOOR) & (place == tasks["door"]).all(1)
        again = stage == OPENED  # the step after a door, whatever the action
        place = torch.where(again[:, None], self.start(tasks), place)
        stage = torch.where(again, SEEKS_KEY, stage + got_key.long() + opened.long())
        ended = opened if self.variant == "ad" else torch.zeros_like(opened)
        return torch.cat([place, stage[:, None]], 1), (got_key | opened).float(), ended

    def frame(self, state: Tensor, task: Tasks) -> np.ndarray:
        """The room with the key yellow until it is picked up, the door green and the agent dark; y grows upwards."""
        image = np.full((self.side, self.side, 3), 235, np.uint8)
        image[tuple(task["door"][0].tolist())] = (90, 170, 90)
        if int(state[0, 2]) == SEEKS_KEY:
            image[tuple(task["key"][0].tolist())] = (222, 180, 60)
        image[tuple(state[0, :2].tolist())] = (31, 60, 110)
        return np.ascontiguousarray(image.transpose(1, 0, 2)[::-1].repeat(20, 0).repeat(20, 1))


def _steps(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Steps `[M, N]` from each place `[M, 2]` to each other `[N, 2]`, at least the one that ends there."""
    return np.asarray(np.abs(places[:, None] - others).sum(-1).clip(min=1))


@functools.cache
def _moves(device: torch.device) -> Tensor:
    return torch.tensor(MOVES, device=device)
