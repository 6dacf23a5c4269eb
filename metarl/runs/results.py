"""What measuring writes into a run folder, and reads from several."""

from collections.abc import Sequence
from pathlib import Path

import torch

from metarl import seeding
from metarl.evaluation.results import Evaluation
from metarl.reports.adaptation_plots import adaptation_figure
from metarl.reports.attention_plots import AttentionRecord
from metarl.reports.page import write_report
from metarl.reports.style import save_figure
from metarl.runs.folder import Run
from metarl.runs.meta_test import MetaTest
from metarl.training.agent import Agent
from metarl.training.logs import RETURN, Rows
from metarl.trials.context import Context, trial_context
from metarl.trials.recording import RecordedTrial, record_trial


def write_results(folder: Path, run: Run, trials: MetaTest, agent: Agent, results: Sequence[Evaluation]) -> Path:
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
        logs=_learning_curve(run),
        trial=trial,
        attention=attention_record(agent, trial),
        config=run.config.to_json(),
    )


def attention_record(agent: Agent, trial: RecordedTrial) -> AttentionRecord | None:
    """What the agent's policy reads at each step of `trial`; None where it has no attention to show."""
    read = agent.attention_weights(_context(trial, agent))
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
    rows = run.log()
    return {run.path.name: rows} if any(RETURN in row for row in rows) else {}


def _context(trial: RecordedTrial, agent: Agent) -> Context:
    """What the agent read in a recorded trial, as a batch of one."""
    tensors = (trial.observations, trial.actions, trial.rewards, trial.dones)
    return trial_context(*(torch.as_tensor(values, device=agent.device)[None] for values in tensors))


def _evaluation(run: Run, split: str) -> Evaluation:
    file = run.evaluation(split)
    if not file.exists():
        raise ValueError(f"{run.path} has no evaluation on {split}: metarl evaluate {run.path} --split {split}")
    return Evaluation.load(file)
