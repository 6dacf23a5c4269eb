"""Trials as the episodes of Stable-Baselines3: RL² with its recurrent algorithms."""

from typing import Any, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.sb3.batch_vec_env import BatchVecEnv
from metarl.sb3.infos import Infos, step_infos
from metarl.sb3.spaces import SB3Spaces, host
from metarl.spaces import is_image
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import Transition


@final
class TrialFeatures:
    """Observation, last action, last reward and last done of a trial as one vector, as RL² reads them.

    Integers become one-hot. At the first step of a trial all but the observation is zero.
    Raises ValueError for images, which would need convolutions.
    """

    def __init__(self, distribution: TaskDistribution, device: torch.device | str = "cpu") -> None:
        self.convention = SB3Spaces(distribution, device)
        observation, action = self.convention.observation_space, self.convention.action_space
        if is_image(observation):
            raise ValueError(f"{distribution.name} has images, and trials are told in vectors")
        self._spaces = observation, action
        self.size = _width(observation) + _width(action) + 2

    def __call__(self, observation: Tensor, last: Transition | None, started: Tensor) -> Tensor:
        """Vectors `[B, size]` from the family's `observation` [B, ...] and the `last` step where `started` [B]."""
        seen = _flat(self.convention.observation(observation), self._spaces[0])
        if last is None:
            return torch.cat([seen, seen.new_zeros(len(seen), self.size - seen.shape[1])], 1)
        action = _flat(self.convention.counted(last.action), self._spaces[1])
        told = torch.cat([action, last.reward[:, None], last.done[:, None].float()], 1)
        return torch.cat([seen, told * started[:, None]], 1)


def _width(space: spaces.Space[Any]) -> int:
    return spaces.flatdim(space)


def _flat(x: Tensor, space: spaces.Space[Any]) -> Tensor:
    """Values `[B, ...]` of a plain space as vectors `[B, D]` of float32, integers one-hot."""
    if isinstance(space, spaces.Discrete):
        return torch.nn.functional.one_hot(x.long(), int(space.n)).float()
    if isinstance(space, spaces.MultiDiscrete):
        columns = zip(x.long().unbind(1), space.nvec.tolist(), strict=True)
        return torch.cat([torch.nn.functional.one_hot(column, n) for column, n in columns], 1).float()
    return x.flatten(1).float()


@final
class TrialVecEnv(BatchVecEnv):
    """Environments whose episodes are whole trials: several episodes of one task, without an end between them.

    Observations are vectors (`TrialFeatures`): the observation, the last action, the last reward and whether an episode
    ended, so that a recurrent policy, such as sb3-contrib's RecurrentPPO, can learn to adapt: RL² (Duan et al. 2016,
    arXiv 1611.02779). With each trial a new task begins. `num_episodes=None` takes the family's number.

    >>> import metarl
    >>> from stable_baselines3 import PPO
    >>> env = TrialVecEnv(metarl.make("grid-navigation"), num_envs=4)
    >>> PPO("MlpPolicy", env, n_steps=16, device="cpu").learn(64).num_timesteps
    64

    Raises ValueError for images, where `num_envs` or `num_episodes` is below 1, and in `step` where an observation or
    reward is not finite, naming the environment.
    """

    def __init__(
        self,
        distribution: TaskDistribution,
        num_envs: int,
        *,
        num_episodes: int | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.num_episodes = distribution.num_episodes if num_episodes is None else num_episodes
        if num_envs < 1 or self.num_episodes < 1:
            raise ValueError(f"num_envs and num_episodes must be at least 1, got {num_envs} and {self.num_episodes}")
        self.features = TrialFeatures(distribution, device)
        self._ended = torch.zeros(num_envs, dtype=torch.int64, device=device)  # episodes of this trial
        self._before = torch.zeros(0)
        seen = spaces.Box(-np.inf, np.inf, (self.features.size,), np.float32)
        super().__init__(distribution, num_envs, seen, self.features.convention.action_space, seed, device)

    def reset(self) -> np.ndarray:
        self._before = self._restart()
        self._ended.zero_()
        return self._seen(self._before, None, torch.zeros(self.num_envs, device=self._ended.device))

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, Infos]:
        action = self.features.convention.action(self._taken_actions())
        observation, reward, terminated, truncated, info = self.engine.step(action)
        rewards = host(reward).astype(np.float32)
        self._check("reward", rewards)
        last = Transition(self._before, action, reward, terminated, truncated, info["final_obs"])
        self._ended += last.done
        over = self._ended >= self.num_episodes
        always = torch.ones(self.num_envs, device=over.device)
        told = {**info, "_final_obs": over}
        infos = step_infos(torch.zeros_like(over), told, self._seen(info["final_obs"], last, always))
        if bool(over.any()):
            self.engine.set_tasks(self._new_tasks(), over)
            observation, _ = self.engine.reset(options={"reset_mask": over})
            self._ended[over] = 0
        self._before = observation
        return self._seen(observation, last, (~over).float()), rewards, host(over), infos

    def _first_tasks(self) -> Tasks:
        return self._new_tasks()

    def _seen(self, observation: Tensor, last: Transition | None, started: Tensor) -> np.ndarray:
        array = host(self.features(observation, last, started)).astype(np.float32)
        self._check("observation", array)
        return array
