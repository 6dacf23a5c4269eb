"""Meta-World v3 (Yu et al. 2020, arXiv 1910.10897; McLean et al. 2025, arXiv 2505.11289): ML1, ML10 and ML45."""

import functools
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import gymnasium
import numpy as np
from gymnasium import spaces

from metarl.engines.gym_tasks import GymTasks
from metarl.evaluation.results import Evaluation
from metarl.imports import import_extra
from metarl.priors import Integers

ENTRIES = 6  # most numbers that a layout has: where the object starts and where it should go
HORIZON = 500
ADAPTATION, TESTING = 10, 3  # episodes, by the benchmark's protocol


def ml1(
    environment: str = "reach-v3", seed: int = 0, num_episodes: int = ADAPTATION + TESTING, workers: int = 0
) -> GymTasks:
    """Meta-World ML1: one manipulation environment; the goal is hidden; 50 training and 50 other test layouts."""
    known = import_extra("metaworld", "metaworld").ALL_V3_ENVIRONMENTS
    if environment not in known:
        raise ValueError(f"Meta-World has no environment {environment!r}; it has {', '.join(known)}")
    return _family(f"ml1-{environment}", Benchmark(environment, seed), num_episodes, workers)


def ml10(seed: int = 0, num_episodes: int = ADAPTATION + TESTING, workers: int = 0) -> GymTasks:
    """Meta-World ML10: ten manipulation environments to train on, five others to test on; the goal is hidden."""
    return _family("ml10-v3", Benchmark("ML10", seed), num_episodes, workers)


def ml45(seed: int = 0, num_episodes: int = ADAPTATION + TESTING, workers: int = 0) -> GymTasks:
    """Meta-World ML45: 45 manipulation environments to train on, five others to test on; the goal is hidden."""
    return _family("ml45-v3", Benchmark("ML45", seed), num_episodes, workers)


def success_rates(result: Evaluation, family: GymTasks, adaptation_episodes: int = ADAPTATION) -> dict[str, float]:
    """The share of the episodes after adaptation that succeeded, at any step, by environment.

    The benchmark's protocol is `evaluate(policy, family.split("test"))` with the family's 13 episodes: 10 to adapt in,
    then 3 that count. The mean over the environments is the benchmark's number.

    Raises ValueError unless `result` is an evaluation in `family` that has episodes after adaptation.
    """
    if not isinstance(family.make, Benchmark) or result.distribution != family.name or result.tasks is None:
        raise ValueError(f"{result.distribution} with its tasks is needed, and {family.name} is no such family")
    solved = result.success_after(adaptation_episodes)
    environment = np.asarray(result.tasks["environment"])
    names = family.make.environments
    return {names[index]: float(solved[environment == index].mean()) for index in np.unique(environment)}


def _family(name: str, benchmark: "Benchmark", episodes: int, workers: int) -> GymTasks:
    return GymTasks(
        f"meta-world-{name}",
        make=benchmark,
        parameters={
            "environment": Integers(0, len(benchmark.environments) - 1),
            "layout": spaces.Box(-1, 1, (ENTRIES,), np.float32),  # meters; the table and what is on it lie within
        },
        draw=benchmark.draw,
        max_episode_steps=HORIZON,
        num_episodes=episodes,
        show_tasks=True,  # of the layout the object's place can be seen, the goal cannot
        workers=workers,
    )


@final
@dataclass(frozen=True)
class Benchmark:
    """The tasks of one benchmark: which environment, and which of its layouts."""

    name: str
    """ML10, ML45, or the environment of an ML1, such as reach-v3."""
    seed: int
    """Which 50 + 50 layouts each environment has."""

    def __call__(self, render_mode: str | None = None) -> "Arm":
        return Arm(self.environments, render_mode)

    @property
    def environments(self) -> tuple[str, ...]:
        """Names, those of training first: a task counts them from 0."""
        return (*self._names["train"], *(name for name in self._names["test"] if name not in self._names["train"]))

    def draw(self, split: str, num_tasks: int, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        """Every environment of the split equally often, and no layout of it again before all were drawn."""
        names = self._names[split]
        drawn = _shuffled(len(names), num_tasks, rng)
        layout = np.zeros((num_tasks, ENTRIES))
        for index in np.unique(drawn):
            choices = _layouts(names[index], self.seed)[split]
            chosen = drawn == index
            layout[chosen] = choices[_shuffled(len(choices), int(chosen.sum()), rng)]
        numbers = np.array([self.environments.index(name) for name in names])
        return {"environment": numbers[drawn], "layout": layout}

    @property
    def _names(self) -> dict[str, tuple[str, ...]]:
        known = import_extra("metaworld", "metaworld").env_dict
        if self.name in ("ML10", "ML45"):
            return {split: tuple(kinds) for split, kinds in getattr(known, f"{self.name}_V3").items()}
        return {"train": (self.name,), "test": (self.name,)}


@final
class Arm(gymnasium.Env[Any, Any]):
    """A robot arm in the environment and layout of `options["task"]`, its goal zero in every observation.

    Observations, actions, rewards, `success` in the info and the horizon are the package's.
    """

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array", "depth_array"]}  # noqa: RUF012 - gymnasium's own

    def __init__(self, environments: tuple[str, ...], render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._environments = environments
        self._name, self._env = environments[0], _open(environments[0], render_mode)
        self.observation_space = self._env.observation_space
        self.action_space = self._env.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)  # nothing is random but the task, and the task is given
        task = (options or {})["task"]
        name = self._environments[int(task["environment"])]
        if name != self._name:
            self._env.close()
            self._name, self._env = name, _open(name, self.render_mode)
        _set_layout(self._env, name, np.asarray(task["layout"], np.float64))
        observation, info = self._env.reset()
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self._env.step(action)
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        return self._env.render()

    def close(self) -> None:
        self._env.close()


@final
class _Layout:
    """Answers an environment that asks for a layout; one that rejects what it gets would ask for ever."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self._answers = 8  # a reset asks once or twice

    def __call__(self) -> np.ndarray:
        self._answers -= 1
        if self._answers < 0:
            layout = self._values.tolist()
            raise ValueError(f"the environment refuses the layout {layout}: object and goal are too near to each other")
        return np.array(self._values)


def _open(name: str, render_mode: str | None) -> Any:
    return import_extra("metaworld", "metaworld").ALL_V3_ENVIRONMENTS[name](render_mode=render_mode)


def _set_layout(env: Any, name: str, padded: np.ndarray) -> None:
    layout = padded[: env._random_reset_space.low.size]
    task = {"rand_vec": layout, "env_cls": type(env), "partially_observable": True}
    env.set_task(import_extra("metaworld", "metaworld").Task(name, pickle.dumps(task)))  # as its benchmarks make them
    env._get_state_rand_vec = _Layout(layout)


@functools.lru_cache(maxsize=256)  # an environment's take about a second
def _layouts(environment: str, seed: int) -> dict[str, np.ndarray]:
    """The package's 50 training and 50 test layouts `[50, 6]` of an environment.

    The package's ML1 makes the training layouts from its seed and the test layouts from the next one: only even seeds
    are used, or the training layouts of one seed would be the test layouts of another.
    """
    benchmark = import_extra("metaworld", "metaworld").ML1(environment, seed=2 * seed)
    return {"train": _vectors(benchmark.train_tasks), "test": _vectors(benchmark.test_tasks)}


def _vectors(tasks: list[Any]) -> np.ndarray:
    layouts = [pickle.loads(task.data)["rand_vec"] for task in tasks]  # made in this process a moment ago
    return np.stack([np.pad(layout, (0, ENTRIES - len(layout))) for layout in layouts])


def _shuffled(size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of the numbers below `size`, none of them again before all have come."""
    return np.concatenate([rng.permutation(size) for _ in range(-(-count // size))])[:count]
