"""Adaptation curves of MAML, RL², fine-tuning and learning from scratch on one axis of environment steps.

    python -m experiments.reproductions.adaptation_curves             # train what is missing, measure, draw
    python -m experiments.reproductions.adaptation_curves rl2 scratch # some of them
    python -m experiments.reproductions.adaptation_curves --table     # what is measured so far

All meet the same 40 test goals of 2-D navigation through one evaluator and draw their actions. A stopped run goes on
when the command is repeated; what is in experiments/results/adaptation-curves.json is not measured again.
"""

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

import tyro

from experiments.figures.adaptation_curves import adaptation_curves_figure
from experiments.reproduction import DOCS, RESULTS, finished_run, markdown, refuse_unknown, rows_of_file, with_options
from experiments.reproductions.point_navigation import METHODS as MAML_METHODS
from experiments.reproductions.point_navigation import PROTOCOL, TEST, iteration_steps, test_options
from experiments.timing import hardware
from metarl.agents.in_context.options import RL2Options
from metarl.agents.sb3.fine_tuning import FineTuningOptions
from metarl.evaluation.evaluator import evaluate
from metarl.evaluation.results import Evaluation
from metarl.evaluation.statistics import mean_interval
from metarl.imports import import_attribute
from metarl.registry import agents, make
from metarl.reports.style import save_figure
from metarl.runs.folder import RunConfig
from metarl.training.agent import Agent

FILE, FIGURE = RESULTS / "adaptation-curves.json", DOCS / "point-navigation.png"
FAMILY = "point-navigation"
MAML_ITERATIONS, RL2_STEPS = 100, 2_000_000
RL2_OPTIONS = RL2Options(gamma=0.9999)  # ten trials ahead; with the default, 100 steps, the last episode is at -3
PRE_TRAINING_STEPS = 100_000  # the best of six lengths for what follows: longer, and it is too sure of standing still
BLOCK, UPDATES = 40, 9  # of PPO: episodes in a task before each update, and updates in a trial


@final
@dataclass(frozen=True)
class Method:
    """One line of the picture."""

    title: str
    agent: str
    options: Any  # in training
    run: str | None  # folder in runs/ without the seed; None: nothing is trained before the test
    steps: int  # of training, over all tasks
    episodes: int  # of a test trial
    block: int  # episodes that are averaged
    test: dict[str, Any] = field(default_factory=dict)  # options that differ in the test


def maml(title: str, name: str) -> Method:
    """Trained and tested as in experiments/reproductions/point_navigation.py, in the same run folders."""
    options = replace(MAML_METHODS[name], **PROTOCOL)
    steps, block = MAML_ITERATIONS * iteration_steps(options), TEST["test_rollouts"]
    episodes = block * (TEST["test_steps"] + 1)
    return Method(title, "maml", options, f"point_navigation/{name}", steps, episodes, block, test_options(options))


def ppo(title: str, **test: Any) -> Method:
    """Stable-Baselines3's PPO, pre-trained on all tasks once for all that need it."""
    run = "adaptation_curves/fine-tuning" if test.get("pretrained", True) else None
    changed = {"episodes_per_update": BLOCK, "updates_per_trial": UPDATES, **test}
    steps = PRE_TRAINING_STEPS if run else 0
    return Method(title, "fine-tuning", FineTuningOptions(), run, steps, BLOCK * (UPDATES + 1), BLOCK, changed)


METHODS = {
    "rl2": Method("RL²", "rl2", RL2_OPTIONS, "adaptation_curves/rl2", RL2_STEPS, episodes=10, block=1),
    "maml-trpo": maml("MAML", "maml-trpo"),
    "promp": maml("ProMP", "promp-per-layer"),
    "fine-tuning": ppo("fine-tuning", adapted_parameters="all"),
    "fine-tuning-head": ppo("fine-tuning, last layer", adapted_parameters="head"),
    "scratch": ppo("PPO from scratch", pretrained=False),
}


@dataclass(frozen=True)
class Experiment:
    """Train, measure and draw how fast each method adapts to unseen goals."""

    methods: tyro.conf.Positional[tuple[str, ...]] = tuple(METHODS)
    """Which: rl2, maml-trpo, promp, fine-tuning, fine-tuning-head, scratch."""
    seed: int = 0
    """Of training and of the test goals."""
    goals: int = 40
    """Test tasks."""
    device: str = "auto"
    """auto, cpu or cuda."""
    table: bool = False
    """Only print the table and draw the figure of what is measured."""
    results: Path = FILE
    """The JSON file that is read and extended."""
    figure: Path = FIGURE
    """Where the picture goes."""


def main(experiment: Experiment) -> None:
    refuse_unknown(experiment.methods, METHODS)
    rows = rows_of_file(
        experiment.results,
        METHODS,
        () if experiment.table else experiment.methods,
        is_measured=lambda row, name: is_measured(row, name, experiment),
        measure=lambda name: measure(name, experiment),
    )
    print(table(rows))
    save_figure(adaptation_curves_figure(rows, *limits()), experiment.figure)


def measure(name: str, experiment: Experiment) -> dict[str, Any]:
    """Train one method if it is not yet, and let it play trials on the test goals."""
    method = METHODS[name]
    agent, seconds = trained(method, experiment)
    tested = with_options(agent, **method.test)
    policy = tested.policy(experiment.goals, deterministic=False, seed=experiment.seed)
    test, seed = agent.distribution.split("test"), 1000 + experiment.seed
    result = evaluate(policy, test, experiment.goals, method.episodes, seed, progress_bar=True)
    return {
        **settings(name, experiment),
        "title": method.title,
        "taught_by": str(agent.teaching),
        "command": f"python -m experiments.reproductions.adaptation_curves {name} --seed {experiment.seed}",
        **curve(result, method.block),
        "training_seconds": round(seconds),
        "hardware": hardware(agent.device),
    }


def trained(method: Method, experiment: Experiment) -> tuple[Agent, float]:
    """The agent after all its training, and the seconds that took; from its run folder where it was trained before."""
    kind: type[Agent] = import_attribute(agents()[method.agent])
    seed = experiment.seed
    if method.run is None:
        return kind(make(FAMILY), method.options, seed=seed, device=experiment.device), 0.0
    config = RunConfig(method.agent, FAMILY, {}, seed, method.steps, asdict(method.options))
    return finished_run(f"{method.run}-seed{seed}", config, kind, experiment.device)


def options_in_test(method: Method) -> Any:
    """The agent's options in the test."""
    return replace(method.options, **method.test)


def curve(result: Evaluation, block: int) -> dict[str, Any]:
    """Steps per task until each block of episodes has ended, and the mean return of its episodes with its interval.

    ValueError unless the episodes of a trial are a number of whole blocks.
    """
    if result.num_episodes % block:
        raise ValueError(f"{result.num_episodes} episodes are no whole number of blocks of {block}")
    returns = result.returns.reshape(result.num_tasks, -1, block).mean(2)
    interval = mean_interval([returns])
    return {
        "episodes_in_block": block,
        "steps": result.ended.mean(0)[block - 1 :: block].round(1).tolist(),
        **{name: values.round(4).tolist() for name, values in interval._asdict().items()},
    }


def limits() -> tuple[float, float]:
    """Mean return of an episode of who knows the goal, and of who stands still: minus 100 times the mean distance.

    That distance, from the middle of a unit square to its points, is (sqrt 2 + asinh 1) / 6.
    """
    distribution = make(FAMILY)
    optimal = distribution.optimal_return(1)
    assert optimal is not None
    return optimal.total, -distribution.horizon * (math.sqrt(2) + math.asinh(1)) / 6


def settings(name: str, experiment: Experiment) -> dict[str, Any]:
    """What decides a row of the results, as JSON gives it back."""
    method = METHODS[name]
    options = json.loads(json.dumps(asdict(options_in_test(method))))
    return {
        "agent": method.agent,
        "options": options,
        "training_steps": method.steps,
        "seed": experiment.seed,
        "goals": experiment.goals,
        "episodes": method.episodes,
        "actions": "drawn",
    }


def is_measured(row: dict[str, Any], name: str, experiment: Experiment) -> bool:
    return settings(name, experiment).items() <= row.items()


def table(rows: dict[str, Any]) -> str:
    """Markdown: the first and the last block of each method, and the steps after which it was better than -5."""
    lines = []
    for row in rows.values():
        first, last = (f"{row['value'][i]:.2f} [{row['low'][i]:.2f}, {row['high'][i]:.2f}]" for i in (0, -1))
        lines.append((row["title"], f"{row['training_steps']:,}", first, last, steps_to(row, -5.0)))
    return markdown(("method", "training steps", "first block", "last block", "steps to -5"), lines)


def steps_to(row: dict[str, Any], level: float) -> str:
    """Steps spent in the task before the first block whose mean return reaches `level`."""
    before = [0.0, *row["steps"]]
    reached = [start for start, value in zip(before, row["value"], strict=False) if value >= level]
    return f"{reached[0]:,.0f}" if reached else f"more than {before[-1]:,.0f}"


if __name__ == "__main__":
    main(tyro.cli(Experiment, description=Experiment.__doc__))
