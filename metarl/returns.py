"""Returns and advantages over whole trials."""

import torch
from torch import Tensor


def discounted_returns(reward_t: Tensor, discount: float, final_value: Tensor | None = None) -> Tensor:
    """G_t = reward_t + discount * G_{t+1} along the last axis, with G_T = `final_value` (default 0); same shape."""
    following = torch.zeros_like(reward_t[..., 0]) if final_value is None else final_value
    returns = torch.empty_like(reward_t)
    for t in reversed(range(reward_t.shape[-1])):
        following = reward_t[..., t] + discount * following
        returns[..., t] = following
    return returns


def gae(reward_t: Tensor, value_t: Tensor, discount: float, trace: float, final_value: Tensor | None = None) -> Tensor:
    """Generalised advantage estimates (Schulman et al. 2016, arXiv 1506.02438), along the last axis.

    delta_t = reward_t + discount * value_{t+1} - value_t,  A_t = delta_t + discount * trace * A_{t+1}

    The whole axis is one trial: advantages cross the ends of its episodes, because what is learned in one episode pays
    in the next. `final_value` is value_T: zero (the default) where the trial is over.
    """
    last = torch.zeros_like(value_t[..., :1]) if final_value is None else final_value[..., None]
    value_tp1 = torch.cat([value_t[..., 1:], last], -1)
    return discounted_returns(reward_t + discount * value_tp1 - value_t, discount * trace)
