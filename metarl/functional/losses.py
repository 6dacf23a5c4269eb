"""Losses of policies and critics, and the policy-gradient surrogates of an inner loop.

`log_likelihood`, `likelihood_ratio` and `dice` are surrogates: losses whose gradient is the policy gradient. At the
policy that sampled, all have the same first derivative. They differ in the second derivative, which a meta-gradient
needs because it differentiates the inner step.

Surrogates take tensors `[..., T]`, with episodes one after the other along T, and return the mean over valid steps.
`valid` says which steps count; the others may hold any finite number. `advantage` A_t and `log_prob`, in nats, are
given for each step. Functions raise ValueError, naming the arguments, if shapes differ.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from metarl.functional.returns import episode_cumsum
from metarl.functional.shapes import check_same_shape


def clipped_surrogate(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """PPO's loss [] (Schulman et al. 2017, arXiv 1707.06347): - E[min(ratio A, clamp(ratio, 1 - clip, 1 + clip) A)].

    ratio = exp(log_prob - old_log_prob). All tensors have one shape.
    """
    check_same_shape(log_prob=log_prob, old_log_prob=old_log_prob, advantage=advantage)
    ratio = (log_prob - old_log_prob).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """E[(prediction - target)²] / 2, a number []."""
    check_same_shape(prediction=prediction, target=target)
    return 0.5 * (prediction - target).square().mean()


def approx_kl(log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
    """E[ratio - 1 - log ratio], an estimate of KL(old || new) in nats that is never negative (Schulman 2020)."""
    check_same_shape(log_prob=log_prob, old_log_prob=old_log_prob)
    log_ratio = log_prob - old_log_prob
    return (log_ratio.exp() - 1 - log_ratio).mean()


def clip_fraction(log_prob: Tensor, old_log_prob: Tensor, clip: float) -> Tensor:
    """The share, from 0 to 1, of actions whose ratio lies outside [1 - clip, 1 + clip]."""
    check_same_shape(log_prob=log_prob, old_log_prob=old_log_prob)
    return (((log_prob - old_log_prob).exp() - 1).abs() > clip).float().mean()


def mean_and_deviation(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (population) standard deviation of all elements, each []."""
    return x.mean(), x.std(correction=0)


def normalised(
    x: Tensor,
    moments: Callable[[Tensor], tuple[Tensor, Tensor]] = mean_and_deviation,
    least_deviation: float | Tensor = 0.0,
) -> Tensor:
    """`x` minus its mean, divided by its standard deviation. `moments` computes both, by default over all elements.

    A deviation under `least_deviation` counts as that, so that noise is not blown up where nothing differs.
    """
    mean, deviation = moments(x)
    return (x - mean) / (deviation.clamp(min=least_deviation) + 1e-8)


def log_likelihood(log_prob: Tensor, advantage: Tensor, valid: Tensor) -> Tensor:
    """- E[log pi(a_t) A_t], the surrogate of REINFORCE. Its second derivative is biased: use it in first-order methods.

    It leaves out how the sampling distribution depends on the parameters (Foerster et al. 2018, arXiv 1802.05098).
    """
    check_same_shape(log_prob=log_prob, advantage=advantage, valid=valid)
    return -valid_mean(log_prob * advantage, valid)


def likelihood_ratio(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, valid: Tensor) -> Tensor:
    """- E[pi(a_t) / pi_old(a_t) A_t], low-variance curvature (LVC; ProMP, Rothfuss et al. 2019, arXiv 1810.06784).

    `old_log_prob` was recorded while sampling. The second derivative leaves out how an action changes the advantages of
    later ones. It has a small bias, and much less variance than DiCE.
    """
    check_same_shape(log_prob=log_prob, old_log_prob=old_log_prob, advantage=advantage, valid=valid)
    log_ratio = torch.where(
        valid, log_prob - old_log_prob, 0.0
    )  # before exp, which might overflow at steps that are not valid
    return -valid_mean(log_ratio.exp() * advantage, valid)


def clipped_likelihood_ratio(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float, valid: Tensor
) -> Tensor:
    """`clipped_surrogate`, as a mean over valid steps (PPO, Schulman et al. 2017, arXiv 1707.06347)."""
    check_same_shape(log_prob=log_prob, old_log_prob=old_log_prob, advantage=advantage, valid=valid)
    ratio = torch.where(valid, log_prob - old_log_prob, 0.0).exp()
    return -valid_mean(torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage), valid)


def dice(log_prob: Tensor, advantage: Tensor, done: Tensor, valid: Tensor) -> Tensor:
    """- E[(box(W_t) - box(W_{t-1})) A_t], W_t = sum of log pi(a_k) over steps k <= t of the same episode.

    box(x) = exp(x - stop_gradient(x)) has the value 1, and its derivatives of every order are right (DiCE, Foerster et
    al. 2018, arXiv 1802.05098; with advantages in place of rewards, Farquhar et al. 2019, arXiv 1909.10549).
    `done` is true at the last step of each episode, so that an episode gets no credit for another. The value of the
    loss is always 0; only its derivatives have a meaning.
    """
    check_same_shape(log_prob=log_prob, advantage=advantage, done=done, valid=valid)
    counted = torch.where(valid, log_prob, 0.0)
    upto = episode_cumsum(counted, done)
    return -valid_mean((_box(upto) - _box(upto - counted)) * advantage, valid)


def valid_mean(x: Tensor, valid: Tensor) -> Tensor:
    """The mean [] of `x` over the steps where `valid`; NaN if there is none."""
    check_same_shape(x=x, valid=valid)
    return torch.where(valid, x, 0.0).sum() / valid.sum()


def _box(x: Tensor) -> Tensor:
    return (x - x.detach()).exp()
