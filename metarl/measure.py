"""Measuring what a run learned: the agent and the classical learners beside it, on the same tasks."""

import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from tqdm import tqdm

from metarl import seeding
from metarl.agent import AdaptivePolicy, Agent, resolve_device
from metarl.attention_plots import AttentionRecord
from metarl.evaluation import evaluate
from metarl.figures import save_figure
from metarl.plots import Rows, adaptation_figure, return_column
from metarl.recording import Trial, record_trial
from metarl.registry import find, import_attribute, learners
from metarl.report import write_report
from metarl.results import Evaluation
from metarl.runs import Run
from metarl.tasks import TaskDistribution
from metarl.trajectories import Trajectories

SLOTS = 1000  # tasks that a policy lives through side by side


@final
@dataclass(frozen=True)
class Trials:
    """What is measured: the tasks, the length of the trials and how an agent acts in them."""

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
        options: dict[str, Any] = {"device": resolve_device(self.device), "seed": self.seed}
        if "num_episodes" in inspect.signature(learner).parameters:  # those that plan for the length of the trial
            options["num_episodes"] = self.num_episodes
        policy: AdaptivePolicy = learner(self.distribution, self.slots, **options)
        return policy

    def agent(self, agent: Agent) -> AdaptivePolicy:
        """The policy of `agent` for these trials; ValueError if it was made for other spaces."""
        for what in ("observation_space", "action_space"):
            mine, theirs = getattr(agent.distribution, what), getattr(self.distribution, what)
            if mine != theirs:
                raise ValueError(
                    f"the agent was trained on {agent.distribution.name} with {what} {mine}; "
                    f"{self.distribution.name} has {theirs}"
                )
        return agent.policy(self.slots, deterministic=self.deterministic, seed=self.seed)

    def references(self) -> list[Evaluation]:
        """Every classical learner that suits the distribution."""
        names = tqdm(importlib.import_module("metarl.agents").suited(self.distribution), "references", leave=False)
        return [self.play(self.learner(name), name, progress=False) for name in names]


def write_results(folder: Path, run: Run, trials: Trials, agent: Agent, results: Sequence[Evaluation]) -> Path:
    """Write evaluation-SPLIT.json and .png and report.html about `results`, the agent's own first; returns the page."""
    file = folder / f"evaluation-{trials.distribution.split_name}.json"
    results[0].save(file)
    save_figure(adaptation_figure(results), file.with_suffix(".png"))
    task = trials.distribution.sample(1, seeding.generator(trials.seed, "shown task"))
    policy = agent.policy(1, deterministic=trials.deterministic, seed=trials.seed)
    trial = record_trial(policy, trials.distribution, task, trials.num_episodes, trials.seed, name=results[0].policy)
    return write_report(
        folder / "report.html",
        title=f"{run.config.agent} on {trials.distribution.name}",
        evaluations=results,
        progress=_learning_curve(run),
        trial=trial,
        attention=attention_record(agent, trial),
        config=run.config.to_json(),
    )


def attention_record(agent: Agent, trial: Trial) -> AttentionRecord | None:
    """What the agent's policy reads at each step of `trial`; None where it has no attention to show."""
    read = agent.attention_weights(_trajectory(trial, agent).context())
    return None if read is None else AttentionRecord(read[0].cpu().numpy(), trial.rewards, trial.dones)


def by_setting(folders: Sequence[str | Path], split: str) -> dict[str, list[Evaluation]]:
    """The evaluations in run folders by setting: runs that differ by their seed only are taken together.

    A setting is called by its agent and what differs from the other settings of that agent.
    Raises ValueError where a folder holds no run, or no evaluation on `split`.
    """
    runs = [Run.open(folder) for folder in folders]
    settings = [run.config.setting() for run in runs]
    groups: dict[str, list[Evaluation]] = {}
    for run, setting in zip(runs, settings, strict=True):
        rivals = [other for other in settings if other["agent"] == setting["agent"]]
        varying = [name for name in setting if any(other.get(name) != setting[name] for other in rivals)]
        name = " ".join([run.config.agent, *(f"{name.rpartition('.')[2]}={setting[name]}" for name in varying)])
        groups.setdefault(name, []).append(_evaluation(run, split))
    return groups


def _learning_curve(run: Run) -> dict[str, Rows]:
    """The logs of a run by its name; nothing where the agent logged no return to draw."""
    rows = run.progress()
    try:
        return_column(rows)
    except ValueError:
        return {}
    return {run.path.name: rows}


def _trajectory(trial: Trial, agent: Agent) -> Trajectories:
    """A recorded trial as a batch of one."""
    tensors = (trial.observations, trial.actions, trial.rewards, trial.dones)
    observations, actions, rewards, dones = (torch.as_tensor(values, device=agent.device)[None] for values in tensors)
    never = torch.zeros_like(dones)
    return Trajectories(trial.task, observations, actions, rewards, dones, never, torch.zeros_like(rewards))


def _evaluation(run: Run, split: str) -> Evaluation:
    file = run.evaluation(split)
    if not file.exists():
        raise ValueError(f"{run.path} has no evaluation on {split}: metarl evaluate {run.path} --split {split}")
    return Evaluation.load(file)
