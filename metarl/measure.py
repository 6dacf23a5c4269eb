"""Measuring what a run learned: the agent and the classical learners beside it, on the same tasks."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from metarl.agent import AdaptivePolicy, Agent, load, resolve_device
from metarl.evaluation import evaluate
from metarl.figures import save_figure
from metarl.plots import adaptation_figure
from metarl.registry import find, import_attribute, learners
from metarl.results import Evaluation
from metarl.runs import Run
from metarl.tasks import TaskDistribution

SLOTS = 1000  # tasks that a policy lives through side by side


@final
@dataclass(frozen=True)
class Trials:
    """What is measured: the tasks and the length of the trials."""

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

    @property
    def slots(self) -> int:
        """Tasks that are played side by side."""
        return min(self.num_tasks, SLOTS)

    def play(self, policy: AdaptivePolicy, name: str, progress: bool = True) -> Evaluation:
        """How `policy` does in these trials."""
        return evaluate(
            policy, self.distribution, self.num_tasks, self.num_episodes, self.seed, progress=progress, name=name
        )

    def learner(self, name: str) -> AdaptivePolicy:
        """The classical learner called `name` for these trials; ValueError if it does not suit the distribution."""
        learner = import_attribute(find(name, learners(), "classical learner"))
        policy: AdaptivePolicy = learner(
            self.distribution, self.slots, device=resolve_device(self.device), seed=self.seed
        )
        return policy

    def agent(self, agent: Agent, stochastic: bool = False) -> AdaptivePolicy:
        """The policy of `agent` for these trials; ValueError if it was made for other spaces."""
        for what in ("observation_space", "action_space"):
            mine, theirs = getattr(agent.distribution, what), getattr(self.distribution, what)
            if mine != theirs:
                raise ValueError(
                    f"the agent was trained on {agent.distribution.name} with {what} {mine}; "
                    f"{self.distribution.name} has {theirs}"
                )
        return agent.policy(self.slots, deterministic=not stochastic, seed=self.seed)

    def references(self) -> list[Evaluation]:
        """Every classical learner that suits the distribution."""
        names = importlib.import_module("metarl.agents").suited(self.distribution)
        return [self.play(self.learner(name), name) for name in names]


def load_run(run: Run, device: str = "auto") -> Agent:
    """The agent in the last checkpoint of a run; ValueError if there is none yet."""
    if not run.checkpoint.exists():
        raise ValueError(f"{run.path} has no checkpoint yet: train it further with --resume")
    return load(run.checkpoint, device, run.config.make_distribution())


def write_results(folder: Path, results: Sequence[Evaluation]) -> Path:
    """Write the first evaluation as JSON and all of them as a figure; returns the JSON file."""
    file = folder / f"evaluation-{results[0].split}.json"
    results[0].save(file)
    save_figure(adaptation_figure(results), file.with_suffix(".png"))
    return file
