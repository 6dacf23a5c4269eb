"""How the return of a policy follows each change of the task inside a trial."""

from dataclasses import dataclass
from typing import final

import numpy as np

from metarl.engines.changing_tasks import ChangingTasks
from metarl.evaluation.results import Evaluation
from metarl.evaluation.statistics import Array, Interval, mean_interval


@final
@dataclass(frozen=True)
class Change:
    """The effect of one change of the task on a policy's return."""

    episode: int  # the first in the next task, counted from 1
    lost: Interval  # return of the first episode after the change minus the last one before it
    noticed: Interval | None  # episodes until most of the loss was made up, see `_noticed`; None: no loss is sure
    kept: Interval | None  # where a task returns: its first episode now minus its very first


def measure_changes(evaluation: Evaluation, distribution: ChangingTasks) -> list[Change]:
    """The effect of each change of the task, for a policy that was evaluated on `distribution`.

    >>> import metarl
    >>> from metarl.agents import UCB1
    >>> arms = ChangingTasks(metarl.make("bernoulli-bandit", pulls=10), change_episodes=(5,))
    >>> result = metarl.evaluate(UCB1(arms.base, num_tasks=20), arms, num_tasks=20)
    >>> [change.episode for change in measure_changes(result, arms)]
    [6]

    Raises ValueError if the trials of `evaluation` end before the last change.
    """
    returns, starts = evaluation.returns, (0, *distribution.change_episodes)
    if evaluation.num_episodes <= starts[-1]:
        raise ValueError(f"the last change comes at episode {starts[-1] + 1}, the trials end after {len(returns[0])}")
    ends = (*starts[1:], evaluation.num_episodes)
    found = []
    for phase, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if phase == 0:
            continue
        first = starts[distribution.order.index(distribution.order[phase])]
        found.append(
            Change(
                start + 1,
                _mean(returns[:, start] - returns[:, start - 1]),
                _noticed(returns[:, start - 1 : end]),
                _mean(returns[:, start] - returns[:, first]) if first < start else None,
            )
        )
    return found


def _noticed(returns: Array) -> Interval | None:
    """Episodes from a change until nine tenths of what is later made up are made up, with a bootstrap interval.

    `returns` [N, 1 + K] are those of N tasks in the episode before the change and in the K after it. What is made up is
    the rise from the first episode after the change to the level, the mean of the last third. The answer is the first
    episode whose mean is not clearly below nine tenths of the way, by two standard errors. None where the interval of
    what was lost, or that of the rise, holds zero, and for a single task, which says nothing of noise.
    """
    if len(returns) == 1:
        return None
    after, last = returns[:, 1:], -(-(returns.shape[1] - 1) // 3)
    lost = _mean(after[:, 0] - returns[:, 0])
    rise = _mean(after[:, -last:].mean(1) - after[:, 0])
    if not lost.high < 0 or not rise.low > 0:
        return None
    generator = np.random.default_rng(0)  # fixed, so that a result always has the same interval
    drawn = generator.integers(len(after), size=(200, len(after)))
    low, high = np.quantile([_made_up(after[index], last) for index in drawn], [0.025, 0.975])
    return Interval(np.asarray(_made_up(after, last)), np.asarray(low), np.asarray(high))


def _made_up(after: Array, last: int) -> int:
    """The first episode `[N, K]` not clearly below nine tenths of the way to the mean of the `last` ones."""
    level = after[:, -last:].mean(1)
    behind = after - (after[:, :1] + 0.9 * (level[:, None] - after[:, :1]))  # [N, K]
    error = behind.std(0, ddof=1) / np.sqrt(len(after))
    return int(np.flatnonzero(behind.mean(0) + 2 * error >= 0)[0])


def _mean(scores: Array) -> Interval:
    return mean_interval([scores])
