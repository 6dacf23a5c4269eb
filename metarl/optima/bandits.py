"""Bernoulli bandits with uniform, independent arms: posteriors, and the exact Bayes-optimal policy.

An arm with s successes in m = s + f pulls has the *number* m (m + 1) / 2 + s. A fresh arm is 0; from an arm number
a success leads to number + m + 2 and a failure to number + m + 1.
"""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
AFFORDABLE_STATES = 300_000  # solved in a few seconds


def arm_number(successes: Tensor, failures: Tensor) -> Tensor:
    """The number of each arm, for tensors of integers of one shape."""
    pulls = successes + failures
    return pulls * (pulls + 1) // 2 + successes


def arm_numbers(pulls: int) -> int:
    """How many numbers there are for arms pulled at most `pulls` times."""
    return (pulls + 1) * (pulls + 2) // 2


def pulls_of_numbers(pulls: int) -> Integers:
    """`[numbers]` how often the arm of each number was pulled, up to `pulls` times."""
    return np.repeat(np.arange(pulls + 1), np.arange(1, pulls + 2))


@functools.cache
def posterior_means(pulls: int, low: float = 0.0, high: float = 1.0) -> Floats:
    """`[numbers]` the chance that an arm ~ U[low, high] pays next; arms pulled at most `pulls` times.

    (s + 1) / (m + 2) on [0, 1]; elsewhere by Gauss-Legendre quadrature, exact for these polynomials.
    """
    if (low, high) == (0.0, 1.0):
        pulled = pulls_of_numbers(pulls)
        return (np.arange(len(pulled)) - pulled * (pulled + 1) // 2 + 1.0) / (pulled + 2)
    nodes, weights = np.polynomial.legendre.leggauss(pulls // 2 + 2)
    chance = low + (high - low) * (nodes + 1) / 2
    return np.concatenate([_means_after(m, chance, np.log(weights)) for m in range(pulls + 1)])


def _means_after(pulls: int, chance: Floats, log_weights: Floats) -> Floats:
    """`[pulls + 1]` posterior means after s = 0..pulls successes, on quadrature nodes."""
    successes = np.arange(pulls + 1)[:, None]
    log_posterior = log_weights + successes * np.log(chance) + (pulls - successes) * np.log1p(-chance)
    posterior = np.exp(log_posterior - log_posterior.max(1, keepdims=True))
    means: Floats = (posterior @ chance) / posterior.sum(1)
    return means


def count_states(arms: int, horizon: int) -> int:
    """How many states the exact solution has: multisets of at most `arms` pulled arms, `horizon` - 1 pulls in all."""
    ways = np.zeros((arms + 1, horizon), dtype=object)
    ways[0, 0] = 1
    for pulls in range(1, horizon):
        grown = ways.copy()
        for alike in range(1, min(arms, (horizon - 1) // pulls) + 1):
            grown[alike:, alike * pulls :] += ways[:-alike, : horizon - alike * pulls] * math.comb(pulls + alike, alike)
        ways = grown
    return int(ways.sum())


def solvable(arms: int, horizon: int) -> bool:
    """Whether `solve` is a matter of seconds."""
    return horizon <= 400 and count_states(min(arms, horizon), horizon) <= AFFORDABLE_STATES and _fits(arms, horizon)


@final
@dataclass(frozen=True, eq=False)
class BayesOptimal:
    """The exact optimal policy: what to pull in each multiset of arms."""

    keys: Tensor  # [states] ascending
    best: Tensor  # [states] the arm to pull, counted from the largest number down
    per_pull: tuple[float, ...]  # expected reward of each pull
    arms: int

    @property
    def horizon(self) -> int:
        return len(self.per_pull)

    @property
    def total(self) -> float:
        return sum(self.per_pull)

    def to(self, device: torch.device | str) -> "BayesOptimal":
        return BayesOptimal(self.keys.to(device), self.best.to(device), self.per_pull, self.arms)

    def choose(self, numbers: Tensor) -> Tensor:
        """The arm `[N]` to pull where the arms have these numbers `[N, arms]`, fewer than `horizon` pulls in all."""
        width = min(self.arms, self.horizon)
        order = numbers.argsort(dim=1, descending=True)[:, :width]
        places = torch.from_numpy(_place_values(width, self.horizon)).to(numbers.device)
        key = (numbers.gather(1, order) * places).sum(1)  # GPUs have no matrix product of integers
        state = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
        return order.gather(1, self.best[state, None]).squeeze(1)


@functools.cache
def solve(arms: int, horizon: int, low: float = 0.0, high: float = 1.0) -> BayesOptimal:
    """Dynamic programming over the multiset of arm numbers, for `horizon` pulls of arms ~ U[low, high].

    Arms are exchangeable, so their order does not matter: 5 arms and 10 pulls have 1951 states.

    >>> round(solve(arms=5, horizon=10).total, 5)
    6.65999

    Raises ValueError where the states are too many, or there are no arms or pulls.
    """
    if min(arms, horizon) < 1:
        raise ValueError(f"need arms >= 1 and horizon >= 1, got arms={arms}, horizon={horizon}")
    if not solvable(arms, horizon):
        raise ValueError(f"{arms} arms and {horizon} pulls have more than {AFFORDABLE_STATES} states to solve exactly")
    means = posterior_means(horizon, low, high)
    levels = _levels(min(arms, horizon), horizon)
    choices = _choices(levels, means)
    keys = torch.from_numpy(np.concatenate([level.keys for level in levels]))
    best = torch.from_numpy(np.concatenate(choices))
    order = keys.argsort()
    return BayesOptimal(keys[order], best[order], _rewards(levels, choices, means), arms)


class _Level(NamedTuple):
    """All states after the same number of pulls."""

    keys: Integers  # [M] ascending
    arms: Integers  # [M, k] arm numbers, descending
    following: Integers  # [M, k, 2] the row in the next level after a failure or a success of each arm


def _fits(arms: int, horizon: int) -> bool:
    return min(arms, horizon) * math.log2(arm_numbers(horizon - 1)) < 63


def _place_values(width: int, horizon: int) -> Integers:
    """`[width]` so that the dot product with the arm numbers is one integer that names the state."""
    return np.array([arm_numbers(horizon - 1) ** place for place in range(width)], np.int64)


def _levels(width: int, horizon: int) -> list[_Level]:
    pulled, places = pulls_of_numbers(horizon), _place_values(width, horizon)
    levels, keys, arms = [], np.zeros(1, np.int64), np.zeros((1, width), np.int64)
    for _ in range(horizon - 1):
        growth = pulled[arms][:, :, None] + np.array([1, 2])
        children = arms[:, None, None] + growth[..., None] * np.eye(width, dtype=np.int64)[None, :, None]
        children = -np.sort(-children, -1).reshape(-1, width)
        next_keys, first, following = np.unique(children @ places, return_index=True, return_inverse=True)
        levels.append(_Level(keys, arms, following.reshape(len(arms), width, 2)))
        keys, arms = next_keys, children[first]
    return [*levels, _Level(keys, arms, np.zeros((len(arms), width, 2), np.int64))]


def _choices(levels: list[_Level], means: Floats) -> list[Integers]:
    """`[M]` for each level: the best arm, from the last pull back."""
    choices: list[Integers] = []
    values: Floats = np.zeros(1)
    for level in reversed(levels):
        chance = means[level.arms]
        worth = (1 - chance) * values[level.following[..., 0]] + chance * (1 + values[level.following[..., 1]])
        choices.append(worth.argmax(1))
        values = worth.max(1)
    return choices[::-1]


def _rewards(levels: list[_Level], choices: list[Integers], means: Floats) -> tuple[float, ...]:
    """The expected reward of each pull, from the chance of every state under the best choices."""
    rewards: list[float] = []
    mass: Floats = np.ones(1)
    for time, (level, choice) in enumerate(zip(levels, choices, strict=True)):
        row = np.arange(len(choice))
        chance = means[level.arms[row, choice]]
        rewards.append(float(mass @ chance))
        if time + 1 < len(levels):
            following = level.following[row, choice]
            outcome = np.stack([mass * (1 - chance), mass * chance], 1)
            mass = np.bincount(following.ravel(), outcome.ravel(), len(choices[time + 1])).astype(np.float64)
    return tuple(rewards)
