"""Running normalisation of observations and rewards."""

from typing import final

import torch
from torch import Tensor, nn

from metarl import distributed

ROUNDING = 1e-7  # of float32, relative to the value


@final
class RewardScale(nn.Module):
    """Divides rewards of any shape by the root mean square of all non-zero rewards so far (by 1 before the first)."""

    def __init__(self) -> None:
        super().__init__()
        self.square_sum: Tensor
        self.count: Tensor
        self.register_buffer("square_sum", torch.zeros((), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, reward: Tensor) -> Tensor:
        scale = torch.where(self.count > 0, (self.square_sum / self.count.clamp(min=1)).sqrt(), 1.0)
        return reward / scale.float()

    def update_statistics(self, reward: Tensor) -> None:
        """Add a batch of rewards of any shape. Call it between updates, not between a rollout and learning from it."""
        self.square_sum += distributed.total(reward.double().square().sum())
        self.count += distributed.total((reward != 0).sum())


@final
class RunningNormaliser(nn.Module):
    """Shifts and scales `[..., *shape]` to mean 0 and deviation 1 over all batches so far; clips to ±10.

    Units do not matter: a signal of a millionth is scaled as one of a million is. Only entries whose deviation is
    within the rounding of float32 count as constants, which are shifted and not scaled.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.mean: Tensor
        self.square: Tensor
        self.count: Tensor
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("square", torch.ones(shape, dtype=torch.float64))  # mean squared deviation
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        deviation = self.square.sqrt()
        scale = torch.where(deviation > ROUNDING * self.mean.abs(), deviation, 1.0)
        return ((x - self.mean.float()) / scale.float()).clamp(-10, 10)

    def update_statistics(self, x: Tensor) -> None:
        """Add a batch `[..., *shape]`, by the parallel form of Welford's recursion. Call it between updates only."""
        rows = x.double().flatten(0, x.dim() - self.mean.dim() - 1)
        num_rows = len(rows) * distributed.size()
        mean, variance = distributed.mean_and_variance(rows)
        share = num_rows / (self.count + num_rows)
        shift = mean - self.mean
        square = (1 - share) * self.square * (self.count > 0) + share * variance
        self.square.copy_(square + share * (1 - share) * shift.square() * (self.count > 0))
        self.mean += share * shift
        self.count += num_rows
