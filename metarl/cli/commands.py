"""The commands of the command line but `train`; what takes long to import is imported where it is used."""

from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from metarl import registry
from metarl.cli.train import parse_options, search_here, summary
from metarl.imports import import_attribute
from metarl.registry import Kind, Plugin, plugins
from metarl.terminal import say

if TYPE_CHECKING:
    from metarl.runs.folder import Run
    from metarl.tasks.distribution import TaskDistribution


def list_names() -> int:
    """Task distributions, agents and classical baselines, with one line each; those of other packages name theirs."""
    tables = {
        "Task distributions": _lines(registry.distributions()),
        "Task distributions from other packages": _lines(registry.adapted(), "distribution"),
        "Agents, for metarl train": _lines(registry.agents(), "agent"),
        "Classical baselines, for metarl evaluate": _lines(registry.baselines()),
    }
    width = max(len(name) for lines in tables.values() for name, _ in lines)
    for title, lines in tables.items():
        print(f"{title}\n" + "".join(f"  {name:<{width}}  {line}\n" for name, line in lines))
    return 0


def _lines(table: dict[str, str], kind: Kind | None = None) -> list[tuple[str, str]]:
    """A line for each name of metarl's own, and for each that an installed package adds."""
    own = [(name, summary(import_attribute(place))) for name, place in table.items()]
    return own + ([(plugin.name, _plugin_line(plugin, kind)) for plugin in plugins(kind)] if kind else [])


def _plugin_line(plugin: Plugin, kind: Kind) -> str:
    if plugin.name in registry.own(kind):
        return f"the name is metarl's own: use {plugin.place} for that of {plugin.package}"
    try:
        return f"{summary(registry.load_plugin(plugin))} ({plugin.package})"
    except ValueError as error:
        return "BROKEN: " + " ".join(str(error).split())


def train(agent: tyro.conf.Positional[str]) -> int:
    """Meta-train an agent in a run folder. `metarl train AGENT --help` shows what it takes.

    Args:
        agent: A name from `metarl list`, or module:Class of your own; its options follow.
    """
    from metarl.cli.train import train_agent

    return train_agent(agent, [])


def evaluate(
    subject: tyro.conf.Positional[str],
    split: str = "test",
    num_tasks: int = 200,
    num_episodes: int | None = None,
    seed: int = 0,
    distribution: str | None = None,
    env_kwargs: tuple[str, ...] = (),
    device: str = "auto",
    deterministic: bool = False,
    stochastic: bool = False,
    no_baselines: bool = False,
    trust: bool = False,
) -> int:
    """Let an agent, or a classical baseline, adapt to tasks it has never seen, and print how well it did.

    The folder of a run gets evaluation-SPLIT.json, evaluation-SPLIT.png and report.html.

    Args:
        subject: A run folder, or a classical baseline (see `metarl list`).
        split: train, test or ood.
        num_tasks: Tasks, one trial each.
        num_episodes: Episodes in a trial; None: what the agent was trained for, or the task distribution says.
        seed: Seed of the tasks; every policy meets the same ones.
        distribution: Task distribution of a classical baseline; for a run, another one than it was trained on.
        env_kwargs: Options of that task distribution as name=value, such as: arms=5 pulls=10
        device: auto (a GPU if there is one), cpu, cuda, cuda:1, ...
        deterministic: Take the most likely actions. Without this flag and the next, the agent acts as suits it.
        stochastic: Draw the actions.
        no_baselines: Leave out the classical baselines that otherwise stand beside an agent.
        trust: Run the code of modules that the run folder names, where metarl does not know it (see `metarl list`).
    """
    from metarl.evaluation.results import adaptation_table
    from metarl.runs.folder import Run, load
    from metarl.runs.meta_test import MetaTest
    from metarl.runs.results import write_results

    run = Run.open(subject) if Path(subject).is_dir() else None
    if run is None:
        registry.find(subject, registry.baselines(), "run folder or classical baseline")
    search_here(distribution, *([run.config.distribution, run.config.agent] if run and trust else []))
    family, chosen = _family(run, distribution, env_kwargs, trust), _chosen(deterministic, stochastic)
    if run is None:
        test = MetaTest(family.split(split), num_tasks, num_episodes, seed, device)
        print(adaptation_table([test.play(test.baseline(subject), subject)]))
        return 0
    if distribution is not None and family.name == run.family():
        trained_in = family  # whose module may have another name now
    else:
        trained_in = run.config.make_distribution(trust or distribution == run.config.distribution)  # named here
    agent = load(run.path, device, trained_in, trust)
    episodes = agent.trial_episodes if num_episodes is None and distribution is None else num_episodes
    test = MetaTest(family.split(split), num_tasks, episodes, seed, device, chosen)
    results = [test.play(test.agent(agent), run.config.agent), *([] if no_baselines else test.references())]
    say(adaptation_table(results))
    folder = run.path if distribution is None else run.path / family.name
    say(f"report: {write_results(folder, run, test, agent, results)}")
    return 0


def _chosen(deterministic: bool, stochastic: bool) -> bool | None:
    """Whether to take the most likely actions; None leaves it to the agent. ValueError if both flags are given."""
    if deterministic and stochastic:
        raise ValueError("--deterministic and --stochastic exclude each other")
    return deterministic if deterministic or stochastic else None


def compare(
    runs: tyro.conf.Positional[tuple[str, ...]], split: str = "test", figure: Path = Path("comparison.png")
) -> int:
    """Several runs in one table and one plot; runs that differ by their seed only are taken together.

    Args:
        runs: Run folders; each needs its evaluation on the split (`metarl evaluate`).
        split: train, test or ood.
        figure: Where to draw the returns and their intervals, a .png or .svg file.
    """
    from metarl.reports.comparison import compare as compare_settings
    from metarl.runs.results import by_setting

    comparison = compare_settings(by_setting(runs, split))
    print(comparison.table())
    comparison.save_figure(figure)
    print(f"drawn in {figure}")
    return 0


def check(
    subject: tyro.conf.Positional[str],
    env_kwargs: tuple[str, ...] = (),
    skip: tuple[str, ...] = (),
    seed: int = 0,
    timeout: float = 300.0,
) -> int:
    """Is a task distribution sound? One line for each clause of the contract; exit code 1 if one is broken.

    It plays a few hundred steps in tasks of each split, and says what it found and what to do about it: tasks,
    parameters or actions without effect, observations that tell the task, seeds that are ignored, ends and values that
    are not what they should be, environments that share something or leave something behind, crashes in some tasks.
    All of it happens in a process of its own, and whatever ends or stops that process is a finding.

    Args:
        subject: module:attribute of your own (the current folder is searched too), or a name from `metarl list`.
        env_kwargs: Options of the task distribution as name=value, such as: arms=5 pulls=10
        skip: Titles of clauses to leave out, in quotes, where a finding is what you mean.
        seed: Seed of the tasks and actions that are tried.
        timeout: Seconds that a clause may take; one that takes longer is broken, and the last that is asked.
    """
    from metarl.cli.examination import Examined

    search_here(subject)
    if not timeout > 0:
        raise ValueError(f"--timeout must be positive, got {timeout}")
    examined = Examined(subject, parse_options(env_kwargs), seed, skip, timeout)
    try:
        print(f"checking {examined.name}", flush=True)
        findings = []
        for finding in examined.findings():
            print(finding, flush=True)
            findings.append(finding)
    finally:
        examined.close()
    broken, count = sum(not finding.ok for finding in findings), len(findings)
    print(f"{broken} of {count} clauses broken" if broken else f"all {count} clauses hold")
    return int(broken > 0)


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
