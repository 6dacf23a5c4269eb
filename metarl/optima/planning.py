"""Finite-horizon planning in batches of tabular Markov decision processes, with known or uncertain dynamics."""

from collections.abc import Callable

import torch
from torch import Tensor


def value_iteration(rewards: Tensor, transitions: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    """The optimal values and actions of N decision processes with S states, A actions and `horizon` steps.

        Q_t(s, a) = R(s, a) + sum_s' P(s' | s, a) V_{t+1}(s'),    V_t(s) = max_a Q_t(s, a),    V_horizon = 0

    `rewards` [N, S, A] are means, `transitions` [N, S, A, S] sum to one over the last axis. Returns values
    `[N, horizon, S]` and a greedy policy `[N, horizon, S]`. Raises ValueError if shapes differ or horizon < 1.
    """
    _check(rewards, transitions, horizon)
    flat = transitions.flatten(1, 2)
    return _backward(rewards, lambda value: (flat @ value[..., None]).view_as(rewards), horizon)


def action_values(rewards: Tensor, transitions: Tensor, horizon: int) -> Tensor:
    """Q_t(s, a) `[N, horizon, S, A]` of `value_iteration`: the return from step t on if `a` is taken first."""
    values, _ = value_iteration(rewards, transitions, horizon)
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)  # V_{t+1}
    return rewards[:, None] + torch.einsum("nsaz,ntz->ntsa", transitions, following)


def optimistic_value_iteration(
    rewards: Tensor, transitions: Tensor, radius: Tensor, horizon: int
) -> tuple[Tensor, Tensor]:
    """`value_iteration` in the most favourable transitions within `radius` [N, S, A] of the given ones.

    The distance is the sum of absolute differences, as in UCRL2 (Jaksch, Ortner and Auer 2010): the best successor
    gains at most radius / 2, taken from the worst ones.
    """
    _check(rewards, transitions, horizon)
    return _backward(rewards, lambda value: optimistic_expectation(value, transitions, radius), horizon)


def optimistic_expectation(value: Tensor, transitions: Tensor, radius: Tensor) -> Tensor:
    """The largest expectation `[N, S, A]` of `value` [N, S] over distributions within `radius` of `transitions`."""
    ranked, order = value.sort(-1, descending=True)
    mass = transitions.gather(-1, order[:, None, None].expand_as(transitions)).cumsum(-1)
    mass = (mass + radius[..., None] / 2).clamp(max=1)
    # summation by parts: the chance of the r best states, times how much better the r-th is than the next
    gaps = ranked[:, :-1] - ranked[:, 1:]
    return ranked[:, None, None, -1] + (mass[..., :-1] * gaps[:, None, None]).sum(-1)


def next_step(elapsed: Tensor, done: Tensor, horizon: int) -> Tensor:
    """`[N]` steps since the start of the episode, after one more; what outlasts the horizon counts as its last step."""
    return (elapsed + 1).clamp(max=horizon - 1) * ~done


def _backward(rewards: Tensor, expectation: Callable[[Tensor], Tensor], horizon: int) -> tuple[Tensor, Tensor]:
    """Backward induction, where `expectation` maps values [N, S] of successors to [N, S, A]."""
    tasks, states, _ = rewards.shape
    values = rewards.new_empty(tasks, horizon, states)
    policy = torch.empty(tasks, horizon, states, dtype=torch.int64, device=rewards.device)
    value = rewards.new_zeros(tasks, states)
    for time in reversed(range(horizon)):
        value, policy[:, time] = (rewards + expectation(value)).max(-1)
        values[:, time] = value
    return values, policy


def _check(rewards: Tensor, transitions: Tensor, horizon: int) -> None:
    if rewards.dim() != 3 or transitions.shape != (*rewards.shape, rewards.shape[1]):
        shapes = f"{tuple(rewards.shape)} and {tuple(transitions.shape)}"
        raise ValueError(f"need rewards [N, S, A] and transitions [N, S, A, S], got {shapes}")
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1, got {horizon}")
