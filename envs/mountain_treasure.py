"""Mountain treasure: a treasure on a circle, seen only from the top of a mountain that costs to climb (HyperX)."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.engines.native import NativeDistribution
from metarl.functional import sampling as draws
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import OptimalReturn

STEP = 0.1  # the largest displacement per axis
FOOT = 0.5  # radius of the mountain
TOP = 0.1  # radius of what sees the treasure
REACH = 0.1  # how near the treasure is found
FOUND, COST = 10.0, 5.0  # reward on the treasure, cost of any other step
ROUNDING = 1e-5  # of float32: ten steps of .1 from the start end on the top, nine do not


@final
@dataclass(frozen=True)
class MountainTreasure(NativeDistribution):
    """A point that starts at (0, -1); the treasure is anywhere on the unit circle, the mountain in its middle.

    As in HyperX (Zintgraf et al. 2021, arXiv 2010.01062): one episode of 100 steps. A step that ends within .1 of the
    treasure pays 10. All others cost 5, times the distance from the centre outside of the circle, and up to .5 more on
    the mountain, within .5 of the centre. From its top, within .1, the treasure is seen.

    Observations: the position, and that of the treasure where it is seen, else zeros. Actions: the displacement, at
    most .1 per axis. Test treasures come from the same circle.
    """

    num_episodes: int = 1
    """Episodes in a trial."""

    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    @property
    def name(self) -> str:
        return "mountain-treasure-v1"

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (4,), np.float32)

    @property
    def action_space(self) -> spaces.Box:
        return spaces.Box(-STEP, STEP, (2,), np.float32)

    @property
    def task_space(self) -> spaces.Dict:
        """`angle` of the treasure, from -pi to pi; -pi / 2 is the start."""
        return spaces.Dict({"angle": spaces.Box(-math.pi, math.pi, (), np.float32)})

    @property
    def horizon(self) -> int:
        return 100

    def treasure(self, tasks: Tasks) -> Tensor:
        """Where it is, `[N, 2]`."""
        return torch.stack([tasks["angle"].cos(), tasks["angle"].sin()], 1)

    def pay(self, position: Tensor, treasure: Tensor) -> Tensor:
        """The reward `[...]` of a step that ends at `position` [..., 2]."""
        height = position.norm(dim=-1)
        found = (position - treasure).norm(dim=-1) <= REACH
        plain = torch.where(found, FOUND, -COST * height.clamp(min=1))
        return torch.where(height <= FOOT, height - FOOT - COST, plain)

    def optimal_return(self, num_episodes: int | None = None) -> OptimalReturn:
        """A bound: the treasure known, reached as soon as steps allow, and no step before costs more than 5."""
        episodes = self.num_episodes if num_episodes is None else num_episodes
        if episodes < 1:
            raise ValueError(f"num_episodes must be at least 1, got {episodes}")
        low, high = self._interval("angle", -math.pi, math.pi)
        angle = torch.from_numpy(low + (high - low) * (np.arange(20_000) + 0.5) / 20_000)
        offset = torch.stack([angle.cos(), angle.sin() + 1], 1).abs()
        moved = STEP * torch.arange(1, self.horizon + 1, dtype=torch.float64)
        near = (offset[:, None] - moved[:, None]).clamp(min=0).norm(dim=-1) <= REACH  # [N, horizon]
        value = float(torch.where(near, FOUND, -COST).sum(1).mean())
        source = "the treasure known and reached as soon as steps allow; no way around the mountain is counted"
        return OptimalReturn((value,) * episodes, value * episodes, "bound", source=source)

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"angle": draws.uniform(num_tasks, *self._interval("angle", -math.pi, math.pi), generator)}

    def initial_state(self, tasks: Tasks, generator: torch.Generator) -> Tensor:
        state = torch.zeros(len(tasks), 2, device=tasks.device)
        state[:, 1] = -1
        return state

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        seen = state.norm(dim=-1, keepdim=True) < TOP - ROUNDING
        return torch.cat([state, torch.where(seen, self.treasure(tasks), 0.0)], 1)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        following = state + action
        reward = self.pay(following, self.treasure(tasks))
        return following, reward, torch.zeros_like(reward, dtype=torch.bool)

    def frame(self, state: Tensor, task: Tasks) -> np.ndarray:
        """The square [-1.5, 1.5]² with the mountain grey, the treasure green and the point dark; y grows upwards."""
        y, x = np.mgrid[119:-1:-1, 0:120] / 40.0 - 1.5
        height = np.hypot(x, y)
        image = np.full((120, 120, 3), 235, np.uint8)
        image[height <= FOOT] = 200
        image[height <= TOP] = 150
        for place, color in ((self.treasure(task)[0], (90, 170, 90)), (state[0], (31, 60, 110))):
            column, row = (60 + 40 * place).round().int().clamp(3, 116).tolist()
            image[119 - row - 2 : 119 - row + 3, column - 2 : column + 3] = color
        return image
