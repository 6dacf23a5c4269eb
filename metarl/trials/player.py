"""The loop of acting, observing and adapting, for as many episodes as a trial has."""

from collections.abc import Iterator
from typing import Any, NamedTuple, final

import torch
from gymnasium import spaces
from torch import Tensor

from metarl.tasks.distribution import TaskDistribution, TaskVectorEnv
from metarl.tasks.policies import AdaptivePolicy, PrivilegedPolicy, Transition

LOOK_EVERY = 32  # steps on a device that would have to be waited for; on the CPU every step is looked at


class TrialStep(NamedTuple):
    """One step of B trials."""

    transition: Transition
    episode: Tensor  # [B] the episode that the step belongs to, counted from 0
    step: int  # of the trial, counted from 0
    state: Tensor | None  # [B, ...] where the action was taken, for native environments
    info: dict[str, Any]


def play(
    policy: AdaptivePolicy, env: TaskVectorEnv, num_episodes: int, seed: int, first_task: int = 0
) -> Iterator[TrialStep]:
    """Begin a trial in every slot and go on until each has finished `num_episodes` episodes in the task it was set.

    Slots that finish early play on; their later moments have `episode >= num_episodes`.
    ValueError names the kind, task, episode and step of whatever is wrong; tasks are counted from `first_task`. A GPU
    is asked for it, and whether all trials are over, every `LOOK_EVERY` steps.
    """
    if isinstance(policy, PrivilegedPolicy):
        policy.set_tasks(env.tasks)
    policy.begin()
    observation, _ = env.reset(seed=seed)
    episode = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    check = _Check(env, num_episodes, first_task)
    check.finite({"observation": observation}, episode, 0)
    every = 1 if env.device.type == "cpu" else LOOK_EVERY
    for step in range(num_episodes * env.distribution.horizon):
        action = check.action(policy.act(observation).detach(), episode, step)
        if every == 1:
            check.look()
        state = env.state
        following, reward, terminated, truncated, info = env.step(action)
        check.finite(
            {"reward": reward, "observation": info["final_obs"], "first observation": following}, episode, step
        )
        transition = Transition(observation, action, reward, terminated, truncated, info["final_obs"])
        if step % every == every - 1:
            check.look()
        policy.observe(transition)
        if "changed" in info:  # slots that begin another task, and whose policy is told so
            policy.begin(info["changed"])
        yield TrialStep(transition, episode, step, state, info)
        observation, episode = following, episode + transition.done
        if step % every == every - 1 and bool((episode >= num_episodes).all()):
            return
    check.note("episode that outlasts the horizon", episode < num_episodes, episode, step + 1)
    check.look()


def trial_length(distribution: TaskDistribution, num_episodes: int | None) -> int:
    """The episodes of a trial: `num_episodes`, or the distribution's own number. ValueError if there are none."""
    episodes = distribution.num_episodes if num_episodes is None else num_episodes
    if episodes < 1:
        raise ValueError(f"num_episodes must be at least 1, got {num_episodes}")
    return episodes


@final
class _Check:
    """Refuses what would silently spoil an evaluation: notes it on the device, and looks at the notes now and then."""

    def __init__(self, env: TaskVectorEnv, num_episodes: int, first_task: int) -> None:
        self._env = env
        self._num_episodes = num_episodes
        self._first_task = first_task
        self._notes: list[tuple[str, Tensor, Tensor, int]] = []  # what, where [B], episode [B] and step

    def action(self, action: Tensor, episode: Tensor, step: int) -> Tensor:
        """The actions to take: one that the space does not have would stop the whole process on a GPU."""
        space = self._env.single_action_space
        expected = (self._env.num_envs, *(space.shape or ()))
        if tuple(action.shape) != expected:
            what = f"action of shape {tuple(action.shape)} instead of {expected}"
            self.note(what, torch.ones_like(episode, dtype=torch.bool), episode, step)
            self.look()
        self.finite({"action": action}, episode, step)
        if not isinstance(space, spaces.Discrete):
            return action
        low, high = int(space.start), int(space.start + space.n) - 1
        self.note(f"action outside {space}", (action < low) | (action > high), episode, step)
        return action.clamp(low, high)

    def finite(self, values: dict[str, Tensor], episode: Tensor, step: int) -> None:
        running = episode < self._num_episodes
        for what, value in values.items():
            if value.is_floating_point():
                broken = ~value.isfinite().reshape(len(value), -1).all(1)
                self.note(f"{what} that is not finite", broken & running, episode, step)

    def note(self, what: str, where: Tensor, episode: Tensor, step: int) -> None:
        self._notes.append((what, where, episode, step))

    def look(self) -> None:
        """ValueError that tells the first fault since the last look; one copy to the host tells that all is well."""
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
