"""How a family makes its environments, and what it takes from one of them: spaces, horizon and a name."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import gymnasium
import numpy as np

from metarl.engines.gym_attributes import require_attributes
from metarl.foreign import described
from metarl.spaces import plain_space
from metarl.tasks.prior_tasks import EnvSpec

Make = str | Callable[..., "gymnasium.Env[Any, Any]"]


def made(
    make: Make, render_mode: str | None, max_episode_steps: int | None, slot: int, **arguments: Any
) -> "gymnasium.Env[Any, Any]":
    """A new environment. ValueError if what was made is none of gymnasium."""
    if render_mode is not None:
        arguments["render_mode"] = render_mode
    if isinstance(make, str):
        limit = {} if max_episode_steps is None else {"max_episode_steps": int(max_episode_steps)}
        env: Any = gymnasium.make(make, disable_env_checker=True, **limit, **arguments)
    else:
        if _knows_slots(make):
            arguments.setdefault("slot", slot)
        env = make(**arguments)
    if not isinstance(env, gymnasium.Env):
        kind = type(env)
        raise ValueError(f"make must return a gymnasium.Env, got an object of {kind.__module__}.{kind.__qualname__}")
    return env


def _knows_slots(make: Callable[..., Any]) -> bool:
    """Whether a function has an argument `slot`."""
    try:
        return "slot" in inspect.signature(make).parameters
    except (TypeError, ValueError):  # not written in Python
        return False


@final
class Question:
    """What is asked about the environments of a family, equal to another question where the answer is the same."""

    def __init__(self, key: object, look: Callable[[], Any]) -> None:
        self.look = look
        self._key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Question) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def env_spec(
    family: str, make: Make, max_episode_steps: int | None, attributes: tuple[str, ...], arguments: Mapping[str, Any]
) -> EnvSpec:
    """What the family takes from an environment with these constructor arguments; ValueError if it is unfit for one.

    `attributes` are the names that the environment must have.
    """
    # a function needs no hash: it stays alive in `look`, so its identity is its own
    named = (make, repr(gymnasium.registry.get(make))) if isinstance(make, str) else ("", id(make))
    plain = repr({name: np.asarray(value).tolist() for name, value in arguments.items()})
    look = functools.partial(_look, family, make, max_episode_steps, attributes, arguments)
    spec: EnvSpec = answer(Question((family, *named, max_episode_steps, attributes, plain), look))
    return spec


@functools.lru_cache(maxsize=64)  # splits are copies of a family: the environment is opened once for all of them
def answer(question: Question) -> Any:
    """What `question.look` returns, kept for the last few questions."""
    return question.look()


def _look(
    family: str, make: Make, max_episode_steps: int | None, attributes: tuple[str, ...], arguments: Mapping[str, Any]
) -> EnvSpec:
    try:
        env = made(make, None, max_episode_steps, 0, **arguments)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"{family}: the environment cannot be made: {described(error)}") from error
    try:
        require_attributes(env, attributes)
        observation_space = plain_space(env.observation_space, "observation")
        action_space = plain_space(env.action_space, "action")
        limits = [limit for limit in (max_episode_steps, _time_limit(env)) if limit is not None]
        if not limits:
            raise ValueError("the environment has no time limit: give max_episode_steps=...")
        title = type(env.unwrapped).__name__ if env.spec is None else env.spec.id
        return EnvSpec(observation_space, action_space, int(min(limits)), title)
    except ValueError as error:
        raise ValueError(f"{family}: {error}") from error
    finally:
        env.close()


def _time_limit(env: "gymnasium.Env[Any, Any]") -> int | None:
    """Steps after which an environment truncates: the shortest limit of its wrappers, else that of its spec."""
    limits = [limit for each in _layers(env) if isinstance(limit := vars(each).get("_max_episode_steps"), int)]
    if limits:
        return min(limits)
    return None if env.spec is None else env.spec.max_episode_steps


def _layers(env: Any) -> Iterator[Any]:
    """An environment and all that it wraps, from the outside in."""
    yield env
    while isinstance(env, gymnasium.Wrapper):
        env = env.env
        yield env
