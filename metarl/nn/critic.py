"""A critic for whole trials. It may be privileged: it then sees the task."""

from typing import Any, final

import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl import distributed
from metarl.nn.encoders import ObservationEncoder
from metarl.nn.layers import linear


@final
class TrialCritic(nn.Module):
    """Expected discounted return of the rest of a trial, from memory, observation, time left and (privileged) the task.

    In meta-training the simulator knows the task, so a critic may see it. The critic does not depend on the action, so
    the policy gradient stays unbiased, and its variance falls. The memory gets no gradient from the critic.
    Predictions are normalised by the running mean and deviation of the returns. When these change, the last layer is
    rescaled so that predictions in units of reward stay the same (PopArt, van Hasselt et al. 2016, arXiv 1602.07714).
    """

    def __init__(self, space: spaces.Space[Any], memory_width: int, task_vectors: Tensor | None, width: int) -> None:
        """`task_vectors` [N, D] are sampled tasks that set the scale of the task input; None: not privileged."""
        super().__init__()
        self.memory = linear(memory_width, width)
        self.observation = ObservationEncoder(space, width)
        self.time = linear(1, width)
        self.task = None if task_vectors is None else linear(task_vectors.shape[1], width)
        self.hidden = linear(width, width, 2**0.5)
        self.output = linear(width, 1, 0.1)
        self.mean: Tensor
        self.deviation: Tensor
        self.largest_deviation: Tensor
        self.task_mean: Tensor
        self.task_deviation: Tensor
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.zeros(()))  # zero until the first call of update_statistics
        self.register_buffer("largest_deviation", torch.zeros(()))  # of returns so far: the unit of other rewards
        probe = torch.zeros(2, 1) if task_vectors is None else task_vectors
        self.register_buffer("task_mean", probe.mean(0))
        self.register_buffer("task_deviation", probe.std(0).clamp(min=1e-6))

    def forward(self, memory: Tensor, observation: Tensor, time_left: Tensor, task_vector: Tensor) -> Tensor:
        """Normalised values [B, T]; `memory` [B, T, M], `time_left` [B, T] in trials, `task_vector` [B, D]."""
        x = self.memory(memory.detach()) + self.observation(observation) + self.time(time_left[..., None])
        if self.task is not None:
            x = x + self.task((task_vector - self.task_mean) / self.task_deviation)[:, None]
        x = nn.functional.silu(self.hidden(nn.functional.silu(x)))
        return self.output(x).squeeze(-1)  # type: ignore[no-any-return]

    def denormalised(self, value: Tensor) -> Tensor:
        """Normalised values in units of reward."""
        return value * self.deviation + self.mean

    def normalised(self, value: Tensor) -> Tensor:
        """The inverse of `denormalised`: targets for `forward`."""
        return (value - self.mean) / self.deviation

    @torch.no_grad()
    def update_statistics(self, returns: Tensor, step: float = 0.1) -> None:
        """Move mean and deviation towards those of `returns`, by the share `step`, at once at the first call.

        Predictions in units of reward do not change.
        """
        first = self.deviation == 0
        step_size = torch.where(first, 1.0, step)
        returns_mean, returns_deviation = distributed.mean_and_deviation(returns)
        mean = self.mean + step_size * (returns_mean - self.mean)
        deviation = self.deviation + step_size * (returns_deviation.clamp(min=1e-4) - self.deviation)
        scale = torch.where(first, 1.0, self.deviation / deviation)
        offset = torch.where(first, 0.0, (self.mean - mean) / deviation)
        self.output.weight.mul_(scale)
        self.output.bias.mul_(scale).add_(offset)
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)
        self.largest_deviation.copy_(torch.maximum(self.largest_deviation, deviation))
