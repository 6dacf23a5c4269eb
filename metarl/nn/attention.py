"""Causal multi-head attention with rotary positions and a key-value cache."""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from metarl.nn.layers import linear

SMALLEST_CACHE = 16  # steps
BLOCK = 256  # queries in one product when a trial is longer than the window; smaller blocks read fewer masked keys


@final
@dataclass
class KeyValueCache:
    """Keys and values of the steps that each of B trials has experienced, for one attention layer; changed in place.

    Slot `step % capacity` holds a step, so a full cache is a ring buffer: the sliding window. Each trial has its own
    length. While all trials have the same length, `lockstep` is that length and no mask is needed.
    """

    keys: Tensor  # [B, H, C, E], rotated
    values: Tensor  # [B, H, C, E]
    lengths: Tensor  # [B] steps so far
    lockstep: int | None  # the length of all trials; None: they may differ
    longest: int  # an upper bound of `lengths`, known on the host

    @property
    def capacity(self) -> int:
        return self.keys.shape[2]

    def append(self, key: Tensor, value: Tensor, window: int) -> None:
        """Store the key and value `[B, H, E]` of one step. The capacity doubles until it is `window` steps."""
        key, value = key.to(self.keys.dtype), value.to(self.values.dtype)  # under autocast they differ
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
        """Keys and values `[B, H, C', E]` of C' slots, and a mask `[B, 1, 1, C']` of each trial's own (None: all)."""
        filled = min(self.longest, self.capacity)
        keys, values = self.keys[:, :, :filled], self.values[:, :, :filled]
        if self.lockstep is not None:
            return keys, values, None
        counts = torch.arange(filled, device=keys.device) < self.lengths[:, None]
        return keys, values, counts[:, None, None]

    def in_order(self) -> tuple[Tensor, Tensor]:
        """Keys and values `[B, H, C', E]`, those of the oldest step first; ValueError unless trials are in step."""
        if self.lockstep is None:
            raise ValueError("a segment can follow only if all trials have seen the same number of steps")
        keys, values, _ = self.readable()
        first = self.lockstep % self.capacity if self.lockstep > self.capacity else 0
        return (keys.roll(-first, 2), values.roll(-first, 2)) if first else (keys, values)

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


def attend(
    query: Tensor, key: Tensor, value: Tensor, window: int, cache: KeyValueCache | None = None
) -> tuple[Tensor, KeyValueCache]:
    """softmax(Q K' / sqrt(E)) V `[B, H, T, E]` over the last `window` steps, those of `cache` too; and the cache after.

    Causal scaled dot-product attention (Vaswani et al. 2017, arXiv 1706.03762); all inputs are `[B, H, T, E]`.
    """
    steps, seen = query.shape[2], query.shape[2]
    if cache is not None:
        keys, values = cache.in_order()
        key = torch.cat([keys.to(key.dtype), key], 2)  # [B, H, C' + T, E]
        value = torch.cat([values.to(value.dtype), value], 2)
        seen += cache.longest
    if key.shape[2] == steps <= window:
        y = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    else:
        y = torch.cat(_blocks(query, key, value, window), 2)  # [B, H, T, E]
    return y, filled_cache(key.detach(), value.detach(), window, seen)


def _blocks(query: Tensor, key: Tensor, value: Tensor, window: int) -> list[Tensor]:
    """Outputs `[B, H, up to BLOCK, E]` of consecutive blocks of queries; each block gets only the keys it may read."""
    steps, earlier, outputs = query.shape[2], key.shape[2] - query.shape[2], []
    for start in range(0, steps, BLOCK):
        end = min(start + BLOCK, steps)
        read = slice(max(0, earlier + start + 1 - window), earlier + end)
        mask = readable(end - start, read.stop - read.start, window, query.device)  # [queries, keys]
        outputs.append(
            nn.functional.scaled_dot_product_attention(
                query[:, :, start:end], key[:, :, read], value[:, :, read], attn_mask=mask
            )
        )
    return outputs


def attend_cached(query: Tensor, key: Tensor, value: Tensor, window: int, cache: KeyValueCache) -> Tensor:
    """`attend` for one more step of every trial `[B, H, 1, E]`; the cache keeps its key and value."""
    cache.append(key[:, :, 0], value[:, :, 0], window)  # [B, H, E]
    keys, values, mask = cache.readable()  # [B, H, C', E]
    return nn.functional.scaled_dot_product_attention(query.to(keys.dtype), keys, values, attn_mask=mask)


def attention_weights(query: Tensor, key: Tensor, window: int) -> Tensor:
    """softmax(Q K' / sqrt(E)) `[B, H, T, T]`: row t has the weights of step t on all steps."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])  # [B, H, T, T]
    return scores.masked_fill(~readable(query.shape[2], key.shape[2], window, query.device), -torch.inf).softmax(-1)


def readable(queries: int, keys: int, window: int, device: torch.device) -> Tensor:
    """A mask `[queries, keys]`: which of `keys` consecutive steps the last `queries` of them may read."""
    position = torch.arange(keys, device=device)
    distance = position[keys - queries :, None] - position  # [queries, keys] steps back
    return (distance >= 0) & (distance < window)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`[B, T, D]` to `[B, H, T, E]`."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)  # [B, T, H, E] -> [B, H, T, E]


def merge_heads(y: Tensor) -> Tensor:
    """`[B, H, T, E]` to `[B, T, D]`."""
    return y.transpose(1, 2).flatten(2)  # [B, T, H, E] -> [B, T, D]


@final
class Attention(nn.Module):
    """Causal multi-head self-attention over the last `window` steps of a trial.

    Positions are rotary (Su et al. 2021, arXiv 2104.09864). Only the distance between two steps matters, so a trial may
    be longer than the window. Raises ValueError for a width that the heads do not divide into even parts, and for a
    window below 1.
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        check_heads(width, heads, window)
        self.heads = heads
        self.window = window
        self.query_key_value = linear(width, 3 * width)
        self.output = linear(width, width)
        frequency = 10_000.0 ** -(torch.arange(0, width // heads, 2) / (width // heads))
        self.frequency: Tensor
        self.register_buffer("frequency", frequency, persistent=False)  # [E / 2]

    def forward(self, x: Tensor, cache: KeyValueCache | None = None) -> tuple[Tensor, KeyValueCache]:
        """Outputs `[B, T, D]`: each step of `x` [B, T, D] reads itself and earlier steps of its window and `cache`."""
        before = 0 if cache is None else cache.longest
        query, key, value = self._project(x, torch.arange(before, before + x.shape[1], device=x.device))
        y, after = attend(query, key, value, self.window, cache)
        return self.output(merge_heads(y)), after

    def step(self, x: Tensor, cache: KeyValueCache) -> Tensor:
        """Output `[B, D]` of one more step `[B, D]` of every trial; earlier steps are read from the cache."""
        position = cache.lengths[:, None, None] if cache.lockstep is None else cache.lengths[:1]
        y = attend_cached(*self._project(x[:, None], position), self.window, cache)
        return self.output(merge_heads(y))[:, 0]  # type: ignore[no-any-return]

    def weights(self, x: Tensor) -> Tensor:
        """Attention weights `[B, H, T, T]` in whole trials `[B, T, D]`: row t has those of step t on all steps."""
        query, key, _ = self._project(x, torch.arange(x.shape[1], device=x.device))
        return attention_weights(query, key, self.window)

    def empty_cache(self, num_trials: int) -> KeyValueCache:
        return empty_cache(num_trials, self.heads, self.window, self.output.weight)

    def _project(self, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys (both rotated by their `position`) and values, each `[B, H, T, E]`."""
        # [B, T, D] -> [B, T, 3 D] -> three of [B, H, T, E]
        query, key, value = (split_heads(part, self.heads) for part in self.query_key_value(x).chunk(3, -1))
        return self._rotate(query, position), self._rotate(key, position), value

    def _rotate(self, x: Tensor, position: Tensor) -> Tensor:
        """Rotate pairs of features of `x` [B, H, T, E] by position * frequency radians; `position` [T] or [B, 1, T]."""
        angle = position[..., None] * self.frequency  # [..., T, E / 2]
        cosine, sine = angle.cos(), angle.sin()
        first, second = x.chunk(2, -1)  # [B, H, T, E / 2]
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)


def check_heads(width: int, heads: int, window: int) -> None:
    """Raise ValueError unless each head gets an even part of `width`, and the window holds a step."""
    if width % (2 * heads):
        raise ValueError(f"width must be a multiple of twice the number of heads, got {width} and {heads}")
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")


def empty_cache(num_trials: int, heads: int, window: int, weight: Tensor) -> KeyValueCache:
    """An empty cache with room for a few steps; it grows. Width, type and device are those of `weight` [D, D]."""
    keys = weight.new_zeros(num_trials, heads, min(SMALLEST_CACHE, window), len(weight) // heads)
    lengths = torch.zeros(num_trials, dtype=torch.int64, device=weight.device)
    return KeyValueCache(keys, torch.zeros_like(keys), lengths, 0, 0)


def filled_cache(key: Tensor, value: Tensor, window: int, seen: int) -> KeyValueCache:
    """A cache of the last of `seen` steps, given by keys and values `[B, H, C, E]` in order; at most `window` stay."""
    key, value = key[:, :, -window:], value[:, :, -window:]
    if seen > window:  # a ring: each step in its slot
        key, value = key.roll(seen % window, 2), value.roll(seen % window, 2)
    lengths = torch.full((len(key),), seen, device=key.device)
    return KeyValueCache(key, value, lengths, seen, seen)
