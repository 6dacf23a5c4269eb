"""`metarl train`: from command-line arguments to a run folder that trains, or goes on."""

import contextlib
import dataclasses
import json
import math
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import tyro

from metarl import distributed
from metarl.devices import out_of_memory_says
from metarl.foreign import no_exit
from metarl.imports import installation
from metarl.registry import name_of, plain_options, registered, resolve
from metarl.terminal import say
from metarl.training.options import refuse_former_names

if TYPE_CHECKING:
    from metarl.runs.folder import Run, RunConfig
    from metarl.training.agent import Agent


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What `metarl train` takes besides the agent and its options."""

    distribution: str
    """Task distribution: a name from `metarl list`, or module:attribute of your own."""
    env_kwargs: tuple[str, ...] = ()
    """Options of the task distribution as name=value, such as: arms=5 pulls=10"""
    total_timesteps: int = 1_000_000
    """Environment steps in all, summed over all environments; a resumed run may go further than it first meant to."""
    seed: int = 0
    """The one seed of every random stream."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ... Under torchrun each process takes a GPU of its own."""
    run_dir: Path | None = None
    """Run folder; by default runs/ and a name made of everything that differs from the defaults."""
    resume: bool = False
    """Go on exactly where the run stopped: repeat its command with --resume."""
    save_every: float = 60.0
    """Seconds between checkpoints."""
    agent: Any = None  # its options: the command of each agent puts their class here


def train_agent(name: str, arguments: Sequence[str]) -> int:
    """`metarl train NAME ...`; returns 0 when the run is complete, 128 + n when signal n stopped it."""
    from metarl.training.agent import find_agent

    search_here(name)
    agent_class = find_agent(name)
    launch = _parse(name, agent_class, arguments)
    again = shlex.join(["metarl", "train", name, *(a for a in arguments if a != "--resume"), "--resume"])
    with distributed.joined(launch.device), no_exit():
        with out_of_memory_says("choose smaller options, or a smaller family"):
            run, agent = _start(name, agent_class, launch)
        return _train(run, agent, launch, again)


def search_here(*names: str | None) -> None:
    """Let Python look for modules in the current folder, where one of `names` is `module:attribute` of the user's own.

    Not otherwise: the current folder may be a run that somebody else sent, with modules in it.
    """
    if any(":" in name for name in names if name) and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Options from `name=value` texts; a value is a number, true, false, null, a flat JSON list, or else text.

    >>> parse_options(["arms=5", "size=[9, 9]", "kind=dense"])
    {'arms': 5, 'size': (9, 9), 'kind': 'dense'}

    Raises ValueError for a text without `=`, or a value that is nested.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"an option is written name=value, got {pair!r}")
        options[name] = _value(text)
    return plain_options(options, "--env-kwargs")


def folder_name(config: "RunConfig", defaults: Mapping[str, Any]) -> str:
    """A name for the run: agent, distribution, what differs from the agent's `defaults`, and the seed."""
    changed = {name: value for name, value in config.options.items() if value != defaults.get(name)}
    settings = [f"{name}={value}" for name, value in {**config.distribution_options, **changed}.items()]
    names = [name.rpartition(":")[2] for name in (config.agent, config.distribution)]
    return "-".join(re.sub(r"[^\w.=,-]+", "_", part) for part in (*names, *settings, f"seed={config.seed}"))


def summary(documented: object) -> str:
    """The first line of a docstring."""
    return (documented.__doc__ or "").strip().partition("\n")[0]


def _parse(name: str, agent_class: "type[Agent]", arguments: Sequence[str]) -> Launch:
    """Flags of `Launch` and of the agent's options side by side; ValueError for what a flag was called before."""
    fields = [("agent", agent_class.Options, dataclasses.field(default_factory=agent_class.Options))]
    command = dataclasses.make_dataclass("Train", fields, bases=(Launch,), frozen=True, kw_only=True)
    flags = [a[2:].partition("=")[0].replace("-", "_").removeprefix("no_") for a in arguments if a.startswith("--")]
    refuse_former_names(flags, agent_class.Options)
    refuse_former_names(flags, Launch)
    parsed: Any = tyro.cli(
        command,
        prog=f"metarl train {name}",
        description=summary(agent_class),
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return cast(Launch, parsed)


def _start(name: str, agent_class: "type[Agent]", launch: Launch) -> "tuple[Run, Agent]":
    """The run and its agent, new or where it stopped; nothing is written before every setting has proved valid."""
    from metarl.runs.folder import Run, RunConfig
    from metarl.training.description import ranges

    if not launch.save_every >= 0:
        raise ValueError(f"--save-every must be at least 0, got {launch.save_every}")
    if launch.total_timesteps < 1:
        raise ValueError(f"--total-timesteps must be at least 1, got {launch.total_timesteps}")
    search_here(launch.distribution)
    family = name_of(resolve(launch.distribution, "distribution"), "distribution") or launch.distribution
    given = parse_options(launch.env_kwargs)
    config = RunConfig(
        name_of(agent_class, "agent") or name,
        family,
        given,
        launch.seed,
        launch.total_timesteps,
        asdict(launch.agent),
        processes=distributed.size(),
    )
    folder = launch.run_dir or Path("runs") / folder_name(config, asdict(agent_class.Options()))
    distribution = config.make_distribution(trust=True)  # the command names it
    agent = agent_class(distribution, launch.agent, seed=launch.seed, device=launch.device)
    config = dataclasses.replace(config, teaching=asdict(agent.teaching), ranges=ranges(distribution))
    agent.check_processes()
    if distributed.rank() > 0:
        return Run(folder, config), agent  # the first process alone reads and writes there, and tells it what to know
    if not launch.resume:
        return Run.create(folder, config), agent
    run = Run.resume(folder, config, distribution.name)
    if run.checkpoint.exists():
        agent.resume(run.checkpoint)
    return run, agent


def _train(run: "Run", agent: "Agent", launch: Launch, again: str) -> int:
    """Train and say how it went; `again` is the command that goes on."""
    import torch

    from metarl.runs.training_loop import train
    from metarl.training.logs import has_tensorboard

    tell = say if distributed.rank() == 0 else _silent
    alone = distributed.size() == 1
    place = f"{agent.device}" if alone else f"{agent.device} in {distributed.size()} processes"
    tell(
        f"{run.config.agent} on {agent.distribution.name}: {launch.total_timesteps:,} steps on {place}, into {run.path}"
    )
    tell(f"learns from {agent.teaching}")
    if agent.num_timesteps:
        tell(f"going on at step {agent.num_timesteps:,}")
    if run.config.threads not in (0, torch.get_num_threads()):
        tell(f"started with {run.config.threads} threads of torch, now {torch.get_num_threads()}: the last bits differ")
    if not has_tensorboard():
        tell(f"curves go to progress.csv only: {installation('tensorboard')} adds TensorBoard")
    stopped_by = train(run, agent, seconds_between_checkpoints=launch.save_every)
    if stopped_by is None:
        foreign = not registered(run.config.agent, "agent") or not registered(run.config.distribution, "distribution")
        command = f"metarl evaluate {shlex.quote(str(run.path))}{' --trust' if foreign else ''}"
        tell(f"complete at step {agent.num_timesteps:,}; next: {command}")
        return 0
    tell(f"saved at step {agent.num_timesteps:,}; go on with: {'' if alone else 'the same torchrun -m '}{again}")
    return 128 + stopped_by


def _silent(text: str) -> None:
    pass


def _value(text: str) -> Any:
    for read in (json.loads, float):  # float: .5 and 1. are numbers, though not in JSON
        with contextlib.suppress(ValueError):
            value = read(text)
            return value if math.isfinite(value if isinstance(value, float) else 0) else text  # nan is a word
    return text
