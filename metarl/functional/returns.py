"""Returns and advantages, over whole trials or within episodes, and the clock of a trial.

The last axis is time: `[..., T]`. `gamma` is the discount per step. `done` is true at the last step of an
episode. Functions raise ValueError, naming the arguments, if shapes differ.
"""

import torch
from torch import Tensor

from metarl.functional.shapes import check_same_shape


def discounted_returns(reward_t: Tensor, gamma: float | Tensor, final_value: Tensor | None = None) -> Tensor:
    """G_t = reward_t + gamma_t * G_{t+1}, shape `[..., T]`, with G_T = `final_value` [...] (default 0).

    `gamma` is a number, or has the shape of `reward_t`.

    >>> discounted_returns(torch.tensor([1.0, 0.0, 4.0]), 0.5)
    tensor([2., 2., 4.])
    """
    following = torch.zeros_like(reward_t[..., 0]) if final_value is None else final_value
    check_same_shape(reward_t=reward_t, gamma=gamma)
    check_same_shape(reward_of_a_step=reward_t[..., 0], final_value=following)
    returns, gamma_t = torch.empty_like(reward_t), gamma * torch.ones_like(reward_t)
    for t in reversed(range(reward_t.shape[-1])):
        following = reward_t[..., t] + gamma_t[..., t] * following
        returns[..., t] = following
    return returns


def gae(
    reward_t: Tensor, value_t: Tensor, gamma: float | Tensor, gae_lambda: float, final_value: Tensor | None = None
) -> Tensor:
    """Generalised advantage estimates A_t `[..., T]` of whole trials (Schulman et al. 2016, arXiv 1506.02438).

    delta_t = reward_t + gamma_t * value_{t+1} - value_t,  A_t = delta_t + gamma_t * gae_lambda * A_{t+1}

    The whole axis is one trial. Advantages cross the ends of its episodes, because what an agent learns in one episode
    brings reward in the next. `final_value` [...] is value_T: zero (the default) if the trial is over. `gamma` is a
    number, or has the shape of `reward_t`.
    """
    last = torch.zeros_like(value_t[..., :1]) if final_value is None else final_value[..., None]
    check_same_shape(reward_t=reward_t, value_t=value_t, gamma=gamma)
    check_same_shape(value_of_a_step=value_t[..., :1], final_value=last)
    value_tp1 = torch.cat([value_t[..., 1:], last], -1)
    return discounted_returns(reward_t + gamma * value_tp1 - value_t, gamma * gae_lambda)


def trial_time(done: Tensor, horizon: int, steps: int) -> tuple[Tensor, Tensor]:
    """The time of a trial of `steps` steps, before and after each step, each `[B, T]`; `done` is `[B, T]`.

    Each episode counts as `horizon` steps, its time limit, even if it ends early and the next one starts at once.
    Without this clock, an early end would cost nothing if the reward is for staying, and bring nothing if the reward is
    for being done. When the time of the trial is over, a new trial of the same task begins.
    """
    time = torch.arange(done.shape[1], device=done.device).expand(done.shape)
    begins = torch.cat([torch.ones_like(done[:, :1]), done[:, :-1]], 1)
    since = time - torch.where(begins, time, 0).cummax(1).values
    before = ((begins.cumsum(1) - 1) * horizon + since) % steps
    return before, torch.where(done, before - since + horizon, before + 1)


def counted_rewards(reward_t: Tensor, time: Tensor, horizon: int, free_episodes: int) -> Tensor:
    """`reward_t` [B, T] with zeros in the first `free_episodes` of a trial, whose return does not count.

    `time` [B, T] is the trial's, before each step (see `trial_time`), where an episode takes `horizon` steps.
    """
    check_same_shape(reward_t=reward_t, time=time)
    return torch.where(time >= free_episodes * horizon, reward_t, 0.0)


def episode_cumsum(x_t: Tensor, done: Tensor) -> Tensor:
    """y_t = the sum of x over the steps up to t of the same episode, `[..., T]`.

    This is a scan in log2(T) rounds. One cumulative sum, minus the total before the episode, would be one round. Its
    rounding errors, however, would leak from one episode into another.
    """
    check_same_shape(x_t=x_t, done=done)
    steps = x_t.shape[-1]
    episode = done.long().cumsum(-1) - done.long()
    total, reach = x_t, 1
    while reach < steps:
        same = episode[..., reach:] == episode[..., :-reach]
        earlier = torch.where(same, total[..., :-reach], 0.0)
        total = torch.cat([total[..., :reach], total[..., reach:] + earlier], -1)
        reach *= 2
    return total


def episode_gae(reward_t: Tensor, value_t: Tensor, done: Tensor, gamma: float, gae_lambda: float = 1.0) -> Tensor:
    """Generalised advantage estimates A_t `[..., T]` within episodes (Schulman et al. 2016, arXiv 1506.02438).

    delta_t = reward_t + gamma * value_{t+1} - value_t,  A_t = delta_t + gamma * gae_lambda * A_{t+1}

    The terms of t+1 are zero where `done`, and after the last step. With `gae_lambda` 1 these are returns minus values.
    """
    check_same_shape(reward_t=reward_t, value_t=value_t, done=done)
    return gae(reward_t, value_t, gamma * (~done).to(reward_t.dtype), gae_lambda)


def episode_returns(reward_t: Tensor, done: Tensor, gamma: float) -> Tensor:
    """G_t = reward_t + gamma * G_{t+1} to the end of each episode, `[..., T]`."""
    return episode_gae(reward_t, torch.zeros_like(reward_t), done, gamma)


def time_in_episode(done: Tensor) -> Tensor:
    """The steps 0, 1, 2, ... since the start of each episode, `[..., T]` (int64)."""
    return episode_cumsum(torch.ones_like(done, dtype=torch.int64), done) - 1
