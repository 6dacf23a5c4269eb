"""Returns and advantages over whole trials, and the clock by which their episodes count."""

import torch
from torch import Tensor

from metarl.functional.shapes import check_same_shape


def discounted_returns(reward_t: Tensor, discount: float | Tensor, final_value: Tensor | None = None) -> Tensor:
    """G_t = reward_t + discount_t * G_{t+1} along the last axis [..., T], with G_T = `final_value` [...] (default 0).

    `discount` is a number, or has the shape of `reward_t`. Raises ValueError where shapes differ.
    """
    following = torch.zeros_like(reward_t[..., 0]) if final_value is None else final_value
    check_same_shape(reward_t=reward_t, discount=discount)
    check_same_shape(reward_of_a_step=reward_t[..., 0], final_value=following)
    returns, discount_t = torch.empty_like(reward_t), discount * torch.ones_like(reward_t)
    for t in reversed(range(reward_t.shape[-1])):
        following = reward_t[..., t] + discount_t[..., t] * following
        returns[..., t] = following
    return returns


def gae(
    reward_t: Tensor, value_t: Tensor, discount: float | Tensor, trace: float, final_value: Tensor | None = None
) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, arXiv 1506.02438), along the last axis.

    delta_t = reward_t + discount_t * value_{t+1} - value_t,  A_t = delta_t + discount_t * trace * A_{t+1}

    The whole axis is one trial: advantages cross the ends of its episodes, because what is learned in one episode pays
    in the next. `final_value` is value_T: zero (the default) where the trial is over. Raises ValueError where shapes
    differ; `discount` is a number or has that of the rewards.
    """
    last = torch.zeros_like(value_t[..., :1]) if final_value is None else final_value[..., None]
    check_same_shape(reward_t=reward_t, value_t=value_t, discount=discount)
    check_same_shape(value_of_a_step=value_t[..., :1], final_value=last)
    value_tp1 = torch.cat([value_t[..., 1:], last], -1)
    return discounted_returns(reward_t + discount * value_tp1 - value_t, discount * trace)


def trial_time(done: Tensor, horizon: int, steps: int) -> tuple[Tensor, Tensor]:
    """How much of a trial of `steps` steps is over, before and after each step `[B, T]`, `done` where episodes ended.

    Each episode counts as its time limit, `horizon` steps: one that ends early is followed by nothing until its time is
    up. Else ending it would be free where rewards are paid for staying, and worthless where they are paid for being
    done, since the next episode starts at once. Episodes beyond the trial are those of a next one in the same task.
    """
    time = torch.arange(done.shape[1], device=done.device).expand(done.shape)
    begins = torch.cat([torch.ones_like(done[:, :1]), done[:, :-1]], 1)
    since = time - torch.where(begins, time, 0).cummax(1).values
    before = ((begins.cumsum(1) - 1) * horizon + since) % steps
    return before, torch.where(done, before - since + horizon, before + 1)


def episode_cumsum(x_t: Tensor, done: Tensor) -> Tensor:
    """y_t = sum of x over the steps up to t of the same episode, along the last axis; `done` ends episodes.

    A scan in log2(T) rounds. Subtracting the total before the episode would be one round, but its rounding errors
    would leak gradient from one episode into another.
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


def episode_gae(reward_t: Tensor, value_t: Tensor, done: Tensor, discount: float, trace: float = 1.0) -> Tensor:
    """A_t = delta_t + discount * trace * A_{t+1}, delta_t = reward_t + discount * value_{t+1} - value_t, in episodes.

    Along the last axis; nothing follows where `done` or after the last step. With value 0 and trace 1 these are
    discounted returns, with trace 1 returns minus values (Schulman et al. 2016, arXiv 1506.02438).
    """
    check_same_shape(reward_t=reward_t, value_t=value_t, done=done)
    return gae(reward_t, value_t, discount * (~done).to(reward_t.dtype), trace)


def episode_returns(reward_t: Tensor, done: Tensor, discount: float) -> Tensor:
    """G_t = reward_t + discount * G_{t+1} to the end of each episode, along the last axis."""
    return episode_gae(reward_t, torch.zeros_like(reward_t), done, discount)


def time_in_episode(done: Tensor) -> Tensor:
    """0, 1, 2, ... from the start of each episode, along the last axis (int64)."""
    return episode_cumsum(torch.ones_like(done, dtype=torch.int64), done) - 1
