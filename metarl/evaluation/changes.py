"""How a policy took each change of the task inside a trial."""

from dataclasses import dataclass
from typing import final

import numpy as np

from metarl.engines.changing_tasks import ChangingTasks
from metarl.evaluation.results import Evaluation
from metarl.evaluation.statistics import Interval, bootstrap_interval


@final
@dataclass(frozen=True)
class Change:
    """What one change of the task did to a policy."""

    episode: int  # the first in the next task, counted from 1
    lost: Interval  # return of the first episode after the change minus the last one before it
    noticed: int | None  # episodes until the mean return has made up nine tenths of what it will; None: it never falls
    kept: Interval | None  # where a task comes back: its first episode now minus its first episode ever


def measure_changes(evaluation: Evaluation, distribution: ChangingTasks) -> list[Change]:
    """How a policy evaluated on `distribution` took each change. ValueError if the trials ended before the last one."""
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
    """Episodes after the first of `curve` until nine tenths of the way from its second to its best are made up."""
    low, high = curve[1], curve[1:].max()
    if low >= curve[0] or high <= low:
        return None
    return int(np.flatnonzero(curve[1:] >= low + 0.9 * (high - low))[0])


def _mean(scores: np.ndarray) -> Interval:
    """Over tasks; the generator is fixed, so that the same result always shows the same interval."""
    return bootstrap_interval([scores], np.random.default_rng(0))
