"""The engine for vector environments that others wrote, in any of gymnasium's conventions of automatic resets."""

from collections.abc import Callable
from typing import Any, final

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from metarl.engines.info_numbers import batch_measures, batch_success
from metarl.finite import first_broken
from metarl.foreign import told
from metarl.spaces import original_action, start_of
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import Step, TaskDistribution, TaskVectorEnv

VectorEnv = gymnasium.vector.VectorEnv[Any, Any, Any]
ApplyTasks = Callable[[VectorEnv, dict[str, np.ndarray]], None]
TOLD = 8  # tasks that an error names
TRIES = 5  # steps after which an environment should have left its first observation


@final
class SimulatorVectorEnv(TaskVectorEnv):
    """Puts tasks into a vector environment, and ends and restarts episodes in the same step whatever its convention.

    Tasks that were set begin with the next `reset` of their slot, or with its next episode unless the simulator resets
    itself (SAME_STEP). Raises ValueError, naming slot and task, where an observation or reward is not finite.
    """

    def __init__(
        self,
        distribution: TaskDistribution,
        envs: VectorEnv,
        apply: ApplyTasks,
        device: torch.device | str = "cpu",
        masked: bool = True,
    ) -> None:
        """`masked` says whether some environments can be reset without the others."""
        super().__init__(distribution, envs.num_envs, device)
        self._masked = masked
        self._envs = envs
        self._apply = apply
        self._mode = autoreset_mode(envs)
        self._now: Tasks | None = None  # what the simulator has: tasks wait for the reset of their slot
        self._observation: np.ndarray = np.zeros(self.observation_space.shape or (), self.observation_space.dtype)
        self._elapsed: np.ndarray = np.zeros(self.num_envs, np.int64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        mask = (options or {}).get("reset_mask")
        if self._now is None:
            seed, mask = seed or 0, None
        chosen = np.ones(self.num_envs, bool) if mask is None else torch.as_tensor(mask).cpu().numpy()
        if chosen.any():
            self._restart(chosen, seed)
        return self._tensor(self._observation), {}

    def step(self, actions: Tensor) -> Step:
        self.check_actions(actions)
        if self._now is None:
            raise RuntimeError("call reset before step")
        chosen = actions.cpu().numpy()
        self.check_finite_actions(chosen)
        own_actions = original_action(self._envs.single_action_space, chosen, self.num_envs)
        observation, reward, terminated, truncated, infos = self._foreign(self._envs.step, own_actions)
        self._elapsed += 1
        terminated = np.array(terminated, bool)
        own_end = terminated | np.asarray(truncated, bool)
        done = own_end | (self._elapsed >= self.distribution.horizon)
        same_step = self._mode == AutoresetMode.SAME_STEP
        self._observation = self._plain(observation)
        final_obs = self._final(infos, own_end) if same_step else self._observation.copy()
        told_later = own_end if same_step else np.zeros_like(own_end)
        success, measures = batch_success(infos, told_later), batch_measures(infos, told_later)
        reward = np.array(reward, np.float32)
        self._check(reward, final_obs)
        self._elapsed[done] = 0
        to_reset = done & ~own_end if same_step else done
        if to_reset.any():
            self._restart(to_reset)
        info: dict[str, Any] = {"final_obs": self._tensor(final_obs), "_final_obs": self._tensor(done)}
        if not np.isnan(success).all():
            info |= {"success": self._tensor(success == 1), "_success": self._tensor(~np.isnan(success))}
        if measures:
            info["measures"] = {name: self._tensor(values) for name, values in measures.items()}
        ends = (self._tensor(terminated), self._tensor(done & ~terminated))
        return self._tensor(self._observation), self._tensor(reward), *ends, info

    def close_extras(self, **kwargs: Any) -> None:
        self._foreign(self._envs.close)

    def _foreign(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """The method's result; what it raises, or that it calls exit(), says which tasks there were."""
        try:
            return method(*arguments, **options)
        except BaseException as error:
            tasks = None if self._now is None else self._now[:TOLD].to_json()
            name = self.distribution.name
            raise told(error, f"{name}, whose first environments are in the tasks {tasks}") from error

    def _restart(self, mask: np.ndarray, seed: int | None = None) -> None:
        """Reset the slots in the mask, in the tasks that are set for them."""
        if not (self._masked or mask.all()):
            raise ValueError(
                f"{self.distribution.name} resets all of its environments or none, and {int(mask.sum())} of "
                f"{self.num_envs} are to be reset: tasks change in all at once, and episodes end by its own limit. "
                "Training and evaluation do so, a TaskVecEnv does where its tasks stay"
            )
        tasks = self.tasks.to("cpu")
        self._now = tasks if self._now is None else tasks.where(torch.from_numpy(mask), self._now)
        parameters = {name: values.numpy().copy() for name, values in self._now.parameters.items()}
        self._foreign(self._apply, self._envs, parameters)
        seed = None if seed is None else seed % 2**31  # some simulators take 32 bits only
        options = None if mask.all() else {"reset_mask": mask.copy()}
        first = self._plain(self._foreign(self._envs.reset, seed=seed, options=options)[0])
        self._observation = np.where(mask.reshape(-1, *[1] * (first.ndim - 1)), first, self._observation)
        self._elapsed[mask] = 0

    def _plain(self, observation: Any) -> np.ndarray:
        """A copy of observations as the family has them: float32, uint8 images, integers from 0."""
        array = np.asarray(observation) - start_of(self._envs.single_observation_space)
        expected = self.observation_space.shape
        if array.shape != expected:
            raise ValueError(f"{self.distribution.name} gave observations of shape {array.shape}, not {expected}")
        return np.array(array, self.observation_space.dtype)

    def _final(self, infos: dict[str, Any], done: np.ndarray) -> np.ndarray:
        """The last observations of the episodes that ended, where they differ from those that `step` returned."""
        final: np.ndarray = self._observation.copy()
        if done.any() and "final_obs" not in infos:
            raise ValueError(
                f"{self.distribution.name}: an episode ended in SAME_STEP mode, without final_obs in the info"
            )
        start = start_of(self._envs.single_observation_space)
        for slot in np.flatnonzero(done):
            final[slot] = np.asarray(infos["final_obs"][slot]) - start
        return final

    def _check(self, reward: np.ndarray, observation: np.ndarray) -> None:
        values = {"reward": torch.from_numpy(reward), "observation": torch.from_numpy(observation)}
        if broken := first_broken(values):
            what, slot = broken
            task = self._now[slot].to_json() if self._now is not None else None
            raise ValueError(
                f"environment {slot} of {self.distribution.name} gave {what} {values[what][slot].tolist()} "
                f"at step {self._elapsed[slot]} of the episode, in the task {task}"
            )

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.tensor(array, device=self.device)  # a copy: whoever has it may keep it


def autoreset_mode(envs: VectorEnv) -> AutoresetMode:
    """The convention that a vector environment says it has; ValueError if it says none."""
    modes = ", ".join(f"AutoresetMode.{mode.name}" for mode in AutoresetMode)
    if "autoreset_mode" not in envs.metadata:
        raise ValueError(f'the vector environment must say metadata["autoreset_mode"], one of {modes}')
    try:
        return AutoresetMode(envs.metadata["autoreset_mode"])
    except ValueError:
        raise ValueError(f'metadata["autoreset_mode"] must be one of {modes}, got {envs.metadata}') from None


def resets_by_mask(envs: VectorEnv) -> bool:
    """Whether a masked reset of the first of two environments leaves the second alone, as far as that can be seen.

    Environments that reset themselves (SAME_STEP) may lack it: they then take new tasks all at once. Raises ValueError
    if others do, since their episodes could not be ended one by one, and if they do not say their convention.
    """
    mode = autoreset_mode(envs)
    envs.action_space.seed(0)
    first = np.array(envs.reset(seed=0)[0])
    for _ in range(TRIES):
        before, _, terminated, truncated, _ = envs.step(envs.action_space.sample())
        before = np.array(before)
        if np.any(terminated) or np.any(truncated) or not np.array_equal(before[1], first[1]):
            break
    after = envs.reset(options={"reset_mask": np.array([True, False])})[0]
    masked = np.array_equal(np.array(after)[1], before[1])
    if not masked and mode != AutoresetMode.SAME_STEP:
        raise ValueError(
            "reset(options={'reset_mask': mask}) must reset the environments in the mask and leave the others where "
            "they are, as gymnasium's SyncVectorEnv and AsyncVectorEnv do; this one reset the others, too"
        )
    return masked
