"""What two processes do for `test_distributed.py`: `torchrun tests/torchrun_script.py FOLDER`.

Each notes in FOLDER what it lived through and what it knows then. At the end one of them is killed.
"""

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

import metarl
from metarl import distributed
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.agents.outer_loop.expert_labels import ExpertLabels
from metarl.cli.entry import main
from metarl.cli.train import train_agent
from metarl.functional.trust_region import natural_step
from metarl.training.agent import Agent
from metarl.training.checkpoints import save_checkpoint
from metarl.trials.rollouts import collect
from metarl.trials.trajectories import Trajectories

SMALL = RL2Options(width=8, num_layers=1, num_minibatches=2, n_epochs=2, critic_epochs=1, critic_minibatches=2)
BANDIT = ["--distribution", "bernoulli-bandit", "--env-kwargs", "arms=3", "pulls=5"]
RUN = [
    *BANDIT,
    "--batch-steps=100",
    "--memory=gru",
    "--width=8",
    "--num-layers=1",
    "--num-minibatches=2",
    "--critic-epochs=0",
]
RUN += ["--n-epochs=1", "--total-timesteps=600", "--device=cpu", "--save-every=0"]  # six updates


def few_conjugate_gradients() -> Any:
    """A patch: ten of them would blow up the rounding of sums in another order, a few show the same."""
    return patch("metarl.agents.gradient.meta_updates.natural_step", partial(natural_step, iterations=3))


def cases() -> dict[str, Agent]:
    """New agents; 16 trials or 4 tasks in a batch."""
    points, grid = metarl.make("point-navigation"), metarl.make("grid-navigation")
    gru = replace(SMALL, memory="gru", imitation_fraction=0.0, batch_steps=16 * points.horizon)
    tiny = MAMLOptions(width=8, meta_batch_size=4, rollouts_per_task=3)
    return {
        "imitation": RL2(grid, replace(SMALL, batch_steps=16 * 60), device="cpu"),
        "reinforcement": RL2(points, gru, device="cpu"),
        "trust region": MAML(points, replace(tiny, exploration_credit=1.0, fisher_fraction=0.5), device="cpu"),
        "ppo": MAML(points, replace(tiny, outer="ppo", inner_kl=0.1, inner_update="per-parameter"), device="cpu"),
        "reptile": MAML(points, replace(tiny, outer="reptile", second_order=False), device="cpu"),
    }


class Recorder:
    """`collect`, noting every batch of trials and, where an expert is imitated, its labels."""

    def __init__(self) -> None:
        self.noted: dict[str, Tensor] = {}
        self.calls = 0

    def __call__(self, policy: Any, *arguments: Any, **options: Any) -> Trajectories:
        trajectories = collect(policy, *arguments, **options)
        fields = {name: x for name, x in vars(trajectories).items() if name != "tasks"}
        fields |= {f"tasks.{name}": x for name, x in trajectories.tasks.parameters.items()}
        if isinstance(policy, ExpertLabels):
            fields["expert_labels"] = torch.stack(policy._labels, 1)
        self.noted |= {f"{self.calls}/{name}": x for name, x in fields.items()}
        self.calls += 1
        return trajectories


def first_updates(folder: Path) -> None:
    """One update of each agent: the trials of this process, and the state after it."""
    for name, agent in cases().items():
        recorder = Recorder()
        with patch(f"{type(agent).__module__}.collect", recorder):
            agent.learn(1)
        save_checkpoint(folder / f"{name}-{distributed.rank()}", {**recorder.noted, **state_of(agent)}, {})


def state_of(agent: Agent) -> dict[str, Tensor]:
    return {f"state/{name}": x for name, x in agent.state().items()}


class Comparison(BaseCallback):
    """Counts the updates after which this process knows something else than the first, and ends with the 50th."""

    def __init__(self) -> None:
        super().__init__()
        self.updates = self.different = 0

    def _on_step(self) -> bool:
        return self.updates < 49

    def _on_rollout_end(self) -> None:
        state: dict[str, Tensor] = self.model.state()  # type: ignore[attr-defined]  # the model is an Agent
        own = torch.cat([x.double().flatten() for x in state.values()])
        self.updates += 1
        self.different += not torch.equal(distributed.from_first({"all": own})["all"], own)


def fifty_updates() -> dict[str, tuple[int, int]]:
    """Updates, and after how many of them the processes differed."""
    bandit = metarl.make("bernoulli-bandit", arms=3, pulls=5)
    agents = {
        "rl2": RL2(
            bandit, replace(SMALL, memory="gru", episodic_retrieval=False, batch_steps=40, n_epochs=1), device="cpu"
        ),
        "maml": MAML(bandit, MAMLOptions(meta_batch_size=2, rollouts_per_task=4, width=8), device="cpu"),
    }
    found = {}
    for name, agent in agents.items():
        comparison = Comparison()
        agent.learn(10**9, comparison)
        found[name] = comparison.updates, comparison.different
    return found


def interrupted(folder: Path) -> list[int]:
    """Exit codes of a run that one process was asked to stop in its fourth update, and of the rest of it."""
    update = RL2.train_step

    def ask(agent: RL2, *arguments: Any) -> dict[str, float]:
        if agent.updates == 3 and distributed.rank() == 1:
            signal.raise_signal(signal.SIGINT)
        return update(agent, *arguments)

    with patch.object(RL2, "train_step", ask):
        first = train_agent("rl2", [*RUN, f"--run-dir={folder}"])
    return [first, train_agent("rl2", [*RUN, f"--run-dir={folder}", "--resume"])]


def refusals(folder: Path, lonely: RL2) -> dict[str, str]:
    """What is said to settings that cannot be."""
    family = lonely.distribution
    seed = distributed.rank()
    attempts: dict[str, Callable[[], object]] = {
        "fine-tuning": lambda: train_agent("fine-tuning", [*BANDIT, "--device=cpu", f"--run-dir={folder}"]),
        "odd tasks": lambda: MAML(family, MAMLOptions(meta_batch_size=3), device="cpu"),
        "trained alone": lambda: lonely.learn(200),
        "other seed": lambda: RL2(family, SMALL, seed=seed, device="cpu").learn(10),
        "a gpu by number": lambda: distributed._take_gpu("cuda:1", 0),
    }
    return {name: complaint(attempt) for name, attempt in attempts.items()}


def complaint(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except ValueError as error:
        return str(error)
    return "nothing"


def killed(folder: Path) -> None:
    """A run in which the second process is killed in the fifth update, after it has collected its trials."""
    calls = itertools.count()

    def collect_or_die(*arguments: Any, **options: Any) -> Trajectories:
        trajectories = collect(*arguments, **options)
        if next(calls) == 4 and distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return trajectories

    with patch("metarl.agents.in_context.rl2.collect", collect_or_die):
        main(["train", "rl2", *RUN, f"--run-dir={folder}"])


def everything(folder: Path) -> None:
    alone = RL2(metarl.make("bernoulli-bandit", arms=3, pulls=5), SMALL, device="cpu").learn(100)
    with distributed.joined("cpu"):
        with few_conjugate_gradients():
            first_updates(folder)
        notes = {
            "updates": fifty_updates(),
            "whole": train_agent("rl2", [*RUN, f"--run-dir={folder / 'whole'}"]),
            "interrupted": interrupted(folder / "interrupted"),
            "refusals": refusals(folder / "refused", alone),
        }
        (folder / f"notes-{distributed.rank()}.json").write_text(json.dumps(notes))
        killed(folder / "killed")


if __name__ == "__main__":
    everything(Path(sys.argv[1]))
