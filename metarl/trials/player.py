"""The loop of evaluation: act, observe, adapt, until every trial has had its episodes."""

from collections.abc import Iterator
from typing import Any, NamedTuple, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.devices import may_look
from metarl.finite import finite_rows
from metarl.spaces import bounds_of
from metarl.tasks.distribution import TaskDistribution, TaskVectorEnv
from metarl.tasks.policies import AdaptivePolicy, PrivilegedPolicy, Transition
from metarl.trials import stepping


class TrialStep(NamedTuple):
    """One step of B trials."""

    transition: Transition
    episode: Tensor  # [B] the episode that the step belongs to, counted from 0
    step: int  # of the trial, counted from 0
    state: Tensor | None  # [B, ...] before the action, for native environments
    info: dict[str, Any]


def play(
    policy: AdaptivePolicy, env: TaskVectorEnv, num_episodes: int, seed: int, first_task: int = 0
) -> Iterator[TrialStep]:
    """Play a trial of `num_episodes` episodes in every slot of `env`, whose tasks must be set; yields each step.

    Slots that finish early continue until all have finished; their later steps have `episode >= num_episodes`.
    Raises ValueError, naming task, episode and step, for an action that the space does not have, for an observation or
    reward that is not finite, and for an episode longer than the horizon. Tasks are counted from `first_task`.
    On a GPU, faults and the end of all trials are looked for every so many steps (`devices.may_look`).
    """
    if isinstance(policy, PrivilegedPolicy):
        policy.set_tasks(env.tasks)
    policy.begin()
    observation, _ = env.reset(seed=seed)
    episode = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    check = _Check(env, num_episodes, first_task)
    check.finite({"observation": observation}, episode, 0)
    for step in range(num_episodes * env.distribution.horizon):
        action = check.action(policy.act(observation).detach(), episode, step)
        if env.device.type == "cpu":
            check.look()
        state = env.state
        following, reward, terminated, truncated, info = stepping.step(env, action)
        check.finite(
            {"reward": reward, "observation": info["final_obs"], "first observation": following}, episode, step
        )
        transition = Transition(observation, action, reward, terminated, truncated, info["final_obs"])
        looking = may_look(env.device, step + 1)
        if looking:
            check.look()
        policy.observe(transition)
        if "changed" in info:  # slots where a new task begins: a hard reset of the policy
            policy.begin(info["changed"])
        yield TrialStep(transition, episode, step, state, info)
        observation, episode = following, episode + transition.done
        if looking and bool((episode >= num_episodes).all()):
            return
    check.note("episode that outlasts the horizon", episode < num_episodes, episode, step + 1)
    check.look()


def trial_length(distribution: TaskDistribution, num_episodes: int | None) -> int:
    """The number of episodes of a trial: `num_episodes`, or the distribution's if None.

    Raises ValueError if it is below 1, or if none comes after the free episodes.
    """
    episodes = distribution.num_episodes if num_episodes is None else num_episodes
    if episodes < 1:
        raise ValueError(f"num_episodes must be at least 1, got {num_episodes}")
    if episodes <= distribution.free_episodes:
        raise ValueError(
            f"num_episodes must be above the {distribution.free_episodes} free episodes of {distribution.name}, "
            f"got {episodes}"
        )
    return episodes


@final
class _Check:
    """Finds actions, rewards and observations that would spoil an evaluation.

    `note` records them on the device without waiting for it; `look` copies the records to the host and raises.
    """

    def __init__(self, env: TaskVectorEnv, num_episodes: int, first_task: int) -> None:
        self._env = env
        self._num_episodes = num_episodes
        self._first_task = first_task
        space = env.single_action_space
        self._integers = not isinstance(space, spaces.Box)  # engines clip the actions of a Box
        self._bounds: list[Any] = [  # numbers stay on the host: nothing needs to be copied for them
            torch.as_tensor(bound, device=env.device) if self._integers and isinstance(bound, np.ndarray) else bound
            for bound in bounds_of(space)
        ]
        self._notes: list[tuple[str, Tensor, Tensor, int]] = []  # what, where [B], episode [B] and step

    def action(self, action: Tensor, episode: Tensor, step: int) -> Tensor:
        """The actions `[B, ...]`, clamped to the space: an invalid index would end the whole process on a GPU."""
        space = self._env.single_action_space
        expected = (self._env.num_envs, *(space.shape or ()))
        if tuple(action.shape) != expected:
            what = f"action of shape {tuple(action.shape)} instead of {expected}"
            self.note(what, torch.ones_like(episode, dtype=torch.bool), episode, step)
            self.look()
        self.finite({"action": action}, episode, step)
        if not self._integers:
            return action
        low, high = self._bounds
        outside = ((action < low) | (action > high)).reshape(len(action), -1).any(1)
        self.note(f"action outside {space}", outside, episode, step)
        return action.clamp(low, high)

    def finite(self, values: dict[str, Tensor], episode: Tensor, step: int) -> None:
        running = episode < self._num_episodes
        for what, value in values.items():
            if value.is_floating_point():
                self.note(f"{what} that is not finite", ~finite_rows(value) & running, episode, step)

    def note(self, what: str, where: Tensor, episode: Tensor, step: int) -> None:
        self._notes.append((what, where, episode, step))

    def look(self) -> None:
        """Raise ValueError for the first fault since the last look. Without a fault it costs one copy to the host."""
        notes, self._notes = self._notes, []
        if not notes or not bool(torch.stack([where for _, where, _, _ in notes]).any()):
            return
        what, where, episode, step = next(note for note in notes if bool(note[1].any()))
        slot = int(where.nonzero()[0])
        raise ValueError(
            f"{self._env.distribution.name}: {what}, in task {self._first_task + slot}, "
            f"episode {int(episode[slot]) + 1} at step {step} of the trial, "
            f"with the parameters {self._env.tasks[slot].to_json()}"
        )
