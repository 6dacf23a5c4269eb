"""Bernoulli bandits (Duan et al. 2016, arXiv 1611.02779, section 3.1)."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.engines.native import NativeDistribution
from metarl.functional import sampling as draws
from metarl.optima import gittins as bandit_index
from metarl.optima.experts import KnownBestArm
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import OptimalReturn


@final
@dataclass(frozen=True)
class BernoulliBandit(NativeDistribution):
    """Arms with reward 1 at an unknown probability, drawn from U[0, 1] for each task; an episode is one pull.

    The observation is constant. ood: every arm has a probability below one half.
    """

    arms: int = 5
    pulls: int = 10

    def __post_init__(self) -> None:
        if self.arms < 2 or self.pulls < 1:
            raise ValueError(f"need arms >= 2 and pulls >= 1, got arms={self.arms}, pulls={self.pulls}")
        super().__post_init__()

    @property
    def name(self) -> str:
        return "bernoulli-bandit-v1"

    @property
    def observation_space(self) -> spaces.Box:
        return spaces.Box(0.0, 1.0, (1,), np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.arms)

    @property
    def task_space(self) -> spaces.Dict:
        return spaces.Dict({"means": spaces.Box(0.0, 1.0, (self.arms,), np.float32)})

    @property
    def horizon(self) -> int:
        return 1

    @property
    def num_episodes(self) -> int:
        return self.pulls

    def optimal_return(self, num_episodes: int | None = None) -> OptimalReturn | None:
        """The Bayes-optimal reward: exact for few states, else simulated; None where the arms' priors differ."""
        low, high = self._prior()
        if np.ptp(low) + np.ptp(high) > 0:
            return None
        pulls = self.pulls if num_episodes is None else num_episodes
        return bandit_index.optimal_return(self.arms, pulls, float(low[0]), float(high[0]))

    def expert(self, num_tasks: int, device: torch.device | str = "cpu") -> KnownBestArm:
        return KnownBestArm(self.arms, num_tasks, device)

    def _prior(self) -> tuple[np.ndarray, np.ndarray]:
        return self._interval("means", 0.0, 0.5 if self.split_name == "ood" else 1.0)

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"means": draws.uniform(num_tasks, *self._prior(), generator)}

    def initial_state(self, tasks: Tasks, generator: torch.Generator) -> Tensor:
        return torch.zeros(len(tasks), 1, device=tasks.device)

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return torch.zeros(len(tasks), 1, device=tasks.device)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        chance = tasks["means"].gather(1, action[:, None]).squeeze(1)
        reward = (torch.rand(chance.shape, generator=generator, device=chance.device) < chance).float()
        return action[:, None].float(), reward, torch.ones_like(chance, dtype=torch.bool)

    def frame(self, state: Tensor, task: Tasks) -> np.ndarray:
        """One bar per arm, as high as its payout; the last pulled arm is dark."""
        image = np.full((100, 20 * self.arms, 3), 255, np.uint8)
        for arm, mean in enumerate(task["means"][0].tolist()):
            color = (31, 60, 110) if arm == int(state[0, 0]) else (160, 180, 210)
            image[100 - max(1, round(100 * mean)) :, 20 * arm + 2 : 20 * arm + 18] = color
        return image
