"""How the return of a policy follows each change of the task inside a trial."""

from dataclasses import dataclass
from typing import final

import numpy as np

from metarl.engines.changing_tasks import ChangingTasks
from metarl.evaluation.results import Evaluation
from metarl.evaluation.statistics import Interval, bootstrap_interval


@final
@dataclass(frozen=True)
class Change:
    """The effect of one change of the task on a policy's return."""

    episode: int  # the first in the next task, counted from 1
    lost: Interval  # return of the first episode after the change minus the last one before it
    noticed: (
        int | None
    )  # episodes until the mean return has regained nine tenths of its later rise; None: no fall or rise
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
                _noticed(returns[:, start - 1 : end].mean(0)),
                _mean(returns[:, start] - returns[:, first]) if first < start else None,
            )
        )
    return found


def _noticed(curve: np.ndarray) -> int | None:
    """Episodes after the change, which follows `curve[0]`, until 0.9 of the way from `curve[1]` to the best."""
    low, high = curve[1], curve[1:].max()
    if low >= curve[0] or high <= low:
        return None
    return int(np.flatnonzero(curve[1:] >= low + 0.9 * (high - low))[0])


def _mean(scores: np.ndarray) -> Interval:
    """The mean over tasks with its interval. The generator is fixed, so that a result always has the same interval."""
    return bootstrap_interval([scores], np.random.default_rng(0))
