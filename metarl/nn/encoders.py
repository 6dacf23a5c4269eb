"""Encoders that turn observations and contexts into vectors."""

import math
from typing import Any, cast, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.nn.action_head import ActionHead
from metarl.nn.convolutions import Convolutions
from metarl.nn.layers import linear
from metarl.nn.normalisation import RewardScale, RunningNormaliser
from metarl.spaces import MixedBox, is_image
from metarl.trials.context import Context
from metarl.trials.trajectories import Trajectories

MOST_OPTIONS = 10_000  # of an entry that has an embedding for each


@final
class ObservationEncoder(nn.Module):
    """Observations `[..., *shape]` as vectors `[..., width]`.

    Images pass through convolutions, any other Box through a linear map, discrete spaces through embeddings, and the
    parts of a MixedBox each through what suits it.
    An entry of more than 10 000 options is read as a number of two digits, so that its embeddings stay few (quotient
    and remainder, Shi et al. 2019, arXiv 1909.02107).

    >>> encoder = ObservationEncoder(spaces.Box(-1, 1, (4,)), width=8)
    >>> encoder(torch.zeros(7, 5, 4)).shape
    torch.Size([7, 5, 8])

    Raises TypeError for a space that is neither Box, Discrete nor MultiDiscrete.
    """

    def __init__(self, space: spaces.Space[Any], width: int) -> None:
        super().__init__()
        self._shape = space.shape or ()
        self._mixed = space if isinstance(space, MixedBox) else None
        if self._mixed is not None:
            self.parts = nn.ModuleList(ObservationEncoder(part, width) for part in self._mixed.parts)
            return
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
            self.digits = Digits(space)
            self.layer = nn.Embedding(self.digits.num_symbols, width)
            fields = self.digits.num_digits
        else:
            raise TypeError(f"observations must be Box, Discrete or MultiDiscrete, got {space}")
        nn.init.normal_(self.layer.weight, std=1 / math.sqrt(fields))

    def forward(self, observation: Tensor) -> Tensor:
        if self._mixed is not None:
            pieces = zip(self.parts, self._mixed.split(observation), strict=True)
            return torch.stack([part(piece) for part, piece in pieces]).sum(0) / math.sqrt(len(self.parts))
        if self.image is not None:
            # [..., *image] -> [..., features] -> [..., width]
            return self.layer(self.image(observation))  # type: ignore[no-any-return]
        if isinstance(self.layer, nn.Linear):
            x = self.normaliser(observation)  # [..., *shape] -> [..., D] -> [..., width]
            return self.layer(x.flatten(x.dim() - len(self._shape)))  # type: ignore[no-any-return]
        # [..., *shape] -> K digits [..., K] -> [..., K, width] -> [..., width]
        return self.layer(self.digits(observation)).sum(-2)  # type: ignore[no-any-return]

    def update_statistics(self, observation: Tensor) -> None:
        """Add a batch to the statistics that normalise a Box. Images and discrete observations have none."""
        if self._mixed is not None:
            for part, piece in zip(self.parts, self._mixed.split(observation), strict=True):
                cast(ObservationEncoder, part).update_statistics(piece)
        elif self.image is None and isinstance(self.layer, nn.Linear):
            self.normaliser.update_statistics(observation)


@final
class Digits(nn.Module):
    """Discrete observations `[..., *shape]` as symbols `[..., K]`, each from 0 to `num_symbols - 1` and of one place.

    An entry of few options is one digit, of more than `MOST_OPTIONS` two: its quotient and its remainder.
    """

    def __init__(self, space: spaces.Discrete | spaces.MultiDiscrete) -> None:
        super().__init__()
        self._dim = len(space.shape or ())
        counts = np.atleast_1d(space.n if isinstance(space, spaces.Discrete) else space.nvec.ravel()).tolist()
        first = np.atleast_1d(np.asarray(space.start)).ravel()
        rows = [row for entry, count in enumerate(counts) for row in _digits(entry, count)]
        self.entry: Tensor  # [K] which entry a digit belongs to
        self.divisor: Tensor  # [K]
        self.options: Tensor  # [K]
        self.first: Tensor  # [entries] where an entry begins to count
        self.offset: Tensor  # [K] the first symbol of a digit; where all are plain, less what its entry begins with
        entry, divisor, options = torch.tensor(rows).T
        self._plain = bool((divisor == 1).all()) and len(rows) == len(counts)
        self.num_digits, self.num_symbols = len(rows), int(options.sum())
        self.register_buffer("entry", entry, persistent=False)
        self.register_buffer("divisor", divisor, persistent=False)
        self.register_buffer("options", options, persistent=False)
        self.register_buffer("first", torch.as_tensor(first, dtype=torch.int64), persistent=False)
        offset = options.cumsum(0) - options
        self.register_buffer("offset", offset - self.first if self._plain else offset, persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        index = observation.flatten(observation.dim() - self._dim) if self._dim else observation[..., None]
        if not self._plain:
            index = (index - self.first)[..., self.entry] // self.divisor % self.options
        return index + self.offset


def _digits(entry: int, count: int) -> list[tuple[int, int, int]]:
    """Entry, divisor and number of options of the digits of an entry with `count` options."""
    if count <= MOST_OPTIONS:
        return [(entry, 1, count)]
    base = math.isqrt(count - 1) + 1
    return [(entry, base, -(-count // base)), (entry, 1, base)]


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
