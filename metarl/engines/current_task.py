"""Which task a single environment is in: the one that somebody named, or another one at every reset."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np
import torch

from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution


@final
class CurrentTask:
    """The task of a single environment, chosen in the same way by every engine.

    >>> import metarl
    >>> current = CurrentTask(metarl.make("grid-navigation"))
    >>> [current.choose(options)["goal"].tolist() for options in ({"task": {"goal": [1, 2]}}, None)]
    [[[1, 2]], [[1, 2]]]
    >>> current.episode
    1

    A task that the constructor or a reset names stays until another one is named. As long as none was named, every
    reset draws one from `generator`. Raises ValueError for what is not exactly one task of the distribution.
    """

    def __init__(self, distribution: TaskDistribution, task: Tasks | None = None) -> None:
        self._distribution = distribution
        self._named = None if task is None else self._checked(task)
        self.task = self._named  # a batch of one; None before the first reset where none was named
        self.episode = -1  # of this task, counted from 0
        self.generator = torch.Generator()
        self.generator.seed()  # so that environments which nobody seeds differ

    def choose(self, options: Mapping[str, Any] | None) -> Tasks:
        """The task of an episode that begins with a reset with these `options`: they may name one, as `task`."""
        named = (options or {}).get("task")
        if named is not None:
            self._named, self.episode = self._checked(named), -1
        if self._named is None:
            task, self.episode = self._distribution.sample(1, self.generator), -1
        else:
            task = self._named
        self.task = task
        self.episode += 1
        return task

    def _checked(self, task: Any) -> Tasks:
        """A batch of one, from `Tasks` or from a mapping of parameter values without the leading axis."""
        if not isinstance(task, Tasks):
            return self._distribution.tasks(**{name: np.asarray(value)[None] for name, value in dict(task).items()})
        if len(task) != 1:
            raise ValueError(f"one environment takes one task, got {len(task)}")
        if task.space != self._distribution.task_space:
            raise ValueError(f"these tasks are not tasks of {self._distribution.name}")
        return task
