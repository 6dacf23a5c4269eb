"""Gymnasium environments that people write by mistake, each with one flaw, and how they would be plugged in."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

import metarl
from metarl.engines.gym_tasks import GymTasks

Reset = tuple[Any, dict[str, Any]]
Step = tuple[Any, Any, Any, Any, Any]


class Walk(gymnasium.Env[Any, Any]):
    """A point on a line, moved by the action and pushed by the wind; the reward is -|x|. This one is sound."""

    observation_space: spaces.Space[Any] = spaces.Box(-100, 100, (1,), np.float32)
    action_space: spaces.Space[Any] = spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self) -> None:
        self.wind = 0.5
        self.drag = 0.1
        self.x = np.zeros(1, np.float32)
        self.time = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-0.1, 0.1, 1).astype(np.float32)
        self.time = 0
        return self.x.copy(), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        self.x = ((1 - self.drag) * self.x + action + self.wind).astype(np.float32)
        return self.x.copy(), -abs(float(self.x[0])), False, False, {}


class Deaf(Walk):
    def step(self, action: Any) -> Step:
        self.x = self.x + np.asarray(action, np.float32)
        return self.x.copy(), -abs(float(self.x[0])), False, False, {}


class HalfDeaf(Walk):
    def reset(self, **kwargs: Any) -> Any:
        self.drag = 0.1
        return super().reset(**kwargs)


class Stale(Walk):
    def __init__(self) -> None:
        super().__init__()
        self.push = 2 * self.wind

    def step(self, action: Any) -> Any:
        self.x = self.x + np.float32(self.push)
        return super().step(action)


class Unseeded(Walk):
    """Its generator is its own, and `reset(seed=...)` does not reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng()

    def step(self, action: Any) -> Any:
        return super().step(action + 0.1 * self.rng.normal(size=1))


class DrawsGlobally(Walk):
    def step(self, action: Any) -> Any:
        return super().step(action + 0.1 * np.random.normal(size=1))  # noqa: NPY002 - the flaw


class SeedsGlobally(Walk):
    """In every step, so that the state after it is always the same."""

    def step(self, action: Any) -> Any:
        np.random.seed(0)  # noqa: NPY002 - the flaw
        return super().step(action)


class TakesOver(Walk):
    def reset(self, **kwargs: Any) -> Any:
        np.seterr(all="raise")
        return super().reset(**kwargs)


class Telling(Walk):
    def reset(self, **kwargs: Any) -> Reset:
        super().reset(**kwargs)
        self.x = self.x + np.float32(self.wind)
        return self.x.copy(), {}


class LosesNumbers(Walk):
    def step(self, action: Any) -> Step:
        observation, *rest = super().step(action)
        return observation * (np.nan if self.time == 3 else 1), *rest


class NoReward(Walk):
    def step(self, action: Any) -> Step:
        observation, _, *rest = super().step(action)
        return observation, np.nan, *rest


class RewardInWords(Walk):
    def step(self, action: Any) -> Step:
        observation, _, *rest = super().step(action)
        return observation, None, *rest


class Outside(Walk):
    observation_space = spaces.Box(-0.1, 0.1, (1,), np.float32)


class WrongShape(Walk):
    def step(self, action: Any) -> Step:
        observation, *rest = super().step(action)
        return np.append(observation, 0), *rest


class Fractions(Walk):
    """Fractions where its space says integers."""

    observation_space = spaces.Discrete(50)

    def reset(self, **kwargs: Any) -> Reset:
        super().reset(**kwargs)
        return 20.5, {}


class Wandering(Walk):
    """Draws its own task at every reset that names none."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        observation, info = super().reset(seed=seed)
        if seed is None:
            self.wind = self.np_random.uniform(-1, 1)
        return observation, info


class Piling(Walk):
    """Its task is put in by a function that multiplies what is there already."""


class Shared(Walk):
    """Keeps its position in a class attribute."""

    position: ClassVar[np.ndarray] = np.zeros(1, np.float32)

    def reset(self, **kwargs: Any) -> Reset:
        observation, info = super().reset(**kwargs)
        self.position[:] = observation
        return observation, info

    def step(self, action: Any) -> Any:
        self.position[:] += np.float32(0.5 * self.wind)
        self.x = self.position.copy()
        return super().step(action)


class TimeUpIsTheEnd(Walk):
    def step(self, action: Any) -> Step:
        observation, reward, *_, info = super().step(action)
        return observation, reward, self.time >= 8, False, info


class FourValues(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, *_, info = super().step(action)
        return observation, reward, False, info


class Paralysed(Walk):
    def step(self, action: Any) -> Any:
        return super().step(np.zeros(1))


class NoInfo(Walk):
    def reset(self, **kwargs: Any) -> Any:
        return super().reset(**kwargs)[0]


class NeverRestarts(Walk):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        if seed is not None:
            super().reset(seed=seed)
        return self.x.copy(), {}


class Remembers(Walk):
    """What wore out in one task stays worn out in the next."""

    wear = 0.0

    def step(self, action: Any) -> Any:
        self.wear += abs(self.wind)
        return super().step(action * np.exp(-self.wear))


class Resizing(Walk):
    def reset(self, **kwargs: Any) -> Reset:
        observation, info = super().reset(**kwargs)
        size = 1 + int(self.wind > 0)
        self.observation_space = spaces.Box(-100, 100, (size,), np.float32)
        return observation.repeat(size), info


class Crashing(Walk):
    """Fails in the tasks of strong wind, one in ten."""

    def step(self, action: Any) -> Any:
        if self.wind > 0.8:
            raise ZeroDivisionError("blown away")
        return super().step(action)


class Aliasing(Walk):
    """Returns its own buffer, and writes into it at the next step."""

    def reset(self, **kwargs: Any) -> Reset:
        _, info = super().reset(**kwargs)
        return self.x, info

    def step(self, action: Any) -> Step:
        buffer = self.x
        following, *rest = super().step(action)
        buffer[:] = following
        self.x = buffer
        return buffer, *rest


class FarAway(Walk):
    """Walks around a place that float32 does not resolve."""

    observation_space: spaces.Space[Any] = spaces.Box(0, 2e9, (1,), np.float64)

    def reset(self, **kwargs: Any) -> Any:
        observation, info = super().reset(**kwargs)
        return 1e9 + observation.astype(np.float64), info

    def step(self, action: Any) -> Any:
        observation, *rest = super().step(action)
        return 1e9 + observation.astype(np.float64), *rest


def multiply(env: Any, task: dict[str, Any]) -> None:
    env.unwrapped.wind *= task["wind"]


def family(make: Callable[[], Any], **options: Any) -> GymTasks:
    settings: dict[str, Any] = {"parameters": {"wind": (-1, 1)}, "max_episode_steps": 8} | options
    return metarl.from_gym(make, **settings)


class Flaw(NamedTuple):
    """An environment, the options of its family, the clause that finds it out, and words of the finding."""

    make: type[Walk]
    options: dict[str, Any]
    clause: str
    words: str


BOTH = {"parameters": {"wind": (-1, 1), "drag": (0.1, 0.3)}}
FLAWS = [
    Flaw(Deaf, {}, "two tasks differ", "does the task reach the environment"),
    Flaw(HalfDeaf, BOTH, "every parameter makes a difference", "'drag' made no difference"),
    Flaw(Stale, {}, "what a constructor derives follows the task", "push, computed from wind"),
    Flaw(Unseeded, {}, "same task and seed, same dynamics", "self.np_random"),
    Flaw(DrawsGlobally, {}, "the global random state is untouched", "self.np_random"),
    Flaw(SeedsGlobally, {}, "the global random state is untouched", "self.np_random"),
    Flaw(TakesOver, {}, "settings of the whole process are untouched", "numpy's error handling"),
    Flaw(DrawsGlobally, {}, "same task and seed, same dynamics", "self.np_random"),
    Flaw(Telling, {}, "the first observation does not leak the task", "depends on the task"),
    Flaw(LosesNumbers, {}, "every task can be played", r"observation \[nan\] at step 3"),
    Flaw(NoReward, {}, "every task can be played", "reward nan at step 1"),
    Flaw(RewardInWords, {}, "reset and step return what gymnasium asks for", "reward must be a number, got None"),
    Flaw(Outside, {}, "values are finite and in their spaces", "lies outside.*: widen the space"),
    Flaw(WrongShape, {}, "every task can be played", r"observation of shape \(2,\), not \(1,\)"),
    Flaw(Fractions, {}, "reset and step return what gymnasium asks for", "observation 20.5 .*Discrete"),
    Flaw(FarAway, {}, "observations keep their differences in float32", r"around 1e\+09 in the entries \[0\].*wrapper"),
    Flaw(Wandering, {}, "two tasks differ", "not after a soft reset"),
    Flaw(Piling, {"apply": multiply}, "a task leaves nothing behind", "before it"),
    Flaw(Remembers, {}, "a task leaves nothing behind", "before it"),
    Flaw(Shared, {}, "slots never mix their tasks", "class attribute"),
    Flaw(
        TimeUpIsTheEnd,
        {"max_episode_steps": 8},
        "ends of the task and of time are told apart",
        "terminated=False, truncated=True",
    ),
    Flaw(FourValues, {}, "reset and step return what gymnasium asks for", "5 values.*got 4"),
    Flaw(Paralysed, {}, "actions make a difference", "ignore"),
    Flaw(NoInfo, {}, "reset and step return what gymnasium asks for", "observation and info"),
    Flaw(NeverRestarts, {}, "episodes restart in the same step, with final_obs", "last observation again"),
    Flaw(Resizing, {}, "every task can be played", "observation space is Box.* in the task .* in another"),
    Flaw(Crashing, {}, "every task can be played", "ZeroDivisionError: blown away"),
]
