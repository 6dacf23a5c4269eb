"""All commands but `train` and `evaluate`; what takes long to import is imported where it is used."""

from pathlib import Path

import tyro

from metarl import registry
from metarl.cli.train import parse_options, search_here, summary
from metarl.imports import import_attribute
from metarl.registry import Kind, Plugin, plugins


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
