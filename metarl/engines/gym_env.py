"""One gymnasium environment that takes its task from a distribution."""

import math
from collections.abc import Callable
from typing import Any, final

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from metarl import seeding
from metarl.engines.current_task import CurrentTask
from metarl.spaces import is_flattened, original_action, plain_space, start_of
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution

Parameters = dict[str, Any]  # of one task: a Python number where the shape is (), else an array


# puts a task into an environment before a reset; may return another environment that takes its place
Apply = Callable[["gymnasium.Env[Any, Any]", Parameters], "gymnasium.Env[Any, Any] | None"]


@final
class TaskEnv(gymnasium.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """An unmodified environment in a task that `reset(options={"task": ...})` chooses and that then stays.

    Observations are float32, uint8 images or integers from 0, actions are those that `spaces.original_action` makes
    of them (clipped, rounded, counted from their start), terminated and truncated never coincide. An episode is
    truncated at the distribution's horizon, whatever environment `apply` puts in place. An environment that takes a
    place gets a seed of its own from the stream of the last seed, so equal seeds give equal episodes.
    Raises ValueError where reset or step return something else than gymnasium asks for, an observation or a reward is
    not finite or of a wrong kind or shape, or the spaces change with the task, naming step and task.
    """

    def __init__(
        self,
        env: "gymnasium.Env[Any, Any]",
        distribution: TaskDistribution,
        task: Tasks | None = None,
        apply: Apply | None = None,
    ) -> None:
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, distribution=distribution, task=task, apply=apply)
        gymnasium.Wrapper.__init__(self, env)
        self.observation_space = plain_space(env.observation_space, "observation")
        self.action_space = plain_space(env.action_space, "action")
        self._seen = (env.observation_space, env.action_space)
        self._current = CurrentTask(distribution, task)
        self._replacements = seeding.generator(self._current.generator.initial_seed(), "replacements")
        self._horizon = distribution.horizon
        self._apply = apply
        self._elapsed = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        options = dict(options or {})
        if seed is not None:
            self._current.generator.manual_seed(seed)
            self._replacements = seeding.generator(seed, "replacements")
        self._current.choose(options)
        if self._apply is None:
            options["task"] = self.parameters
        else:
            options.pop("task", None)
            if self._replaced(self._apply(self.env, self.parameters)) and seed is None:
                seed = int(torch.randint(2**31, (), generator=self._replacements))
        self._elapsed = 0
        observation, info = reset_result(self.env.reset(seed=seed, options=options))
        self._check_spaces(self.env)
        return self._observation(observation), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        result = self.env.step(original_action(self.env.action_space, action))
        observation, reward, terminated, truncated, info = step_result(result)
        self._elapsed += 1
        if not math.isfinite(reward):
            raise ValueError(f"reward {reward} at {self._place()}")
        out_of_time = truncated or self._elapsed >= self._horizon
        ends = (bool(terminated), bool(out_of_time and not terminated))
        return self._observation(observation), float(reward), *ends, info

    @property
    def task(self) -> Tasks | None:
        """The current task; None before the first reset if the constructor got none."""
        return self._current.task

    @property
    def parameters(self) -> Parameters:
        """The parameters of the current task; RuntimeError before the first reset without one."""
        if self.task is None:
            raise RuntimeError("call reset before asking for the task")
        values = {name: value[0].numpy() for name, value in self.task.parameters.items()}
        return {name: value.item() if value.shape == () else value.copy() for name, value in values.items()}

    def _replaced(self, env: "gymnasium.Env[Any, Any] | None") -> bool:
        """Whether `env`, which `apply` returned, is another one; it then takes the place of the one before."""
        if env is None or env is self.env:
            return False
        self._check_spaces(env)
        self.env = env
        return True

    def _check_spaces(self, env: "gymnasium.Env[Any, Any]") -> None:
        """ValueError unless the spaces are those of the other tasks; the same object needs no second look."""
        seen = (env.observation_space, env.action_space)
        if seen[0] is self._seen[0] and seen[1] is self._seen[1]:
            return
        for role, space in zip(("observation", "action"), seen, strict=True):
            own = getattr(self, f"{role}_space")
            if plain_space(space, role) != own:
                raise ValueError(
                    f"the {role} space is {space} in the task {self.parameters}, and {own} in another: tasks of a "
                    "family share their spaces, so make one that holds for all of them"
                )
        self._seen = seen

    def _observation(self, observation: Any) -> Any:
        space = self.env.observation_space
        array = np.asarray(spaces.flatten(space, observation) if is_flattened(space, "observation") else observation)
        if array.shape != self.observation_space.shape:
            raise ValueError(
                f"observation of shape {array.shape}, not {self.observation_space.shape}, at {self._place()}"
            )
        if array.dtype.kind not in "biuf":
            raise ValueError(f"observation of {array.dtype}, which are no numbers, at {self._place()}")
        if not np.isfinite(array).all():
            raise ValueError(f"observation {array.tolist()} at {self._place()}")
        if self.observation_space.dtype != np.float32 and not _counts(space, array):
            raise ValueError(f"observation {array.tolist()} lies outside {space}, at {self._place()}")
        return (array - start_of(space)).astype(self.observation_space.dtype)[()]

    def _place(self) -> str:
        return f"step {self._elapsed} of the episode, in the task {self.parameters}"


def reset_result(result: Any) -> tuple[Any, dict[str, Any]]:
    """What `reset` of a gymnasium environment returned; ValueError unless it is (observation, info)."""
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict):
        return result
    raise ValueError(f"reset must return a pair, observation and info (a dict), got {_kinds(result)}")


def step_result(result: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
    """What `step` of a gymnasium environment returned; ValueError unless it is all that gymnasium asks for."""
    if not isinstance(result, tuple) or len(result) != 5:
        raise ValueError(
            "step must return 5 values, observation, reward, terminated, truncated and info, "
            f"got {len(result) if isinstance(result, tuple) else 1}: {_kinds(result)}"
        )
    _, reward, terminated, truncated, info = result
    if not isinstance(reward, float | int | np.number) and not (isinstance(reward, np.ndarray) and reward.shape == ()):
        raise ValueError(f"a reward must be a number, got {reward!r}")
    for name, value in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(value, bool | np.bool_ | int):
            raise ValueError(f"{name} must be True or False, got {value!r}")
    if not isinstance(info, dict):
        raise ValueError(f"the info of a step must be a dict, got {info!r}")
    return result


def _kinds(result: Any) -> str:
    """The types of what was returned."""
    if isinstance(result, tuple):
        return f"({', '.join(type(part).__name__ for part in result)})"
    return type(result).__name__


def _counts(space: spaces.Space[Any], array: np.ndarray) -> bool:
    """Whether these are integers of the space, whatever their type."""
    if array.dtype == np.uint8 == space.dtype:
        return True
    with np.errstate(invalid="ignore"):
        integers = array.astype(space.dtype)
    return bool((integers == array).all()) and space.contains(integers)
