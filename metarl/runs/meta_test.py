"""The meta-test of an agent, and of the classical baselines beside it, on the same tasks."""

import inspect
from dataclasses import dataclass
from typing import Any, final

from metarl.devices import resolve_device
from metarl.evaluation.evaluator import evaluate
from metarl.evaluation.results import Evaluation
from metarl.imports import import_attribute
from metarl.registry import applicable, baselines, find
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import AdaptivePolicy
from metarl.terminal import progress
from metarl.training.agent import Agent

SLOTS = 1000  # tasks that a policy plays side by side


@final
@dataclass(frozen=True)
class MetaTest:
    """The settings of a meta-test: the tasks, the length of the trials and how an agent acts in them."""

    distribution: TaskDistribution
    """Already restricted to the split to measure on."""
    num_tasks: int = 200
    """Tasks, one trial each."""
    num_episodes: int | None = None
    """Episodes in a trial; None: the distribution's."""
    seed: int = 0
    """Seed of the tasks and of every random draw; all policies meet the same tasks."""
    device: str = "auto"
    """Where environments and policies live."""
    deterministic: bool | None = None
    """Whether an agent takes its most likely actions or draws them; None: as suits it (see `Agent.policy`)."""

    @property
    def slots(self) -> int:
        """Number of tasks that are played at once."""
        return min(self.num_tasks, SLOTS)

    def play(self, policy: AdaptivePolicy, name: str, progress_bar: bool = True) -> Evaluation:
        """The evaluation of `policy` in these trials."""
        return evaluate(
            policy,
            self.distribution,
            self.num_tasks,
            self.num_episodes,
            self.seed,
            progress_bar=progress_bar,
            name=name,
        )

    def baseline(self, name: str) -> AdaptivePolicy:
        """The classical baseline called `name`, for these trials. ValueError if it does not know the kind of task."""
        made = import_attribute(find(name, baselines(), "classical baseline"))
        options: dict[str, Any] = {"device": resolve_device(self.device), "seed": self.seed}
        if "num_episodes" in inspect.signature(made).parameters:  # those that plan for the length of the trial
            options["num_episodes"] = self.num_episodes
        policy: AdaptivePolicy = made(self.distribution, self.slots, **options)
        return policy

    def agent(self, agent: Agent) -> AdaptivePolicy:
        """The policy of `agent` for these trials. Raises ValueError if it was trained with other spaces."""
        for what in ("observation_space", "action_space"):
            mine, theirs = getattr(agent.distribution, what), getattr(self.distribution, what)
            if mine != theirs:
                raise ValueError(
                    f"the agent was trained on {agent.distribution.name} with {what} {mine}; "
                    f"{self.distribution.name} has {theirs}"
                )
        return agent.policy(self.slots, deterministic=self.deterministic, seed=self.seed)

    def references(self) -> list[Evaluation]:
        """Every classical baseline that knows the kind of task."""
        names = progress(applicable(self.distribution), "references", leave=False)
        return [self.play(self.baseline(name), name, progress_bar=False) for name in names]
