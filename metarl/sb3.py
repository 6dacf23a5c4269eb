"""Stable-Baselines3 on the tasks of a distribution: its vector environments."""

import functools
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from metarl import seeding
from metarl.finite import first_broken
from metarl.spaces import center_and_scale, channels_first, image_shape, is_image, plain_space, start_of
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution, TaskVectorEnv

Infos = list[dict[str, Any]]
Observations = np.ndarray | dict[str, np.ndarray]


def with_task(space: spaces.Space[Any], distribution: TaskDistribution) -> spaces.Dict:
    """Observations of `space` together with the task that they come from, as a vector."""
    size = sum(int(np.prod(box.shape or ())) for box in distribution.task_space.values())
    return spaces.Dict({"observation": space, "task": spaces.Box(-1, 1, (size,), np.float32)})


@final
class TaskVecEnv(VecEnv):
    """Environments of a task distribution as Stable-Baselines3 takes them.

    `tasks` are the tasks, an environment for each of them for good; or a number of environments that draw a new task
    for every episode. `seed` (the constructor's or the method's) names the streams of tasks and dynamics, which start
    at the next reset. Spaces and actions are counted as `SB3Spaces` says. With `show_task` observations are
    dictionaries of the `observation` and the `task`, a vector from -1 to 1, for a `MultiInputPolicy`: an oracle.

    >>> import metarl
    >>> from stable_baselines3 import PPO
    >>> env = TaskVecEnv(metarl.make("grid-navigation"), tasks=4)
    >>> PPO("MlpPolicy", env, n_steps=16, device="cpu").learn(64).num_timesteps
    64

    Raises ValueError where `tasks` are those of another family or fewer than one, where the spaces are none that
    Stable-Baselines3 knows, and in `step` where an observation or reward is not finite, naming the environment.
    """

    def __init__(
        self,
        distribution: TaskDistribution,
        tasks: Tasks | int,
        *,
        show_task: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if isinstance(tasks, Tasks) and tasks.space != distribution.task_space:
            raise ValueError(f"these tasks are not tasks of {distribution.name}")
        if isinstance(tasks, int) and tasks < 1:
            raise ValueError(f"tasks must be at least 1, got {tasks}")
        self.distribution = distribution
        self.convention = SB3Spaces(distribution, device)
        self._device = device
        self._shows_task = show_task
        self._fixed = None if isinstance(tasks, int) else tasks
        self._actions: Tensor | None = None
        space = self.convention.observation_space
        super().__init__(
            tasks if isinstance(tasks, int) else len(tasks),
            with_task(space, distribution) if show_task else space,
            self.convention.action_space,
        )
        self.seed(seed)

    @functools.cached_property
    def engine(self) -> TaskVectorEnv:
        """The environments themselves; opened when first needed."""
        return self.distribution.vector_env(self.num_envs, self._device)

    @property
    def tasks(self) -> Tasks:
        """The task of every environment; RuntimeError before the first reset."""
        return self.engine.tasks

    def reset(self) -> Any:
        seed = self._seeds[0]
        if seed is not None:
            self._stream = seeding.generator(seed, "tasks")
        self.engine.set_tasks(self._new_tasks() if self._fixed is None else self._fixed)
        engine_seed = None if seed is None else seeding.stream_seed(seed, "environment")
        observation, _ = self.engine.reset(seed=engine_seed)
        self._reset_seeds()
        self._reset_options()
        return self._seen(observation)

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = torch.as_tensor(actions, device=self.engine.device)

    def step_wait(self) -> tuple[Observations, np.ndarray, np.ndarray, Infos]:
        if self._actions is None:
            raise RuntimeError("step_wait without step_async")
        action, self._actions = self.convention.action(self._actions), None
        observation, reward, terminated, truncated, info = self.engine.step(action)
        rewards = _host(reward).astype(np.float32)
        self._check("reward", rewards)
        infos = self._infos(truncated, info)  # with the task of the episode that ended
        done = terminated | truncated
        if self._fixed is None and bool(done.any()):
            self.engine.set_tasks(self._new_tasks(), done)
            observation, _ = self.engine.reset(options={"reset_mask": done})
        return self._seen(observation), rewards, _host(done), infos

    def close(self) -> None:
        if "engine" in self.__dict__:
            self.engine.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """What the engine has under that name, for each environment: they are one batch and share everything."""
        value = None if attr_name == "render_mode" else getattr(self.engine, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError(
            f"cannot set {attr_name!r}: these environments are one batch, not objects of their own"
        )

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        raise NotImplementedError(
            f"no method {method_name!r}: these environments are one batch, not objects of their own"
        )

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        return [None] * self.num_envs

    def _new_tasks(self) -> Tasks:
        return self.distribution.sample(self.num_envs, self._stream)

    def _infos(self, truncated: Tensor, info: dict[str, Any]) -> Infos:
        """One dictionary an environment, by the names that Stable-Baselines3 reads."""
        infos: Infos = [{"TimeLimit.truncated": value} for value in truncated.tolist()]
        last = self._seen(info["final_obs"])
        for slot in info["_final_obs"].nonzero().flatten().tolist():
            own = {name: rows[slot] for name, rows in last.items()} if isinstance(last, dict) else last[slot]
            infos[slot]["terminal_observation"] = own
        for slot in info["_success"].nonzero().flatten().tolist() if "_success" in info else ():
            infos[slot]["is_success"] = bool(info["success"][slot])
        for name, values in info.get("measures", {}).items():
            for slot in (~values.isnan()).nonzero().flatten().tolist():
                infos[slot][name] = float(values[slot])
        return infos

    def _seen(self, observation: Tensor) -> Observations:
        space = self.convention.observation_space
        array = _host(self.convention.observation(observation)).astype(space.dtype)
        self._check("observation", array)
        return {"observation": array, "task": _host(self.tasks.vector())} if self._shows_task else array

    def _check(self, what: str, values: np.ndarray) -> None:
        """ValueError that names the first environment where `values` [num_envs, ...] are not finite."""
        if broken := first_broken({what: torch.from_numpy(values)}):
            _, slot = broken
            raise ValueError(
                f"{self.distribution.name} gave {what} {values[slot].tolist()} in environment {slot}, "
                f"in the task {self.tasks[slot].to_json()}"
            )


@final
class SB3Spaces:
    """The spaces of a family in Stable-Baselines3's convention.

    Integers count from 0, bounded actions of a Box lie in [-1, 1], and images have their channels first. Gaussian
    policies of Stable-Baselines3 start with standard deviation 1, so actions of another scale would be learned badly.
    """

    def __init__(self, distribution: TaskDistribution, device: torch.device | str = "cpu") -> None:
        self.observation_space = plain_space(distribution.observation_space, "observation")
        self.action_space = plain_space(distribution.action_space, "action")
        self._image = self.observation_space if is_image(self.observation_space) else None
        if self._image is not None:
            self.observation_space = spaces.Box(
                int(self._image.low.min()), int(self._image.high.max()), image_shape(self._image), np.uint8
            )
        self._first = torch.as_tensor(start_of(distribution.observation_space), device=device)
        self._offset = torch.as_tensor(start_of(distribution.action_space), device=device)
        self._scale = torch.ones_like(self._offset)
        if isinstance(self.action_space, spaces.Box):
            low, high = self.action_space.low, self.action_space.high
            bounded = np.isfinite(low) & np.isfinite(high)
            self._offset, self._scale = (
                torch.as_tensor(values, device=device) for values in center_and_scale(self.action_space)
            )
            self.action_space = spaces.Box(np.where(bounded, -1, low), np.where(bounded, 1, high), dtype=np.float32)

    def observation(self, observation: Tensor) -> Tensor:
        """Observations of the family `[B, ...]` as Stable-Baselines3 counts them."""
        return observation - self._first if self._image is None else channels_first(observation, self._image)

    def action(self, action: Tensor) -> Tensor:
        """The family's actions `[B, ...]` for those of Stable-Baselines3, where switches are floats."""
        if not isinstance(self.action_space, spaces.Box):
            action = action.long()
        return self._offset + self._scale * action

    def counted(self, action: Tensor) -> Tensor:
        """The inverse of `action`, 0 for numbers that are constants."""
        if not action.is_floating_point():
            return action - self._offset
        return torch.where(self._scale > 0, (action - self._offset) / self._scale, 0.0)


def _host(tensor: Tensor) -> np.ndarray:
    """A copy that is nobody else's: Stable-Baselines3 writes into rewards."""
    return np.array(tensor.cpu().numpy())
