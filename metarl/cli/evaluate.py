"""The command `metarl evaluate`: an agent, or a classical baseline, in tasks it has never seen."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import tyro

from metarl import registry
from metarl.cli.train import parse_options, search_here
from metarl.terminal import say

if TYPE_CHECKING:
    from metarl.runs.folder import Run
    from metarl.runs.meta_test import MetaTest
    from metarl.tasks.distribution import TaskDistribution


@final
@dataclass(frozen=True)
class Trials:
    """Which trials are played, and how."""

    split: str = "test"
    """train, test or ood."""
    num_tasks: int = 200
    """Tasks, one trial each."""
    num_episodes: int | None = None
    """Episodes in a trial; None: what the agent was trained for, or the task distribution says."""
    seed: int = 0
    """Seed of the tasks; every policy meets the same ones."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""
    deterministic: bool = False
    """Take the most likely actions. Without this flag and the next, the agent acts as suits it."""
    stochastic: bool = False
    """Draw the actions."""

    def of(self, family: "TaskDistribution", num_episodes: int | None) -> "MetaTest":
        """These trials in tasks of `family`; ValueError if both flags that choose the actions are given."""
        from metarl.runs.meta_test import MetaTest

        if self.deterministic and self.stochastic:
            raise ValueError("--deterministic and --stochastic exclude each other")
        chosen = self.deterministic if self.deterministic or self.stochastic else None
        return MetaTest(family.split(self.split), self.num_tasks, num_episodes, self.seed, self.device, chosen)


def evaluate(
    subject: tyro.conf.Positional[str],
    trials: tyro.conf.OmitArgPrefixes[Trials] = Trials(),
    distribution: str | None = None,
    env_kwargs: tuple[str, ...] = (),
    no_baselines: bool = False,
    trust: bool = False,
) -> int:
    """Let an agent, or a classical baseline, adapt to tasks it has never seen, and print how well it did.

    The folder of a run gets evaluation-SPLIT.json, evaluation-SPLIT.png and report.html.

    Args:
        subject: A run folder, or a classical baseline (see `metarl list`).
        trials: Which trials.
        distribution: Task distribution of a classical baseline; for a run, another one than it was trained on.
        env_kwargs: Options of that task distribution as name=value, such as: arms=5 pulls=10
        no_baselines: Leave out the classical baselines that otherwise stand beside an agent.
        trust: Run the code of modules that the run folder names, where metarl does not know it (see `metarl list`).
    """
    from metarl.runs.folder import Run

    if not Path(subject).is_dir():
        registry.find(subject, registry.baselines(), "run folder or classical baseline")
        search_here(distribution)
        return _evaluate_baseline(subject, _family(None, distribution, env_kwargs, trust), trials)
    run = Run.open(subject)
    run.check_checkpoint()
    search_here(distribution, *([run.config.distribution, run.config.agent] if trust else []))
    return _evaluate_run(run, _family(run, distribution, env_kwargs, trust), trials, distribution, no_baselines, trust)


def _evaluate_baseline(name: str, family: "TaskDistribution", trials: Trials) -> int:
    from metarl.evaluation.results import adaptation_table

    test = trials.of(family, trials.num_episodes)
    say(adaptation_table([test.play(test.baseline(name), name)]))
    return 0


def _evaluate_run(
    run: "Run", family: "TaskDistribution", trials: Trials, distribution: str | None, no_baselines: bool, trust: bool
) -> int:
    from metarl.evaluation.results import adaptation_table
    from metarl.runs.folder import load
    from metarl.runs.results import write_results

    if distribution not in (None, run.config.distribution) and family.name == run.family():
        trained_in = family  # whose module may have another name now
    else:
        trained_in = run.config.make_distribution(trust or distribution == run.config.distribution)  # named here
    agent = load(run.path, trials.device, trained_in, trust)
    as_trained = trials.num_episodes is None and distribution is None
    test = trials.of(family, agent.trial_episodes if as_trained else trials.num_episodes)
    results = [test.play(test.agent(agent), run.config.agent), *([] if no_baselines else test.references())]
    say(adaptation_table(results))
    folder = run.path if distribution is None else run.path / family.name
    say(f"report: {write_results(folder, run, test, agent, results)}")
    return 0


def _family(
    run: "Run | None", distribution: str | None, env_kwargs: tuple[str, ...], trust: bool
) -> "TaskDistribution":
    """The task distribution that was asked for, else that of the run."""
    if distribution is not None:
        return registry.make(distribution, **parse_options(env_kwargs))
    if env_kwargs:
        raise ValueError("--env-kwargs belongs to --distribution, which is not given")
    if run is None:
        raise ValueError("a classical baseline needs --distribution")
    return run.config.make_distribution(trust)
