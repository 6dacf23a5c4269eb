"""Feed-forward networks and the encoders that turn spaces into vectors."""

import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl import distributed
from metarl.distributions import ActionHead
from metarl.images import Convolutions, is_image
from metarl.trajectories import Context, Trajectories


def linear(inputs: int, outputs: int, gain: float = 1.0) -> nn.Linear:
    """A linear layer with orthogonal weights of the given gain and no bias at the start."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def mlp(inputs: int, hidden: Sequence[int], outputs: int, output_gain: float = 1.0) -> nn.Sequential:
    """Linear layers with SiLU between them; `output_gain` scales the last."""
    widths = [inputs, *hidden]
    layers: list[nn.Module] = []
    for before, after in zip(widths, hidden, strict=False):
        layers += [linear(before, after, math.sqrt(2)), nn.SiLU()]
    return nn.Sequential(*layers, linear(widths[-1], outputs, output_gain))


@final
class ObservationEncoder(nn.Module):
    """Observations `[..., *shape]` as vectors `[..., width]`: convolutions of images, a linear map of any other Box,
    embeddings of discrete spaces."""

    def __init__(self, space: spaces.Space[Any], width: int) -> None:
        super().__init__()
        self._shape = space.shape or ()
        self.image = Convolutions(space) if is_image(space) else None
        if self.image is not None:
            self.layer: nn.Linear | nn.Embedding = nn.Linear(self.image.size, width)
            nn.init.zeros_(self.layer.bias)
            fields = self.image.size
        elif isinstance(space, spaces.Box):
            self.normaliser = RunningNormaliser(self._shape)
            self.layer = nn.Linear(int(np.prod(self._shape)), width)
            nn.init.zeros_(self.layer.bias)
            fields = self.layer.in_features
        elif isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
            counts = np.atleast_1d(space.n if isinstance(space, spaces.Discrete) else space.nvec.ravel())
            starts = np.cumsum(counts) - counts - np.atleast_1d(np.asarray(space.start)).ravel()
            self.layer = nn.Embedding(int(counts.sum()), width)
            fields = len(counts)
            self.offsets: Tensor
            self.register_buffer("offsets", torch.as_tensor(starts, dtype=torch.int64), persistent=False)
        else:
            raise TypeError(f"observations must be Box, Discrete or MultiDiscrete, got {space}")
        nn.init.normal_(self.layer.weight, std=1 / math.sqrt(fields))

    def forward(self, observation: Tensor) -> Tensor:
        if self.image is not None:
            return self.layer(self.image(observation))  # type: ignore[no-any-return]
        if isinstance(self.layer, nn.Linear):
            x = self.normaliser(observation)
            return self.layer(x.flatten(x.dim() - len(self._shape)))  # type: ignore[no-any-return]
        index = observation.flatten(observation.dim() - len(self._shape)) if self._shape else observation[..., None]
        return self.layer(index + self.offsets).sum(-2)  # type: ignore[no-any-return]

    def update(self, observation: Tensor) -> None:
        """Count a batch of observations in the normalisation of a Box; nothing to do for images and discrete ones."""
        if self.image is None and isinstance(self.layer, nn.Linear):
            self.normaliser.update(observation)


@final
class ContextEncoder(nn.Module):
    """One token `[..., width]` for each step of the context: observation and the transition that led there."""

    def __init__(self, space: spaces.Space[Any], head: ActionHead, width: int) -> None:
        super().__init__()
        self._head = (head,)  # in a tuple: the head's parameters belong to the policy, not to its encoder
        self.observation = ObservationEncoder(space, width)
        self.previous_observation = ObservationEncoder(space, width)
        self.reward_scale = RewardScale()
        self.previous = nn.Linear(head.num_features + 3, width)
        nn.init.normal_(self.previous.weight)  # as loud as the embeddings: the reward must be heard beside them
        nn.init.zeros_(self.previous.bias)
        self.output = linear(width, width)

    def forward(self, context: Context) -> Tensor:
        action = self._head[0].features(context.previous_action) * context.started[..., None]
        scalars = torch.stack([self.reward_scale(context.previous_reward), context.previous_done, context.started], -1)
        token = self.observation(context.observation) + self.previous(torch.cat([action, scalars], -1))
        token = token + self.previous_observation(context.previous_observation) * context.started[..., None]
        return self.output(nn.functional.silu(token / 2))  # type: ignore[no-any-return]

    def update(self, trajectories: Trajectories) -> None:
        """Count a batch of trials in the normalisation of observations and rewards."""
        self.observation.update(trajectories.observations)
        self.previous_observation.update(trajectories.observations)
        self.reward_scale.update(trajectories.rewards)


@final
class RewardScale(nn.Module):
    """Divides rewards by the root mean square of those that are not zero, so that they reach a network of order one."""

    def __init__(self) -> None:
        super().__init__()
        self.square_sum: Tensor
        self.count: Tensor
        self.register_buffer("square_sum", torch.zeros((), dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, reward: Tensor) -> Tensor:
        scale = torch.where(self.count > 0, (self.square_sum / self.count.clamp(min=1)).sqrt(), 1.0)
        return reward / scale.float()

    def update(self, reward: Tensor) -> None:
        """Count a batch of rewards; call it between updates, never between a rollout and learning from it."""
        self.square_sum += distributed.total(reward.double().square().sum())
        self.count += distributed.total((reward != 0).sum())


@final
class RunningNormaliser(nn.Module):
    """Shifts and scales vectors `[..., *shape]` to mean 0 and deviation 1, by the statistics of all batches so far."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.mean: Tensor
        self.square: Tensor
        self.count: Tensor
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("square", torch.ones(shape, dtype=torch.float64))  # mean squared deviation
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        deviation = self.square.sqrt().clamp(min=1e-4)
        return ((x - self.mean.float()) / deviation.float()).clamp(-10, 10)

    def update(self, x: Tensor) -> None:
        """Count a batch, by the parallel form of Welford's recursion; call it between updates only."""
        rows = x.double().flatten(0, x.dim() - self.mean.dim() - 1)
        num_rows = len(rows) * distributed.size()
        mean, variance = distributed.mean_and_variance(rows)
        share = num_rows / (self.count + num_rows)
        shift = mean - self.mean
        square = (1 - share) * self.square * (self.count > 0) + share * variance
        self.square.copy_(square + share * (1 - share) * shift.square() * (self.count > 0))
        self.mean += share * shift
        self.count += num_rows
