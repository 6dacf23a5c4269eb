"""Losses of policies and critics: pure functions of tensors of one shape, averaged over all their elements.

ValueError, naming the arguments, where shapes differ.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from metarl.shapes import check_same_shape


def clipped_surrogate(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """PPO's loss (Schulman et al. 2017, arXiv 1707.06347): - E[min(ratio A, clamp(ratio, 1 - clip, 1 + clip) A)]."""
    check_same_shape(log_prob=log_prob, old_log_prob=old_log_prob, advantage=advantage)
    ratio = (log_prob - old_log_prob).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """E[(prediction - target)²] / 2."""
    check_same_shape(prediction=prediction, target=target)
    return 0.5 * (prediction - target).square().mean()


def approximate_kl(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """E[ratio - 1 - log ratio], an estimate of KL(old || new) that is never negative (Schulman 2020)."""
    check_same_shape(log_prob=log_prob, old_log_prob=old_log_prob)
    log_ratio = log_prob - old_log_prob
    return (log_ratio.exp() - 1 - log_ratio).mean()


def mean_and_deviation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of all elements."""
    return x.mean(), x.std(correction=0)


def normalised(x: Tensor, moments: Callable[[Tensor], tuple[Tensor, Tensor]] = mean_and_deviation) -> Tensor:
    """`x` shifted and scaled to mean 0 and standard deviation 1 over all its elements, or by other `moments` of it."""
    mean, deviation = moments(x)
    return (x - mean) / (deviation + 1e-8)
