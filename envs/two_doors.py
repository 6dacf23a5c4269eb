"""Two doors: trying one costs something now, and what was learned pays in the next episode only."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.engines.native import NativeDistribution
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import OptimalReturn

SAFE = 0  # the action that opens neither door
CHOOSING, WAITING = 0, 1  # observations


@final
@dataclass(frozen=True)
class TwoDoors(NativeDistribution):
    """The first step of each episode chooses the safe pay or one of two doors; which door is the right one is hidden.

    Actions: safe, door 1, door 2. The safe one pays `safe`, the right door `right`, the other `wrong`, at once. The
    other steps pay nothing: the more there are, the farther away is the next episode, in which a try pays.
    Observations: 0 at the choice, 1 after it. There are two tasks, in training and in test.

    Raises ValueError unless `right` is more than `safe` and `wrong`, all are finite, and an episode has two steps.
    """

    safe: float = 10.0
    """Reward of the safe choice."""
    right: float = 30.0
    """Reward of the right door."""
    wrong: float = -18.0
    """Reward of the wrong door."""
    max_episode_steps: int = 20
    """Steps of an episode, of which the first chooses."""
    num_episodes: int = 2
    """Episodes in a trial."""
    free_episodes: int = 0
    """The first episodes of a trial, whose return does not count."""

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    splits_share_tasks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        rewards = (self.safe, self.right, self.wrong)
        if not np.isfinite(rewards).all() or self.right <= max(self.safe, self.wrong):
            raise ValueError(
                f"need finite rewards with right > safe and right > wrong, got safe, right, wrong={rewards}"
            )
        if self.max_episode_steps < 2:
            raise ValueError(f"need max_episode_steps >= 2, got {self.max_episode_steps}")
        super().__post_init__()

    @property
    def name(self) -> str:
        return "two-doors-v1"

    @property
    def observation_space(self) -> spaces.Discrete:
        return spaces.Discrete(2)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(3)

    @property
    def task_space(self) -> spaces.Dict:
        return spaces.Dict({"door": spaces.Box(1, 2, (), np.int64)})

    @property
    def horizon(self) -> int:
        return self.max_episode_steps

    def optimal_return(self, num_episodes: int | None = None) -> OptimalReturn:
        """Exact: all episodes at the safe pay, or a try and then the right door. Free episodes do not count.

        A try pays (right + wrong) / 2 on average and tells all. To try later than first brings nothing.
        """
        episodes = self.num_episodes if num_episodes is None else num_episodes
        if episodes < 1:
            raise ValueError(f"num_episodes must be at least 1, got {episodes}")
        low, high = self._interval("door", 1, 2)
        first = self.right if low == high else (self.right + self.wrong) / 2
        tried, never = (first, *[self.right] * (episodes - 1)), (self.safe,) * episodes
        best = max(tried, never, key=lambda returns: sum(returns[self.free_episodes :]))
        total = float(sum(best[self.free_episodes :]))
        return OptimalReturn(best, total, "exact", source="a try in the first episode, or none at all")

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        low, high = (int(bound) for bound in self._interval("door", 1, 2))
        return {"door": torch.randint(low, high + 1, (num_tasks,), generator=generator, device=generator.device)}

    def initial_state(self, tasks: Tasks, generator: torch.Generator) -> Tensor:
        return torch.zeros(len(tasks), dtype=torch.int64, device=tasks.device)

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state.clamp(max=WAITING)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A state is 0 at the choice and 1 + the chosen action after it."""
        chooses = state == CHOOSING
        door = torch.where(action == tasks["door"], self.right, self.wrong)
        pay = torch.where(action == SAFE, self.safe, door)
        reward = torch.where(chooses, pay, 0.0)
        return torch.where(chooses, 1 + action, state), reward, torch.zeros_like(chooses)

    def frame(self, state: Tensor, task: Tasks) -> np.ndarray:
        """The safe choice and the two doors; the right door is green, what was chosen has a dark frame."""
        image = np.full((100, 180, 3), 255, np.uint8)
        for choice in range(3):
            place = (slice(15, 85), slice(60 * choice + 10, 60 * choice + 50))
            if choice == int(state[0]) - 1:
                image[5:95, 60 * choice + 2 : 60 * choice + 58] = (31, 60, 110)
            image[place] = (90, 170, 90) if choice == int(task["door"][0]) else (160, 180, 210)
        return image
