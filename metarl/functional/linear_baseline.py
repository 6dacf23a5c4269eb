"""The linear baseline, fitted to each of N tasks anew, and advantages over it.

Shapes: N tasks, R rollouts, T steps, D features of an observation, F = 2 D + 4. Episodes follow each other along T.
`done` is true at the last step of each. `valid` says which steps count. Functions raise ValueError, naming the
arguments, if shapes differ.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.functional.returns import episode_gae, episode_returns, time_in_episode
from metarl.functional.shapes import check_same_shape
from metarl.spaces import MixedBox, channels_first, is_image, scaled_pixels

RIDGE = 1e-5
LARGEST_RIDGE = 1e5
WIDEST, SKETCH = 512, 256  # columns of an observation at most, and of what is wider


def linear_features(observation: Tensor, time: Tensor) -> Tensor:
    """Features `[..., F]` in float64 of observations `[..., D]` at the steps `time` [...] of their episodes.

    They are the observation clipped to ±10, its square, t / 100, its second and third power, and 1 (Duan et al. 2016,
    arXiv 1604.06778).
    """
    check_same_shape(observation_entry=observation[..., 0], time=time)
    x = observation.double().clamp(-10, 10)
    t = time.double()[..., None] / 100
    return torch.cat([x, x.square(), t, t.square(), t**3, torch.ones_like(t)], -1)  # [..., F]


def observation_features(observation: Tensor, space: spaces.Space[Any]) -> Tensor:
    """Observations `[..., *shape]` as vectors `[..., D]`: a Box is flattened, discrete spaces become one-hot.

    Images become the brightness of 16 cells (`coarse`), and what would be wider than 512 becomes a sketch of 256
    (`sketch`), because a fit takes the cube of the width. Raises TypeError for any other space.
    """
    if is_image(space):
        return coarse(observation, space)
    if isinstance(space, MixedBox):
        pieces = zip(space.split(observation), space.parts, strict=True)
        return torch.cat([observation_features(piece, part) for piece, part in pieces], -1)
    if isinstance(space, spaces.Box):
        flat = observation.flatten(observation.dim() - len(space.shape))
        return flat if flat.shape[-1] <= WIDEST else sketch(flat)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        counts = [int(space.n)] if isinstance(space, spaces.Discrete) else space.nvec.ravel().tolist()
        if sum(counts) > WIDEST:
            index = observation - torch.as_tensor(space.start, device=observation.device)
            return one_hot_sketch(index.reshape(*index.shape[: index.dim() - len(space.shape or ())], -1), counts)
    if isinstance(space, spaces.Discrete):
        return nn.functional.one_hot(observation - int(space.start), int(space.n)).float()
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        shifted = (observation - torch.as_tensor(space.start, device=observation.device)).unbind(-1)
        counts = space.nvec.tolist()
        return torch.cat([nn.functional.one_hot(x, n) for x, n in zip(shifted, counts, strict=True)], -1).float()
    raise TypeError(f"a linear baseline needs Box, Discrete or flat MultiDiscrete observations, got {space}")


def fit_linear(features: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Ridge regression in each task: weights `[N, F]` from `features` [N, ..., F], `target` and `valid` [N, ...].

    (X'X + ridge I) w = X'y over valid steps, in float64. Where the solution of a task is not finite, its ridge grows
    tenfold. Raises ValueError, naming a task, if no ridge helps because features or targets are not finite.
    """
    check_same_shape(feature=features[..., 0], target=target, valid=valid)
    x = torch.where(valid[..., None], features, 0.0).flatten(1, -2)  # [N, ..., F] -> [N, S, F] of S steps
    y = torch.where(valid, target, 0.0).double().flatten(1)[..., None]  # [N, ...] -> [N, S, 1]
    gram, moment = x.mT @ x, x.mT @ y  # [N, F, F] and [N, F, 1]
    ridge = torch.full_like(moment[:, :1], RIDGE)  # [N, 1, 1]
    weights = _solved(gram, moment, ridge)  # [N, F]
    while (broken := ~weights.isfinite().all(-1)).any() and ridge.max() < LARGEST_RIDGE:
        ridge = torch.where(broken[:, None, None], 10 * ridge, ridge)
        weights = torch.where(broken[:, None], _solved(gram, moment, ridge), weights)
    if broken.any():
        raise ValueError(f"task {int(broken.nonzero()[0])}: no linear baseline fits returns that are not finite")
    return weights


def linear_values(features: Tensor, weights: Tensor) -> Tensor:
    """Predictions `[N, ...]` in float64 from `features` [N, ..., F] and the `weights` [N, F] of each task."""
    check_same_shape(features_of_a_task=features.flatten(1, -2)[:, 0], weights=weights)
    # [N, S, F] @ [N, F, 1] -> [N, S, 1] -> [N, ...]
    return (features.flatten(1, -2) @ weights[..., None]).reshape(features.shape[:-1])


def linear_advantages(
    observation: Tensor, reward: Tensor, done: Tensor, valid: Tensor, gamma: float, gae_lambda: float = 1.0
) -> Tensor:
    """GAE `[N, R, T]` over a linear baseline that is fitted to the returns of the same task, of `reward`'s type.

    `observation` is `[N, R, T, D]`, the others are `[N, R, T]`. `gamma` is the discount per step.
    The baseline is fitted in every call, to returns of the current policy.
    """
    check_same_shape(observation_entry=observation[..., 0], reward=reward, done=done, valid=valid)
    reward_t = torch.where(valid, reward, 0.0).double()
    features = linear_features(observation, time_in_episode(done))
    weights = fit_linear(features, episode_returns(reward_t, done, gamma), valid)
    return episode_gae(reward_t, linear_values(features, weights), done, gamma, gae_lambda).to(reward.dtype)


def normalised_in_tasks(advantage: Tensor, valid: Tensor) -> Tensor:
    """Advantages `[N, ...]` with mean 0 and standard deviation 1 over the valid steps of each task, and 0 elsewhere.

    Raises ValueError, naming a task, if it has no valid step.
    """
    centred, variance = _centred_in_tasks(advantage, valid)
    return (centred / (variance.sqrt() + 1e-8)).view_as(advantage)


def normalised_together(advantage: Tensor, valid: Tensor, mean: Callable[[Tensor], Tensor] = torch.mean) -> Tensor:
    """Advantages `[N, ...]` with mean 0 in each task, all divided by the root of the `mean` variance of the tasks.

    One scale for all tasks makes a gradient averaged over tasks follow their mean return. Solved tasks, whose
    advantages are small, then have little weight. Raises ValueError, naming a task, if it has no valid step.
    """
    centred, variance = _centred_in_tasks(advantage, valid)
    return (centred / (mean(variance).sqrt() + 1e-8)).view_as(advantage)


def _centred_in_tasks(advantage: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Advantages `[N, S]` minus their mean over valid steps, 0 elsewhere, and their variances `[N, 1]`."""
    check_same_shape(advantage=advantage, valid=valid)
    counted, x = valid.flatten(1), torch.where(valid, advantage, 0.0).flatten(1)
    count = counted.sum(1, keepdim=True)
    if (count == 0).any():
        raise ValueError(f"task {int((count == 0).nonzero()[0, 0])}: no step is valid")
    centred = torch.where(counted, x - x.sum(1, keepdim=True) / count, 0.0)
    return centred, centred.square().sum(1, keepdim=True) / count


def _solved(gram: Tensor, moment: Tensor, ridge: Tensor) -> Tensor:
    """Weights `[N, F]`, NaN in tasks whose system is singular."""
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    weights, fault = torch.linalg.solve_ex(gram + ridge * eye, moment)
    return torch.where(fault[:, None] == 0, weights.squeeze(-1), torch.nan)


GRID = 4  # cells of a side in `coarse`


def coarse(observation: Tensor, space: spaces.Box) -> Tensor:
    """Mean brightness `[..., 16]`, from 0 to 1, of 4 x 4 cells of images `[..., *shape]`."""
    x = scaled_pixels(channels_first(observation, space), space).mean(-3)  # [..., C, H, W] -> [..., H, W]
    return nn.functional.adaptive_avg_pool2d(x.reshape(-1, 1, *x.shape[-2:]), GRID).reshape(*x.shape[:-2], -1)


def sketch(x: Tensor) -> Tensor:
    """Vectors `[..., D]` in 256 columns: each entry is added to one of them with a sign, both by a hash of its number.

    Products of vectors stay the same in the mean (Weinberger et al. 2009, arXiv 0902.2206).
    """
    place, sign = _hashed(torch.arange(x.shape[-1], device=x.device))
    columns = x.new_zeros(*x.shape[:-1], SKETCH).index_add(-1, place, x * sign)
    return columns * math.sqrt(SKETCH / x.shape[-1])


def one_hot_sketch(index: Tensor, counts: Sequence[int]) -> Tensor:
    """The sketch, without its scale, of one-hot vectors of K entries `index` [..., K] with `counts` options each."""
    ends = torch.as_tensor(counts, device=index.device).cumsum(0)
    place, sign = _hashed(index + ends - torch.as_tensor(counts, device=index.device))
    return torch.zeros(*index.shape[:-1], SKETCH, device=index.device).scatter_add(-1, place, sign)


def _hashed(number: Tensor) -> tuple[Tensor, Tensor]:
    """A column below 256 and a sign for each of some integers [...], by multiplicative hashing."""
    mixed = (number.long() * 2_654_435_761) % 2**32
    return (mixed >> 20) % SKETCH, ((mixed >> 12) % 2 * 2 - 1).float()
