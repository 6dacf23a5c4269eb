"""Random tabular MDPs (Duan et al. 2016, arXiv 1611.02779, section 3.2)."""

import functools
import math
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl import seeding
from metarl.engines.native import NativeDistribution
from metarl.optima import planning
from metarl.optima.experts import KnownMDP
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import OptimalReturn

PROBABILITIES_TO_SAMPLE = 10_000_000  # 20 000 tasks of the published size, planned in under a second


@final
@dataclass(frozen=True)
class TabularMDP(NativeDistribution):
    """Unknown rewards and transitions in a small state space, fixed for a trial; every episode starts in state 0.

    Mean rewards R(s, a) ~ N(1, 1), reward noise N(0, 1), P(. | s, a) ~ Dirichlet(1, ..., 1).
    ood: nearly deterministic transitions, Dirichlet(.1, ..., .1).
    """

    states: int = 10
    actions: int = 5
    max_episode_steps: int = 10
    num_episodes: int = 10

    reward_span: ClassVar[float] = 8.0  # standard deviations within which mean rewards are kept, a bound for the space

    def __post_init__(self) -> None:
        if min(self.states, self.actions) < 2 or self.max_episode_steps < 1:
            raise ValueError(f"need states, actions >= 2 and max_episode_steps >= 1, got {self.options}")
        if any(name == "transitions" for name, *_ in self.limits):
            raise ValueError("tabular-mdp: where(...) narrows `rewards` only; transitions are rows of a simplex")
        super().__post_init__()

    @property
    def name(self) -> str:
        return "tabular-mdp-v1"

    @property
    def observation_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.states)

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.actions)

    @property
    def task_space(self) -> spaces.Dict:
        shape = (self.states, self.actions)
        low, high = 1.0 - self.reward_span, 1.0 + self.reward_span
        return spaces.Dict(
            {
                "rewards": spaces.Box(low, high, shape, np.float32),
                "transitions": spaces.Box(0.0, 1.0, (*shape, self.states), np.float32),
            }
        )

    @property
    def horizon(self) -> int:
        return self.max_episode_steps

    def optimal_return(self, num_episodes: int | None = None) -> OptimalReturn:
        """A bound: the mean return of an agent that knows the task."""
        episodes = self.num_episodes if num_episodes is None else num_episodes
        if episodes < 1:
            raise ValueError(f"num_episodes must be at least 1, got {episodes}")
        value, error, tasks = _known_task_return(self)
        source = f"value iteration in {tasks} known tasks; what learning them costs is not counted"
        return OptimalReturn((value,) * episodes, value * episodes, "bound", error * episodes, source)

    def expert(self, num_tasks: int, device: torch.device | str = "cpu") -> KnownMDP:
        return KnownMDP(self.states, self.actions, self.horizon, num_tasks, device)

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        low, high = self._interval("rewards", 1.0 - self.reward_span, 1.0 + self.reward_span)
        shape = (num_tasks, self.states, self.actions)
        concentration = torch.full((*shape, self.states), 0.1 if self.split_name == "ood" else 1.0)
        weights = torch._standard_gamma(concentration.to(generator.device), generator=generator).clamp(min=1e-30)
        return {
            "rewards": _truncated_normal(shape, low, high, generator),
            "transitions": weights / weights.sum(-1, keepdim=True),
        }

    def initial_state(self, tasks: Tasks, generator: torch.Generator) -> Tensor:
        return torch.zeros(len(tasks), dtype=torch.int64, device=tasks.device)

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        slot = torch.arange(len(tasks), device=state.device)
        noise = torch.randn(len(tasks), generator=generator, device=state.device)
        reward = tasks["rewards"][slot, state, action] + noise
        draw = torch.rand(len(tasks), 1, generator=generator, device=state.device)
        cumulative = tasks["transitions"][slot, state, action].cumsum(-1)
        following = (cumulative < draw * cumulative[:, -1:]).sum(-1)
        return following, reward, torch.zeros_like(slot, dtype=torch.bool)

    def frame(self, state: Tensor, task: Tasks) -> np.ndarray:
        """A row per state, a column per action, bright where the mean reward is high; the current row is marked."""
        values = task["rewards"][0].numpy()
        shade = np.clip((values + 1) / 4 * 255, 0, 255).astype(np.uint8)
        image = np.repeat(shade[:, :, None], 3, 2).repeat(16, 0).repeat(16, 1)
        image[16 * int(state[0]) : 16 * int(state[0]) + 2] = (200, 60, 40)
        return image


@functools.cache
def _known_task_return(family: TabularMDP) -> tuple[float, float, int]:
    """Mean optimal return of an episode over fixed sampled tasks, its standard error and the number of tasks."""
    size = family.states**2 * family.actions
    tasks = family.sample(min(max(PROBABILITIES_TO_SAMPLE // size, 100), 20_000), seeding.generator(0, "mdp-optimum"))
    values, _ = planning.value_iteration(tasks["rewards"], tasks["transitions"], family.horizon)
    returns = values[:, 0, 0].double()
    return float(returns.mean()), float(returns.std()) / math.sqrt(len(tasks)), len(tasks)


def _truncated_normal(
    shape: tuple[int, int, int], low: np.ndarray, high: np.ndarray, generator: torch.Generator
) -> Tensor:
    """N(1, 1) restricted to [low, high] by the inverse of its cumulative distribution."""
    lows = torch.as_tensor(np.ascontiguousarray(low), dtype=torch.float64, device=generator.device)
    highs = torch.as_tensor(np.ascontiguousarray(high), dtype=torch.float64, device=generator.device)
    below, above = torch.special.ndtr(lows - 1), torch.special.ndtr(highs - 1)
    draws = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
    values = 1 + torch.special.ndtri(below + (above - below) * draws.clamp(1e-15, 1 - 1e-15))
    return torch.minimum(torch.maximum(values, lows), highs).float()
