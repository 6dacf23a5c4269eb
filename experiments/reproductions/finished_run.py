"""A run trained to its end: what an experiment does before it measures."""

from pathlib import Path
from typing import TypeVar

import torch

from metarl.runs.folder import CONFIG, Run, RunConfig
from metarl.runs.training_loop import train
from metarl.training.agent import Agent

A = TypeVar("A", bound=Agent)


def finished_run(folder: Path, config: RunConfig, kind: type[A], device: str) -> tuple[A, float]:
    """The agent of this run after all its training, and the seconds that took.

    New, going on where it stopped, or trained before; SystemExit that says so if it is stopped.
    """
    run = Run.resume(folder, config) if (folder / CONFIG).exists() else Run.create(folder, config)
    distribution = config.make_distribution(trust=True)
    agent = kind(distribution, kind.Options(**config.options), seed=config.seed, device=device)
    if run.checkpoint.exists():
        agent.resume(run.checkpoint)
    print(
        f"{folder.name}: {config.total_timesteps:,} steps on {agent.device}, {torch.get_num_threads()} threads",
        flush=True,
    )
    if agent.num_timesteps < config.total_timesteps and train(run, agent) is not None:
        raise SystemExit(f"stopped; repeat the command to go on with {folder}")
    return agent, run.training_seconds()
