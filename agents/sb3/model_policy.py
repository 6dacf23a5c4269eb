"""Trained models of Stable-Baselines3 or sb3-contrib as policies in trials: baselines that do not adapt."""

from typing import Any, Protocol, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl import seeding
from metarl.sb3.spaces import SB3Spaces, with_task
from metarl.sb3.trial_vec_env import TrialFeatures
from metarl.seeding import borrowed_randomness
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import AdaptivePolicy, PrivilegedPolicy, Transition


class Model(Protocol):
    """The part of an algorithm of Stable-Baselines3 or sb3-contrib that is used here."""

    observation_space: Any
    action_space: Any

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]: ...


@final
class ModelPolicy(AdaptivePolicy):
    """Acts as a model that was trained in a `TaskVecEnv`, the same in every task: domain randomisation.

    A recurrent model starts every episode with an empty memory, as in training. With `remember` its memory lasts for
    the trial. It reads observations only, so it cannot learn from rewards.

    >>> import metarl
    >>> from metarl.sb3 import TaskVecEnv
    >>> from stable_baselines3 import PPO
    >>> rooms = metarl.make("grid-navigation")
    >>> model = PPO("MlpPolicy", TaskVecEnv(rooms, num_envs=4), n_steps=16, device="cpu").learn(64)
    >>> metarl.evaluate(ModelPolicy(model, rooms, num_tasks=10), rooms.split("test"), num_tasks=10).returns.shape
    (10, 4)

    Raises ValueError if the model was trained on other spaces.
    """

    def __init__(
        self,
        model: Model,
        distribution: TaskDistribution,
        num_tasks: int,
        *,
        deterministic: bool = True,
        remember: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(num_tasks)
        self._draws = seeding.generator(seed, "actions")
        self._convention = SB3Spaces(distribution)
        _check_spaces(model, self._convention.observation_space, self._convention.action_space)
        self._model = model
        self._deterministic = deterministic
        self._remember = remember
        self._state: Any = None
        self._start = np.ones(num_tasks, bool)

    def begin(self, mask: Tensor | None = None) -> None:
        self._start[slice(None) if mask is None else mask.cpu().numpy()] = True

    def act(self, observation: Tensor) -> Tensor:
        seen = self._convention.observation(observation).cpu().numpy()
        with borrowed_randomness(_next_seed(self._draws)):
            action, self._state = self._model.predict(seen, self._state, self._start, self._deterministic)
        self._start = np.zeros(self.num_tasks, bool)
        return self._convention.action(torch.as_tensor(action))

    def observe(self, transition: Transition) -> None:
        if not self._remember:
            self._start |= transition.done.cpu().numpy()


@final
class TaskModelPolicy(PrivilegedPolicy):
    """Acts as a model that was trained in a `TaskVecEnv` with `show_task=True`: a privileged oracle.

    >>> import metarl
    >>> from metarl.sb3 import TaskVecEnv
    >>> from stable_baselines3 import PPO
    >>> rooms = metarl.make("grid-navigation")
    >>> env = TaskVecEnv(rooms, num_envs=4, show_task=True)
    >>> model = PPO("MultiInputPolicy", env, n_steps=16, device="cpu").learn(64)
    >>> metarl.evaluate(TaskModelPolicy(model, rooms, num_tasks=10), rooms, num_tasks=10).privileged
    True

    Raises ValueError if the model was trained on other spaces.
    """

    def __init__(
        self,
        model: Model,
        distribution: TaskDistribution,
        num_tasks: int,
        *,
        deterministic: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(num_tasks)
        self._draws = seeding.generator(seed, "actions")
        self._convention = SB3Spaces(distribution)
        space = with_task(self._convention.observation_space, distribution)
        _check_spaces(model, space, self._convention.action_space)
        self._model = model
        self._deterministic = deterministic
        self._task: Tensor | None = None

    def set_tasks(self, tasks: Tasks) -> None:
        self._task = tasks.vector()

    def begin(self, mask: Tensor | None = None) -> None:
        pass

    def act(self, observation: Tensor) -> Tensor:
        if self._task is None:
            raise RuntimeError("call set_tasks before acting")
        seen = {
            "observation": self._convention.observation(observation).cpu().numpy(),
            "task": self._task.cpu().numpy(),
        }
        with borrowed_randomness(_next_seed(self._draws)):
            action, _ = self._model.predict(seen, deterministic=self._deterministic)
        return self._convention.action(torch.as_tensor(action))

    def observe(self, transition: Transition) -> None:
        pass

    def values(self, observation: Tensor) -> Tensor | None:
        return None


@final
class TrialModelPolicy(AdaptivePolicy):
    """Acts as a recurrent model that was trained in a `TrialVecEnv`: its memory lasts for the trial and adapts.

    >>> import metarl
    >>> from metarl.sb3 import TrialVecEnv
    >>> from stable_baselines3 import PPO
    >>> rooms = metarl.make("grid-navigation")
    >>> model = PPO("MlpPolicy", TrialVecEnv(rooms, num_envs=4), n_steps=16, device="cpu").learn(64)
    >>> metarl.evaluate(TrialModelPolicy(model, rooms, num_tasks=10), rooms.split("test"), num_tasks=10).returns.shape
    (10, 4)

    Raises ValueError if the model was trained on other spaces.
    """

    def __init__(
        self,
        model: Model,
        distribution: TaskDistribution,
        num_tasks: int,
        *,
        deterministic: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(num_tasks)
        self._features = TrialFeatures(distribution)
        expected = spaces.Box(-np.inf, np.inf, (self._features.size,), np.float32)
        _check_spaces(model, expected, self._features.convention.action_space)
        self._draws = seeding.generator(seed, "actions")
        self._model = model
        self._deterministic = deterministic
        self._state: Any = None
        self._last: Transition | None = None
        self._started = torch.zeros(num_tasks)

    def begin(self, mask: Tensor | None = None) -> None:
        self._started[slice(None) if mask is None else mask.cpu()] = 0.0

    def act(self, observation: Tensor) -> Tensor:
        seen = self._features(observation, self._last, self._started).numpy().astype(np.float32)
        with borrowed_randomness(_next_seed(self._draws)):
            action, self._state = self._model.predict(
                seen, self._state, self._started.numpy() == 0, self._deterministic
            )
        self._started = torch.ones(self.num_tasks)
        return self._features.convention.action(torch.as_tensor(action))

    def observe(self, transition: Transition) -> None:
        self._last = transition


def _next_seed(stream: torch.Generator) -> int:
    """A seed for one draw of Stable-Baselines3, which takes it from the global random state."""
    return int(torch.randint(2**62, (), generator=stream))


def _check_spaces(model: Model, observation_space: Any, action_space: Any) -> None:
    for role, expected in (("observation", observation_space), ("action", action_space)):
        own = getattr(model, f"{role}_space")
        if own != expected:
            raise ValueError(
                f"the model was trained with the {role} space {own}, these tasks have {expected}; train it in a "
                "metarl.sb3.TaskVecEnv of them (show_task=True for TaskModelPolicy, without it for ModelPolicy), or in "
                "a TrialVecEnv for TrialModelPolicy"
            )
