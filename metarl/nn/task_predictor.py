"""A predictor of the task from what an agent remembers, and what a step told it."""

import math
from typing import final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.nn.layers import linear

MOST_CHOICES = 64  # an integer parameter with more values is treated as a number


@final
class TaskPredictor(nn.Module):
    """The likelihood of a task, given what the memory of an agent holds.

    In meta-training the simulator knows the task, so a predictor can be taught it (task inference, Humplik et al. 2019,
    arXiv 1905.06424). Entries of a task are independent given the memory: integers of few values have a categorical
    distribution, other numbers a normal one. The memory is taught, too: it learns to hold what tells tasks apart.
    """

    def __init__(self, memory_width: int, task_space: spaces.Dict, width: int) -> None:
        super().__init__()
        counts = [count for name in sorted(task_space.keys()) for count in _choices(task_space[name])]
        self._choices = [(entry, count) for entry, count in enumerate(counts) if count > 0]
        self._numbers = [entry for entry, count in enumerate(counts) if count == 0]
        self.hidden = linear(memory_width, width, 2**0.5)
        self.output = linear(width, sum(count for _, count in self._choices) + 2 * len(self._numbers), 0.1)

    def forward(self, memory: Tensor, task_vector: Tensor) -> Tensor:
        """Log-likelihood `[B, T]` in nats of tasks, from memory `[B, T, M]`; `task_vector` [B, D] lies in [-1, 1]."""
        x = self.output(nn.functional.silu(self.hidden(memory)))
        sizes = [*(count for _, count in self._choices), len(self._numbers), len(self._numbers)]
        *logits, mean, spread = torch.split(x, sizes, -1)
        total = torch.zeros_like(x[..., 0])
        for (entry, count), part in zip(self._choices, logits, strict=True):
            value = ((task_vector[:, entry] + 1) / 2 * (count - 1)).round().long()
            index = value[:, None, None].expand(*part.shape[:2], 1)
            total = total + part.log_softmax(-1).gather(-1, index).squeeze(-1)
        if self._numbers:
            log_std = 2 * spread.tanh() - 1  # a deviation from a twentieth to nearly three times the range's half
            error = (task_vector[:, None, self._numbers] - mean) / log_std.exp()
            total = total + (-0.5 * error.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)
        return total


def _choices(space: spaces.Space[object]) -> list[int]:
    """How many values each entry of a task parameter has; 0 for one that is a number."""
    if not isinstance(space, spaces.Box):
        raise TypeError(f"a task parameter must be a Box, got {space}")
    low, high = (np.asarray(bound, dtype=np.float64).ravel() for bound in (space.low, space.high))
    whole = np.issubdtype(space.dtype, np.integer)
    counts = np.where(whole & (high - low < MOST_CHOICES), high - low + 1, 0)
    return [int(count) for count in counts]
