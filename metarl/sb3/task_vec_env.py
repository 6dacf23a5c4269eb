"""The environments of a task distribution as Stable-Baselines3 takes them."""

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from metarl.sb3.batch_vec_env import BatchVecEnv
from metarl.sb3.infos import Infos, step_infos
from metarl.sb3.prediction import Told, with_told
from metarl.sb3.spaces import SB3Spaces, host, with_task
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import Transition

Observations = np.ndarray | dict[str, np.ndarray]


@final
class TaskVecEnv(BatchVecEnv):
    """Environments of a task distribution as Stable-Baselines3 takes them.

    `num_envs` environments draw a new task for each episode, or each of `tasks` has one for good. `seed` (the
    constructor's or the method's) names the streams of tasks and dynamics, which start at the next reset. Spaces and
    actions are counted as `SB3Spaces` says. With `show_task` observations are dictionaries of the `observation` and the
    `task`, a vector from -1 to 1, for a `MultiInputPolicy`: an oracle.

    >>> import metarl
    >>> from stable_baselines3 import PPO
    >>> env = TaskVecEnv(metarl.make("grid-navigation"), num_envs=4)
    >>> PPO("MlpPolicy", env, n_steps=16, device="cpu").learn(64).num_timesteps
    64

    Raises ValueError unless it gets either `num_envs`, at least 1, or `tasks` of this family, where the spaces are none
    that Stable-Baselines3 knows, and in `step` where an observation or reward is not finite, naming the environment.
    """

    def __init__(
        self,
        distribution: TaskDistribution,
        num_envs: int | None = None,
        *,
        tasks: Tasks | None = None,
        show_task: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        count = _count(num_envs, tasks)
        if tasks is not None and tasks.space != distribution.task_space:
            raise ValueError(f"these tasks are not tasks of {distribution.name}")
        self.convention = SB3Spaces(distribution, device)
        self._shows_task = show_task
        self._fixed = tasks
        self._before: Tensor | None = None  # the engine's last observations
        space = self.convention.observation_space
        super().__init__(
            distribution,
            count,
            with_task(space, distribution) if show_task else space,
            self.convention.action_space,
            seed,
            device,
        )

    def reset(self) -> Any:
        observation = self._restart()
        return self._told(observation, None)

    def step_wait(self) -> tuple[Observations, np.ndarray, np.ndarray, Infos]:
        action, before = self.convention.action(self._taken_actions()), self._before
        observation, reward, terminated, truncated, info = self.engine.last_step = self.engine.step(action)
        rewards = host(reward).astype(np.float32)
        self._check("reward", rewards)
        infos = step_infos(truncated, info, self._seen(info["final_obs"]))  # with the task of the episode that ended
        done = terminated | truncated
        if self._fixed is None and bool(done.any()):
            self.engine.set_tasks(self._new_tasks(), done)
            observation, _ = self.engine.reset(options={"reset_mask": done})
        transition = None
        if before is not None:
            transition = Transition(before, action, reward, terminated, truncated, info["final_obs"])
        return self._told(observation, transition), rewards, host(done), infos

    def _first_tasks(self) -> Tasks:
        return self._new_tasks() if self._fixed is None else self._fixed

    def _told(self, observation: Tensor, transition: Transition | None) -> Observations:
        """Observations for Stable-Baselines3, with what a policy of metarl is told."""
        self._before = observation
        seen = self._seen(observation)
        return seen if isinstance(seen, dict) else with_told(seen, Told(observation, transition))

    def _seen(self, observation: Tensor) -> Observations:
        space = self.convention.observation_space
        array = host(self.convention.observation(observation)).astype(space.dtype)
        self._check("observation", array)
        return {"observation": array, "task": host(self.tasks.vector())} if self._shows_task else array


def _count(num_envs: object, tasks: object) -> int:
    """How many environments there are to be; TypeError and ValueError say what is wrong with either argument."""
    if isinstance(tasks, int | np.integer):
        raise TypeError(f"tasks are the tasks themselves; environments that draw them are num_envs={tasks}")
    if isinstance(num_envs, Tasks):
        raise TypeError("num_envs is a number; tasks that environments have for good are tasks=...")
    if (num_envs is None) == (tasks is None):
        raise ValueError("give either num_envs or tasks")
    if isinstance(tasks, Tasks):
        return len(tasks)
    if not isinstance(num_envs, int | np.integer) or num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs!r}")
    return int(num_envs)
