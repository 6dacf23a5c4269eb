"""Statistics of evaluations: robust means, and bootstrap intervals over tasks and seeds.

A bootstrap resample of n scores is written as n counts: how often each score was drawn. Every statistic here takes such
counts, so that thousands of resamples cost one matrix product, and scores are sorted once.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[Any]
Statistic = Callable[[Array, Array], Array]  # scores [n, ...], counts [resamples, n] -> [resamples, ...]
CHUNK = 300_000  # counts in memory at once; so many fit into a processor's cache


class Interval(NamedTuple):
    """A statistic and the ends of its confidence interval, all of one shape."""

    value: Array
    low: Array
    high: Array


def iqm(scores: Array) -> Array:
    """Interquartile mean over the first axis: the mean of the middle half (Agarwal et al. 2021, arXiv 2108.13264).

    >>> float(iqm(np.array([0.0, 1.0, 2.0, 90.0])))
    1.5
    """
    return np.asarray(stats.trim_mean(scores, 0.25, axis=0))


def mean_and_error(scores: Array) -> tuple[Array, Array]:
    """Mean over the first axis and its standard error (zero for a single score). ValueError without scores."""
    scores = np.asarray(scores, dtype=np.float64)
    if len(scores) == 0:
        raise ValueError("no scores to average")
    mean = scores.mean(0)
    return mean, scores.std(0, ddof=1) / np.sqrt(len(scores)) if len(scores) > 1 else np.zeros_like(mean)


def resampled_mean(scores: Array, counts: Array) -> Array:
    """Mean of each resample: `scores` [n, ...] and `counts` [R, n] give `[R, ...]`."""
    flat = np.asarray(counts @ scores.reshape(len(scores), -1) / counts.sum(1, keepdims=True))
    return flat.reshape(len(counts), *scores.shape[1:])


def resampled_iqm(scores: Array, counts: Array) -> Array:
    """Interquartile mean of each resample: `scores` [n] and `counts` [R, n] give `[R]`.

    As in `iqm`, a quarter of the scores, rounded down, is cut from each end.
    """
    order = np.argsort(scores)
    ranks = counts[:, order].cumsum(1)
    total = ranks[:, -1:]
    cut = total // 4
    kept = np.clip(ranks, cut, total - cut)
    weights = np.diff(kept, axis=1, prepend=cut)
    return np.asarray((weights @ scores[order]) / (total - 2 * cut)[:, 0])


def bootstrap_interval(
    strata: Sequence[Array],
    generator: np.random.Generator,
    statistic: Statistic = resampled_mean,
    *,
    resample_strata: bool = False,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Percentile interval of a statistic of the pooled scores, by stratified bootstrap.

    A stratum `[n, ...]` holds the scores of one training seed on n tasks. Tasks are resampled within each seed, so the
    interval is for *these* agents on new tasks. With `resample_strata`, seeds are resampled first, so it is for newly
    trained agents on new tasks. With fewer than about five seeds it is too narrow, as any bootstrap is.
    Raises ValueError if a stratum has no scores, if `confidence` is not between 0 and 1, or if `resamples` is below 1.
    """
    scores = _pooled(strata)
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(f"need 0 < confidence < 1 and resamples >= 1, got {confidence} and {resamples}")
    sizes = [len(stratum) for stratum in strata]
    chunks = resample_counts(sizes, generator, resamples, resample_strata)
    replicates = np.concatenate([statistic(scores, counts) for counts in chunks])
    low, high = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return Interval(statistic(scores, np.ones((1, len(scores))))[0], low, high)


def resample_counts(
    sizes: Sequence[int], generator: np.random.Generator, resamples: int, resample_strata: bool = False
) -> Iterator[Array]:
    """Counts `[R, sum(sizes)]` of stratified resamples, in chunks that add up to `resamples` rows."""
    rows = max(1, CHUNK // sum(sizes))
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        times = np.ones((count, len(sizes)), dtype=np.int64)
        if resample_strata:
            times = generator.multinomial(len(sizes), [1 / len(sizes)] * len(sizes), size=count)
        yield np.concatenate([_draws(size, times[:, i], generator) for i, size in enumerate(sizes)], axis=1)


def probability_of_improvement(ours: Array, theirs: Array) -> float:
    """The probability that a random score of `ours` [n] exceeds one of `theirs` [m]; a tie counts one half.

    The Mann-Whitney statistic divided by n m (Agarwal et al. 2021, arXiv 2108.13264).
    """
    contest = _contest(np.asarray(ours), np.asarray(theirs))
    return float(contest(np.ones((1, len(ours))), np.ones((1, len(theirs))))[0])


def improvement_interval(
    ours: Sequence[Array],
    theirs: Sequence[Array],
    generator: np.random.Generator,
    *,
    resample_strata: bool = False,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Probability of improvement with its bootstrap interval; both sides are strata, as in `bootstrap_interval`."""
    mine, other = _pooled(ours), _pooled(theirs)
    contest = _contest(mine, other)
    sizes = [[len(stratum) for stratum in side] for side in (ours, theirs)]
    replicates = np.concatenate(
        [
            contest(*(next(resample_counts(side, generator, 1, resample_strata)) for side in sizes))
            for _ in range(resamples)
        ]
    )
    low, high = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(np.asarray(probability_of_improvement(mine, other)), low, high)


def _contest(ours: Array, theirs: Array) -> Callable[[Array, Array], Array]:
    """A function of counts `[R, n]` and `[R, m]` that returns the share `[R]` of pairs in which `ours` is larger."""
    order = np.argsort(theirs)
    first, last = (np.searchsorted(theirs[order], ours, side=side) for side in ("left", "right"))

    def share(our_counts: Array, their_counts: Array) -> Array:
        below = np.pad(their_counts[:, order].cumsum(1), ((0, 0), (1, 0)))
        wins = (our_counts * (below[:, first] + below[:, last])).sum(1) / 2
        return np.asarray(wins / (our_counts.sum(1) * below[:, -1]))

    return share


def _draws(size: int, times: Array, generator: np.random.Generator) -> Array:
    """Counts `[R, size]`; row r is `times[r] * size` draws with replacement from one stratum."""
    draws = (generator.integers(size, size=count, dtype=np.int32) for count in (times * size).tolist())
    return np.stack([np.bincount(drawn, minlength=size) for drawn in draws])


def _pooled(strata: Sequence[Array]) -> Array:
    if not strata or any(len(stratum) == 0 for stratum in strata):
        raise ValueError("every stratum needs at least one score")
    return np.concatenate([np.asarray(stratum, dtype=np.float64) for stratum in strata])
