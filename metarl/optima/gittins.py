"""The finite-horizon Gittins (Whittle) index of Bernoulli arms: near-optimal play where exact play is out of reach."""

import functools
import math
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from metarl import seeding
from metarl.optima import bandits as bandit_theory
from metarl.optima.bandits import Integers, arm_numbers, posterior_means, pulls_of_numbers
from metarl.tasks.distribution import OptimalReturn

Singles = npt.NDArray[np.float32]
SIMULATED_ARM_PULLS = 100_000_000  # one to two seconds


@final
@dataclass(frozen=True, eq=False)
class IndexTable:
    """Indices of arms by what is left to pull: one block of arm numbers for each number of remaining pulls."""

    values: Tensor  # [all blocks]
    starts: Tensor  # [horizon + 1] where the block of 1, 2, ... remaining pulls begins; entry 0 is not used
    horizon: int

    def to(self, device: torch.device | str) -> "IndexTable":
        return IndexTable(self.values.to(device), self.starts.to(device), self.horizon)

    def __call__(self, numbers: Tensor, remaining: Tensor) -> Tensor:
        """Index `[N, arms]` of arms with these numbers `[N, arms]`, where `remaining` [N] >= 1 pulls are left.

        All arms together must have been pulled `horizon - remaining` times at most.
        """
        return self.values[self.starts[remaining][:, None] + numbers]


@functools.cache
def index_table(horizon: int, low: float = 0.0, high: float = 1.0) -> IndexTable:
    """The finite-horizon Gittins index of every arm ~ U[low, high], for `horizon` pulls in all.

    With a price x for each pull, going on with an arm for at most T pulls is worth

        Q_T(s, f) = mean - x + mean W_{T-1}(s + 1, f) + (1 - mean) W_{T-1}(s, f + 1),   W = max(0, Q),   W_0 = 0

    and the index is the price at which Q_T becomes zero, found on a grid of prices and interpolated, to about .001.
    Horizon 100 takes .4 s, 500 ten seconds and 84 MB. (Lattimore 2016, arXiv 1511.06014.)
    """
    if horizon < 1:
        raise ValueError(f"need horizon >= 1, got {horizon}")
    means = posterior_means(horizon, low, high).astype(np.float32)
    sizes = [arm_numbers(horizon - remaining) for remaining in range(1, horizon + 1)]
    starts = np.concatenate([[0, 0], np.cumsum(sizes)])
    worth = np.zeros(starts[-1], np.float32)
    index = np.full(starts[-1], low, np.float32)
    prices = np.linspace(low, high, 201 if horizon <= 200 else 101)
    for price in prices:
        _raise_price(price, prices[1] - prices[0], means, starts, worth, index)
    return IndexTable(torch.from_numpy(index), torch.from_numpy(starts[:-1]), horizon)


def _raise_price(price: float, step: float, means: Singles, starts: Integers, worth: Singles, index: Singles) -> None:
    """Replace the `worth` Q of every arm by that at `price`, and note the `index` of those that it makes worthless."""
    after_failure = np.arange(len(means)) + pulls_of_numbers(len(starts) - 2) + 1
    going_on = np.zeros(len(means), np.float32)
    for remaining in range(1, len(starts) - 1):
        block = slice(starts[remaining], starts[remaining + 1])
        chance, failure = means[: block.stop - block.start], after_failure[: block.stop - block.start]
        value = going_on[failure]
        value += chance * (going_on[failure + 1] - value) + (chance - price)
        before = worth[block]
        turned = np.flatnonzero((before > 0) & (value <= 0))
        index[block][turned] = price - step * value[turned] / (value[turned] - before[turned])
        worth[block] = value
        going_on = np.maximum(value, 0)


def simulated_regret(
    arms: int, horizon: int, trials: int, generator: torch.Generator, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """`[trials, horizon]` what each pull of the index policy falls short of the best arm's mean."""
    table = index_table(horizon, low, high)
    means = low + (high - low) * torch.rand(trials, arms, generator=generator)
    best = means.amax(1)
    numbers, pulls = torch.zeros(2, trials, arms, dtype=torch.int64)
    regret = torch.empty(trials, horizon)
    for time in range(horizon):
        arm = table(numbers, torch.full((trials,), horizon - time)).argmax(1, keepdim=True)
        chance = means.gather(1, arm)
        regret[:, time] = best - chance.squeeze(1)
        won = torch.rand(trials, 1, generator=generator) < chance
        pulls.scatter_add_(1, arm, torch.ones_like(arm))
        numbers.scatter_add_(1, arm, pulls.gather(1, arm) + won)
    return regret


@functools.cache
def optimal_return(arms: int, pulls: int, low: float = 0.0, high: float = 1.0) -> OptimalReturn:
    """The Bayes-optimal reward of `pulls` pulls of arms ~ U[low, high]: exact if cheap, else by the index policy.

    The simulation measures the regret, which varies far less than the reward: the best of k arms is known to pay
    low + (high - low) k / (k + 1) on average. Raises ValueError unless pulls >= 1.
    """
    if pulls < 1:
        raise ValueError(f"need pulls >= 1, got {pulls}")
    if bandit_theory.solvable(arms, pulls):
        solution = bandit_theory.solve(arms, pulls, low, high)
        return OptimalReturn(solution.per_pull, solution.total, "exact", source="dynamic programming over all states")
    trials = min(max(SIMULATED_ARM_PULLS // (arms * pulls), 500), 50_000)
    regret = simulated_regret(arms, pulls, trials, seeding.generator(0, "bandit-optimum"), low, high).double()
    best = low + (high - low) * arms / (arms + 1)
    error = float(regret.sum(1).std()) / math.sqrt(trials)
    source = f"finite-horizon Gittins index in {trials} trials, which is within .04 % wherever the optimum is known"
    return OptimalReturn(
        tuple((best - regret.mean(0)).tolist()), best * pulls - float(regret.sum(1).mean()), "simulated", error, source
    )
