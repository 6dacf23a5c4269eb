"""The loop of acting, observing and adapting, for as many episodes as a trial has."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import torch
from gymnasium import spaces
from torch import Tensor

from metarl.agent import AdaptivePolicy, PrivilegedPolicy
from metarl.native import NativeVectorEnv
from metarl.tasks import TaskDistribution
from metarl.trajectories import Transition
from metarl.vector import TaskVectorEnv


class Moment(NamedTuple):
    """One step of B trials."""

    transition: Transition
    episode: Tensor  # [B] the episode that the step belongs to, counted from 0
    step: int  # of the trial, counted from 0
    state: Tensor | None  # [B, ...] where the action was taken, for native environments
    info: dict[str, Any]


def play(
    policy: AdaptivePolicy, env: TaskVectorEnv, num_episodes: int, seed: int, first_task: int = 0
) -> Iterator[Moment]:
    """Begin a trial in every slot and go on until each has finished `num_episodes` episodes in the task it was set.

    Slots that finish early play on; their later moments have `episode >= num_episodes`.
    ValueError names the kind, task, episode and step of whatever is wrong; tasks are counted from `first_task`.
    """
    if isinstance(policy, PrivilegedPolicy):
        policy.reveal(env.tasks)
    policy.begin()
    observation, _ = env.reset(seed=seed)
    episode = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    check = _Check(env, num_episodes, first_task)
    check.finite({"observation": observation}, episode, 0)
    for step in range(num_episodes * env.distribution.horizon):
        action = policy.act(observation).detach()
        check.action(action, episode, step)
        state = env.state if isinstance(env, NativeVectorEnv) else None
        following, reward, terminated, truncated, info = env.step(action)
        check.finite(
            {"reward": reward, "observation": info["final_obs"], "first observation": following}, episode, step
        )
        transition = Transition(observation, action, reward, terminated, truncated, info["final_obs"])
        policy.observe(transition)
        if "changed" in info:  # slots that begin another task, and whose policy is told so
            policy.begin(info["changed"])
        yield Moment(transition, episode, step, state, info)
        observation, episode = following, episode + transition.done
        if bool((episode >= num_episodes).all()):
            return
    check.fail("episode that outlasts the horizon", episode < num_episodes, episode, step + 1)


def trial_length(distribution: TaskDistribution, num_episodes: int | None) -> int:
    """The episodes of a trial: `num_episodes`, or the distribution's own number. ValueError if there are none."""
    episodes = distribution.episodes if num_episodes is None else num_episodes
    if episodes < 1:
        raise ValueError(f"num_episodes must be at least 1, got {num_episodes}")
    return episodes


@final
@dataclass(frozen=True)
class _Check:
    """Refuses what would silently spoil an evaluation."""

    env: TaskVectorEnv
    num_episodes: int
    first_task: int

    def action(self, action: Tensor, episode: Tensor, step: int) -> None:
        space = self.env.single_action_space
        expected = (self.env.num_envs, *(space.shape or ()))
        if tuple(action.shape) != expected:
            everywhere = torch.ones_like(episode, dtype=torch.bool)
            self.fail(f"action of shape {tuple(action.shape)} instead of {expected}", everywhere, episode, step)
        self.finite({"action": action}, episode, step)
        if isinstance(space, spaces.Discrete):  # a bad index would stop the whole process on a GPU
            outside = (action < int(space.start)) | (action >= int(space.start + space.n))
            if bool(outside.any()):
                self.fail(f"action outside {space}", outside, episode, step)

    def finite(self, values: dict[str, Tensor], episode: Tensor, step: int) -> None:
        """One copy to the host tells that all is well; only a failure looks closer."""
        floats = {what: value for what, value in values.items() if value.is_floating_point()}
        if not floats:
            return
        running = episode < self.num_episodes
        broken = {what: ~value.isfinite().reshape(len(value), -1).all(1) & running for what, value in floats.items()}
        if not bool(torch.stack(list(broken.values())).any()):
            return
        what = next(what for what, where in broken.items() if bool(where.any()))
        self.fail(f"{what} that is not finite", broken[what], episode, step)

    def fail(self, what: str, where: Tensor, episode: Tensor, step: int) -> None:
        slot = int(where.nonzero()[0])
        raise ValueError(
            f"{self.env.distribution.name}: {what}, in task {self.first_task + slot}, episode {int(episode[slot]) + 1} "
            f"at step {step} of the trial, with the parameters {self.env.tasks[slot].to_json()}"
        )
