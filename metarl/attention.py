"""Causal multi-head attention with rotary positions and a key-value cache."""

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from metarl.networks import linear

# Shapes: B trials, T steps, H heads, D width, E = D / H width of a head, C capacity of the cache.


@final
@dataclass
class KeyValueCache:
    """Keys and values of the steps that each of B trials has seen, for one attention layer; updated in place.

    Slot `step % capacity` holds a step, so a full cache is a ring: the sliding window. Each trial has its own length.
    While all trials are in step (`lockstep` is their common length) the filled part is read without a mask.
    """

    keys: Tensor  # [B, H, C, E], rotated
    values: Tensor  # [B, H, C, E]
    lengths: Tensor  # [B] steps seen
    lockstep: int | None
    longest: int  # at least the largest of `lengths`, known on the host

    @property
    def capacity(self) -> int:
        return self.keys.shape[2]

    def append(self, key: Tensor, value: Tensor, window: int) -> None:
        """Store one step's key and value `[B, H, E]`; grows by doubling until it holds `window` steps."""
        if self.longest == self.capacity < window:
            self._grow(min(2 * self.capacity, window))
        if self.lockstep is not None:
            slot = self.lockstep % self.capacity
            self.keys[:, :, slot], self.values[:, :, slot] = key, value
            self.lockstep += 1
        else:
            trial = torch.arange(len(key), device=key.device)
            slots = self.lengths % self.capacity
            self.keys[trial, :, slots], self.values[trial, :, slots] = key, value
        self.lengths += 1
        self.longest += 1

    def readable(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys, values `[B, H, C', E]` and which of them count `[B, 1, 1, C']` (None: all)."""
        filled = min(self.longest, self.capacity)
        keys, values = self.keys[:, :, :filled], self.values[:, :, :filled]
        if self.lockstep is not None:
            return keys, values, None
        counts = torch.arange(filled, device=keys.device) < self.lengths[:, None]
        return keys, values, counts[:, None, None]

    def reset(self, mask: Tensor) -> None:
        """Forget the trials where `mask` [B] is true."""
        if bool(mask.all()):
            self.lockstep, self.longest = 0, 0
        elif bool(mask.any()):
            self.lockstep = None
        self.lengths.masked_fill_(mask, 0)

    def _grow(self, capacity: int) -> None:
        shape = (*self.keys.shape[:2], capacity, self.keys.shape[3])
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = old.new_zeros(shape)
            new[:, :, : old.shape[2]] = old
            setattr(self, name, new)


class Past(NamedTuple):
    """What a segment of a long trial can still read of the segments before it, without gradient."""

    keys: Tensor  # [B, H, up to window - 1, E], rotated
    values: Tensor
    steps: int  # seen so far, the position of the next step


@final
class Attention(nn.Module):
    """Multi-head scaled dot-product attention over the steps of a trial: learned queries, keys and values.

    softmax(Q K' / sqrt(E)) V per head (Vaswani et al. 2017, arXiv 1706.03762), causal, within a sliding window, with
    rotary positions (Su et al. 2021, arXiv 2104.09864).
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width must be a multiple of twice the number of heads, got {width} and {heads}")
        if window < 1:
            raise ValueError(f"window must be at least 1, got {window}")
        self.heads = heads
        self.window = window
        self.query_key_value = linear(width, 3 * width)
        self.output = linear(width, width)
        frequency = 10_000.0 ** -(torch.arange(0, width // heads, 2) / (width // heads))
        self.frequency: Tensor
        self.register_buffer("frequency", frequency, persistent=False)

    def forward(self, x: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """Every step of `x` [B, T, D] attends to itself and the steps before it in its window, `past` included."""
        query, key, value = self._project(x)
        before = 0 if past is None else past.steps
        position = torch.arange(before, before + x.shape[1], device=x.device)
        query, key = self._rotate(query, position), self._rotate(key, position)
        if past is not None:
            key, value = torch.cat([past.keys, key], 2), torch.cat([past.values, value], 2)
        plain = key.shape[2] == x.shape[1] <= self.window
        mask = None if plain else self._mask(x.shape[1], key.shape[2], x.device)
        y = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=plain)
        kept = slice(max(0, key.shape[2] - self.window + 1), None)
        following = Past(key[:, :, kept].detach(), value[:, :, kept].detach(), before + x.shape[1])
        return self._merge(y), following

    def step(self, x: Tensor, cache: KeyValueCache) -> Tensor:
        """One more step `[B, D]` of every trial, reading the earlier ones from the cache."""
        query, key, value = self._project(x[:, None])
        position = cache.lengths[:, None, None] if cache.lockstep is None else cache.lengths[:1]
        query, key = self._rotate(query, position), self._rotate(key, position)
        cache.append(key[:, :, 0], value[:, :, 0], self.window)
        keys, values, mask = cache.readable()
        y = nn.functional.scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        return self._merge(y)[:, 0]

    def weights(self, x: Tensor) -> Tensor:
        """Attention weights `[B, H, T, T]` for whole trials `[B, T, D]`: row t is what step t reads."""
        steps = x.shape[1]
        query, key, _ = self._project(x)
        position = torch.arange(steps, device=x.device)
        scores = self._rotate(query, position) @ self._rotate(key, position).mT / math.sqrt(query.shape[-1])
        return scores.masked_fill(~self._mask(steps, steps, x.device), -torch.inf).softmax(-1)

    def empty_cache(self, num_trials: int, capacity: int) -> KeyValueCache:
        weight = self.output.weight
        shape = (num_trials, self.heads, min(capacity, self.window), weight.shape[0] // self.heads)
        lengths = torch.zeros(num_trials, dtype=torch.int64, device=weight.device)
        return KeyValueCache(weight.new_zeros(shape), weight.new_zeros(shape), lengths, 0, 0)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        split = self.query_key_value(x).unflatten(-1, (3, self.heads, -1))  # [B, T, 3, H, E]
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each [B, H, T, E]
        return query, key, value

    def _merge(self, y: Tensor) -> Tensor:
        return self.output(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]  # [B, H, T, E] to [B, T, D]

    def _rotate(self, x: Tensor, position: Tensor) -> Tensor:
        """Turn each pair of features of `x` [B, H, T, E] by position times frequency; `position` [T] or [B, 1, T]."""
        angle = position[..., None] * self.frequency  # [..., T, E / 2]
        cosine, sine = angle.cos(), angle.sin()
        first, second = x.chunk(2, -1)
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)

    def _mask(self, queries: int, keys: int, device: torch.device) -> Tensor:
        """Which of `keys` consecutive steps each of the last `queries` of them may read `[queries, keys]`."""
        position = torch.arange(keys, device=device)
        distance = position[keys - queries :, None] - position
        return (distance >= 0) & (distance < self.window)
