"""Does adapting pay? RL² beside PPO that is the same in every task and PPO that sees it, on plugged-in families.

    python -m experiments.reproductions.gym_families pendulum acrobot --seeds 0 1
    python -m experiments.reproductions.gym_families --table

Agents learn from the same number of environment steps: RL² with a Transformer and with a GRU, its other options as they
are but for the size of a batch, as large as PPO's; Stable-Baselines3's PPO in tasks that change at every episode and
are not shown (domain randomisation); and the same PPO with the task in its observation (the oracle). Then each plays
the same trials of unseen tasks twice. One rule, fixed before the test, says which trial counts: RL² acts as it does by
default (drawn continuous actions, most likely discrete ones), PPO takes its most likely actions. A second column of the
table shows the other. A stopped run of RL² goes on when its command is repeated.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, final, get_args

import numpy as np
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

import metarl
from experiments.figures.gym_families import Method, gym_families_figure
from experiments.reproduction import (
    DOCS,
    Experiment,
    Numbers,
    finished_run,
    from_command_line,
    markdown,
    reproduce,
    results,
    write_row,
)
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.agents.sb3.model_policy import ModelPolicy, TaskModelPolicy
from metarl.devices import resolve_device
from metarl.evaluation.statistics import Interval, mean_interval
from metarl.reports.style import save_figure
from metarl.runs.folder import RunConfig
from metarl.sb3 import TaskVecEnv
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import AdaptivePolicy
from metarl.training.progress_bar import StepProgress
from metarl.training.teaching import Teaching

FIGURE = DOCS / "gym-families.png"
METHODS: tuple[Method, ...] = get_args(Method)
FAMILIES = {
    "cartpole": ("gym_family_definitions:cartpole", 1_000_000),
    "cartpole-wiring": ("gym_family_definitions:cartpole_wiring", 1_000_000),
    "pendulum": ("gym_family_definitions:pendulum", 2_000_000),
    "acrobot": ("gym_family_definitions:acrobot", 1_000_000),
    "lunar-lander": ("gym_family_definitions:lunar_lander", 2_000_000),
    "frozen-lake": ("frozen-lake", 1_000_000),
    "minigrid-hidden-goal": ("minigrid-hidden-goal", 1_000_000),
}
# One recipe of PPO for all families, with normalised observations and rewards, which it needs in some of them.
PPO_OPTIONS: dict[str, Any] = {"n_steps": 512, "batch_size": 256, "n_epochs": 10, "learning_rate": 3e-4}
ENVIRONMENTS = 16
BATCH_STEPS = ENVIRONMENTS * PPO_OPTIONS["n_steps"]
RL2_OPTIONS: dict[Method, RL2Options] = {
    "rl2": RL2Options(batch_steps=BATCH_STEPS),
    "rl2-gru": RL2Options(batch_steps=BATCH_STEPS, memory="gru"),
}
TAUGHT_BY: dict[Method, str] = {
    "rl2": str(Teaching(privileged_critic=True)),
    "rl2-gru": str(Teaching(privileged_critic=True)),
    "randomised": str(Teaching()),
    "oracle": "reward; privileged policy",
}
Play = Callable[[int, bool], AdaptivePolicy]  # how many tasks, and whether the most likely actions are taken


@dataclass(frozen=True)
class Families(Experiment):
    """Train and measure agents on some families, or print the table."""

    methods: tuple[Method, ...] = METHODS
    """Which agents."""
    steps: int | None = None
    """Environment steps of training; None: as in the table."""
    num_tasks: int = 200
    """Unseen tasks to play."""
    device: str = "cpu"
    """auto, cpu or cuda."""


def main(experiment: Families) -> None:
    reproduce(experiment, FAMILIES, run_family, show)


def show() -> None:
    print(table())
    save_figure(gym_families_figure(curves()), FIGURE)


def run_family(name: str, experiment: Families, seed: int) -> None:
    for method in experiment.methods:
        run(name, method, experiment, seed)


def run(name: str, method: Method, experiment: Families, seed: int) -> None:
    """Train one agent, let it play unseen tasks, and write its returns."""
    place, steps = FAMILIES[name]
    steps, family = experiment.steps or steps, metarl.make(place)
    if method in RL2_OPTIONS:
        config = RunConfig("rl2", place, {}, seed, steps, asdict(RL2_OPTIONS[method]))
        play, seconds = _rl2(f"gym_families/{name}-{method}-seed{seed}", config, experiment.device)
    else:
        play, seconds = _ppo(family, steps, seed, method == "oracle", experiment.device)
    returns = {}
    for deterministic in (True, False):
        policy = play(experiment.num_tasks, deterministic)
        result = metarl.evaluate(
            policy, family.split("test"), experiment.num_tasks, seed=1000 + seed, progress_bar=True
        )
        returns["most likely" if deterministic else "drawn"] = np.asarray(result.returns).round(3)
    row = {
        "family": name,
        "method": method,
        "seed": seed,
        "steps": steps,
        "command": f"python -m experiments.reproductions.gym_families {name} --methods {method} --seeds {seed} "
        f"--steps {steps} --num-tasks {experiment.num_tasks}",
        "actions": default_actions(family, method),
        "returns": {which: values.tolist() for which, values in returns.items()},
        "means": {which: values.mean(0).round(3).tolist() for which, values in returns.items()},
    }
    options = asdict(RL2_OPTIONS[method]) if method in RL2_OPTIONS else PPO_OPTIONS
    device = resolve_device(experiment.device)
    write_row(f"gym-{name}-{method}-seed{seed}", row, options, TAUGHT_BY[method], device, seconds)
    print(f"{name}, {method}, seed {seed}: episodes {row['means']}", flush=True)


def default_actions(family: TaskDistribution, method: Method) -> str:
    """Which actions count in the test."""
    drawn = method in RL2_OPTIONS and isinstance(family.action_space, spaces.Box)
    return "drawn" if drawn else "most likely"


def _rl2(folder: str, config: RunConfig, device: str) -> tuple[Play, float]:
    """How RL² plays, and the seconds of its training."""
    agent, seconds = finished_run(folder, config, RL2, device)
    return partial(agent.policy, seed=config.seed), seconds


def _ppo(family: TaskDistribution, steps: int, seed: int, privileged: bool, device: str) -> tuple[Play, float]:
    """How PPO plays, with or without the task in its observation, and the seconds of its training."""
    start = time.perf_counter()
    vector = _normalised(TaskVecEnv(family, ENVIRONMENTS, seed=seed, show_task=privileged))
    kind = "MultiInputPolicy" if privileged else "MlpPolicy"
    model = PPO(kind, vector, seed=seed, device=device, **PPO_OPTIONS).learn(steps, callback=StepProgress())
    policy = TaskModelPolicy if privileged else ModelPolicy

    def play(num_tasks: int, deterministic: bool) -> AdaptivePolicy:
        return policy(Normalised(model, vector), family, num_tasks, deterministic=deterministic)

    return play, time.perf_counter() - start


def _normalised(envs: TaskVecEnv) -> VecNormalize:
    """Rewards scaled, and of the observations what has a scale."""
    space = envs.observation_space
    if isinstance(space, spaces.Dict):
        return VecNormalize(envs, norm_obs_keys=[name for name, part in space.items() if isinstance(part, spaces.Box)])
    return VecNormalize(envs, norm_obs=isinstance(space, spaces.Box))


@final
class Normalised:
    """A model that sees observations as they were scaled in its training."""

    def __init__(self, model: PPO, statistics: VecNormalize) -> None:
        self.observation_space = model.observation_space
        self.action_space = model.action_space
        self._model = model
        self._statistics = statistics

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[Any, Any]:
        scaled = self._statistics.normalize_obs(observation)
        return self._model.predict(scaled, state, episode_start, deterministic)


def table() -> str:
    """A Markdown table: mean return of a trial's first and last episode with 95 % intervals over tasks, all seeds.

    The gain is that of the last episode over domain randomisation in the same tasks from the same first states.
    """
    ends = ("first episode", "last episode", "with the other actions")
    header = ("family", "agent", "taught by", *ends, "gain", "seeds", "steps", "minutes")
    lines = []
    for name in FAMILIES:
        for method in METHODS:
            if rows := measured(name, method):
                minutes = np.mean([row["seconds"] for row in rows]) / 60
                budget = (str(len(rows)), f"{rows[0]['steps']:,}", f"{minutes:.0f}")
                shown = (*_ends(rows, rows[0]["actions"]), " to ".join(_ends(rows, _other(rows[0]["actions"]))))
                lines.append((name, method, TAUGHT_BY[method], *shown, gain(name, method), *budget))
    return markdown(header, lines)


def _other(actions: str) -> str:
    return "drawn" if actions == "most likely" else "most likely"


def _ends(rows: list[dict[str, Any]], actions: str) -> tuple[str, str]:
    """The first and the last episode with these actions; without an interval where the file has the means alone."""
    if all(actions in row["returns"] for row in rows):
        interval = mean_interval([np.array(row["returns"][actions]) for row in rows])
        return _shown(interval, 0), _shown(interval, -1)
    means = np.mean([row["means"][actions] for row in rows], 0)
    return f"{means[0]:.2f}", f"{means[-1]:.2f}"


def gain(name: str, method: Method) -> str:
    """How much better the last episode is than domain randomisation's, over the seeds that both have."""
    others = {row["seed"]: row for row in measured(name, "randomised")}
    pairs = [(row, others[row["seed"]]) for row in measured(name, method) if row["seed"] in others]
    if method == "randomised" or not pairs:
        return ""
    if not all(row["actions"] in row["returns"] for row, _ in pairs):
        gained = [row["means"][row["actions"]][-1] - other["means"][other["actions"]][-1] for row, other in pairs]
        return f"{np.mean(gained):.2f}"
    for row, other in pairs:
        if (row["steps"], len(_returns(row))) != (other["steps"], len(_returns(other))):
            raise SystemExit(f"{row['command']!r} and {other['command']!r} differ in steps or tasks: run both alike")
    better = [_returns(row) - _returns(other) for row, other in pairs]
    return _shown(mean_interval(better), -1)


def curves() -> dict[str, dict[Method, Interval]]:
    """Returns of each episode of a trial with 95 % intervals over tasks, by family and method; what is measured."""
    found: dict[str, dict[Method, Interval]] = {}
    for name in FAMILIES:
        for method in METHODS:
            seeds = [_returns(row) for row in measured(name, method) if row["actions"] in row["returns"]]
            if seeds:
                found.setdefault(name, {})[method] = mean_interval(seeds)
    return found


def _returns(row: dict[str, Any]) -> Numbers:
    """Returns `[tasks, episodes]` with the actions that count."""
    return np.array(row["returns"][row["actions"]])


def measured(name: str, method: Method) -> list[dict[str, Any]]:
    """The result of every seed."""
    return results(f"gym-{name}-{method}-seed*")


def _shown(interval: Interval, episode: int) -> str:
    value, low, high = (part[episode] for part in interval)
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


if __name__ == "__main__":
    main(from_command_line(Families, FAMILIES))
