"""A tiny agent that obeys the contract in milliseconds: for tests of runs and of the command line."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

import metarl
from metarl import seeding
from metarl.tasks.distribution import TaskVectorEnv
from metarl.tasks.policies import AdaptivePolicy, Transition
from metarl.training.agent import Agent
from metarl.trials.context import Context


@dataclass(frozen=True)
class FakeOptions:
    """Options of the fake agent."""

    rate: float = 0.5
    """How much of each update is new."""
    fail_at: int = 0
    """The update that crashes; 0: none does."""
    pause: float = 0.0
    """Seconds that an update takes at least."""


@final
class FakeAgent(Agent):
    """Learns the mean of noise."""

    Options = FakeOptions
    weight = torch.zeros(4)

    def policy(self, num_tasks: int, deterministic: bool | None = None, seed: int = 0) -> AdaptivePolicy:
        return FirstAction(num_tasks)

    def train_step(self, fraction_done: float, on_step: Callable[[TaskVectorEnv], None]) -> dict[str, float]:
        options: FakeOptions = self.options
        if options.fail_at == self.updates + 1:
            raise ValueError(f"a NaN reward in update {options.fail_at}")
        env = self.distribution.vector_env(10)
        for _ in range(10):
            on_step(env)
        time.sleep(options.pause)
        noise = torch.rand(4, generator=seeding.generator(self.seed, "noise", self.updates))
        self.weight = self.weight + options.rate * (noise - self.weight)
        return {"train/weight": float(self.weight.mean())}

    def attention_weights(self, context: Context) -> Tensor | None:
        return None

    def state(self) -> dict[str, Tensor]:
        return {"weight": self.weight}

    def load_state(self, state: Mapping[str, Tensor], source: str) -> None:
        self.weight = state["weight"]


@final
class FirstAction(AdaptivePolicy):
    """Always the first action."""

    def begin(self, mask: Tensor | None = None) -> None:
        pass

    def act(self, observation: Tensor) -> Tensor:
        return torch.zeros(self.num_tasks, dtype=torch.int64)

    def observe(self, transition: Transition) -> None:
        pass


def make_agent(fail_at: int = 0) -> FakeAgent:
    """One for bandits of three arms, which fails at this update; 0: never."""
    return FakeAgent(metarl.make("bernoulli-bandit", arms=3), FakeOptions(fail_at=fail_at), seed=1, device="cpu")
