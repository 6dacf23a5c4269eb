"""Encoders that turn observations and contexts into vectors."""

import math
from typing import Any, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.nn.action_head import ActionHead
from metarl.nn.convolutions import Convolutions
from metarl.nn.layers import linear
from metarl.nn.normalisation import RewardScale, RunningNormaliser
from metarl.spaces import is_image
from metarl.trials.context import Context
from metarl.trials.trajectories import Trajectories


@final
class ObservationEncoder(nn.Module):
    """Observations `[..., *shape]` as vectors `[..., width]`.

    Images pass through convolutions, any other Box through a linear map, discrete spaces through embeddings.

    >>> encoder = ObservationEncoder(spaces.Box(-1, 1, (4,)), width=8)
    >>> encoder(torch.zeros(7, 5, 4)).shape
    torch.Size([7, 5, 8])

    Raises TypeError for a space that is neither Box, Discrete nor MultiDiscrete.
    """

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
            # [..., *image] -> [..., features] -> [..., width]
            return self.layer(self.image(observation))  # type: ignore[no-any-return]
        if isinstance(self.layer, nn.Linear):
            x = self.normaliser(observation)  # [..., *shape] -> [..., D] -> [..., width]
            return self.layer(x.flatten(x.dim() - len(self._shape)))  # type: ignore[no-any-return]
        # K discrete entries: [..., *shape] -> [..., K] -> [..., K, width] -> [..., width]
        index = observation.flatten(observation.dim() - len(self._shape)) if self._shape else observation[..., None]
        return self.layer(index + self.offsets).sum(-2)  # type: ignore[no-any-return]

    def update_statistics(self, observation: Tensor) -> None:
        """Add a batch to the statistics that normalise a Box. Images and discrete observations have none."""
        if self.image is None and isinstance(self.layer, nn.Linear):
            self.normaliser.update_statistics(observation)


@final
class ContextEncoder(nn.Module):
    """One token `[..., width]` for each step of the context: the observation and the transition before it."""

    def __init__(self, space: spaces.Space[Any], head: ActionHead, width: int) -> None:
        super().__init__()
        self._head = (head,)  # in a tuple, so that the head's parameters are not counted among those of the encoder
        self.observation = ObservationEncoder(space, width)
        self.previous_observation = ObservationEncoder(space, width)
        self.reward_scale = RewardScale()
        self.previous = nn.Linear(head.num_features + 3, width)
        nn.init.normal_(self.previous.weight)  # unit variance, so that rewards are not drowned by the embeddings
        nn.init.zeros_(self.previous.bias)
        self.output = linear(width, width)

    def forward(self, context: Context) -> Tensor:
        action = self._head[0].encode(context.previous_action) * context.started[..., None]
        scalars = torch.stack([self.reward_scale(context.previous_reward), context.previous_done, context.started], -1)
        # [..., action features + 3] -> [..., width]
        token = self.observation(context.observation) + self.previous(torch.cat([action, scalars], -1))
        token = token + self.previous_observation(context.previous_observation) * context.started[..., None]
        return self.output(nn.functional.silu(token / 2))  # type: ignore[no-any-return]

    def update_statistics(self, trajectories: Trajectories) -> None:
        """Add a batch of trials to the statistics that normalise observations and rewards."""
        self.observation.update_statistics(trajectories.observations)
        self.previous_observation.update_statistics(trajectories.observations)
        self.reward_scale.update_statistics(trajectories.rewards)
