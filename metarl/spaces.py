"""All that is known of kinds of spaces: which ones agents see, where integers begin, random actions, images."""

import itertools
from collections.abc import Sequence
from typing import Any, TypeGuard, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

KINDS = {
    "observation": (spaces.Box, spaces.Discrete, spaces.MultiDiscrete),
    "action": (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary),
}


def is_plain(space: spaces.Space[Any], role: str) -> bool:
    """Whether agents can take it as it is for their `role`, observation or action."""
    return isinstance(space, KINDS[role])


def kinds(role: str) -> str:
    """What `is_plain` takes, in words."""
    *first, last = (kind.__name__ for kind in KINDS[role])
    return f"{', '.join(first)} or {last}"


@final
class HybridBox(spaces.Box):
    """Several plain actions at once, one after another in a vector `[D]` of float32: those of a Dict or Tuple.

    Integers are whole numbers in it. Whoever does not know the parts may take it for a Box: engines round.
    """

    def __init__(self, parts: Sequence[spaces.Space[Any]]) -> None:
        self.parts = tuple(parts)
        self.sizes = [_size(part) for part in self.parts]
        sides = zip(*map(_flat_bounds, self.parts), strict=True)
        low, high = (np.concatenate(side) for side in sides)
        super().__init__(low, high, dtype=np.float32)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HybridBox) and self.parts == other.parts

    def __repr__(self) -> str:
        return f"HybridBox({', '.join(map(str, self.parts))})"

    def split(self, action: Tensor) -> list[Tensor]:
        """The actions `[..., *shape]` of each part that are in vectors `[..., D]`."""
        pieces = zip(self.parts, torch.split(action, self.sizes, -1), strict=True)
        shaped = [(part, piece.reshape(*piece.shape[:-1], *(part.shape or ()))) for part, piece in pieces]
        return [x if isinstance(part, spaces.Box) else x.round().long() for part, x in shaped]

    def join(self, actions: Sequence[Tensor]) -> Tensor:
        """The inverse of `split`."""
        rows = zip(self.parts, self.sizes, actions, strict=True)
        return torch.cat([x.float().reshape(*x.shape[: x.dim() - len(part.shape or ())], n) for part, n, x in rows], -1)


@final
class MixedBox(spaces.Box):
    """Observations of a Dict or Tuple with images in it, as a vector `[D]` of float32: its parts, one after another.

    A part is an image, or all numbers between two images. Whoever does not know the parts may take it for a Box.
    """

    def __init__(self, parts: Sequence[spaces.Box]) -> None:
        self.parts = tuple(parts)
        self.sizes = [int(np.prod(part.shape)) for part in self.parts]
        low, high = (np.concatenate([getattr(part, side).ravel() for part in self.parts]) for side in ("low", "high"))
        super().__init__(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MixedBox) and self.parts == other.parts

    def __repr__(self) -> str:
        return f"MixedBox({', '.join(map(str, self.parts))})"

    def split(self, observation: Tensor) -> list[Tensor]:
        """The parts `[..., *shape]` of vectors `[..., D]`."""
        pieces = zip(self.parts, torch.split(observation, self.sizes, -1), strict=True)
        return [piece.reshape(*piece.shape[:-1], *part.shape) for part, piece in pieces]


def _mixed_parts(space: spaces.Space[Any]) -> list[spaces.Box]:
    """The parts of a MixedBox for a Dict or Tuple, in the order in which gymnasium flattens it."""
    parts: list[spaces.Box] = []
    for images, leaves in itertools.groupby(_leaves(space), is_image):
        if images:
            parts += [leaf for leaf in leaves if is_image(leaf)]
        else:
            flat = [spaces.flatten_space(leaf) for leaf in leaves]
            low, high = (np.concatenate([getattr(box, side) for box in flat]) for side in ("low", "high"))
            parts.append(spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32))
    return parts


def _size(space: spaces.Space[Any]) -> int:
    """How many numbers an action is."""
    return sum(map(_size, _children(space))) if is_compound(space) else int(np.prod(space.shape or ()))


def _flat_bounds(space: spaces.Space[Any]) -> list[np.ndarray]:
    """The bounds of a plain space as vectors."""
    return [np.full(space.shape or (), bound, np.float32).ravel() for bound in bounds_of(space)]


def is_compound(space: spaces.Space[Any]) -> bool:
    """Whether it is made of other spaces."""
    return isinstance(space, spaces.Dict | spaces.Tuple)


def _children(space: Any) -> list[spaces.Space[Any]]:
    """The spaces directly inside a Dict or Tuple."""
    return list(space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces)


def _leaves(space: spaces.Space[Any]) -> list[spaces.Space[Any]]:
    """The spaces in a Dict or Tuple that are neither, in the order of their actions."""
    return [leaf for child in _children(space) for leaf in _leaves(child)] if is_compound(space) else [space]


ENDLESS = 1e9  # bounds of actions beyond it stand for none, as the largest float does: no policy could use that range


def plain_space(space: spaces.Space[Any], role: str) -> spaces.Space[Any]:
    """The space as agents see it: a float32 Box, Discrete or MultiDiscrete counted from 0, or MultiBinary of actions.

    Actions of Dict and Tuple are those of a `HybridBox`; bounds of actions beyond `ENDLESS` are infinite.
    Observations of images stay uint8 (see `is_image`); those of Dict, Tuple and MultiBinary become vectors, as
    `gymnasium.spaces.flatten` makes them, and so does a Box of a single number without an axis. Images inside a Dict or
    Tuple are parts of a `MixedBox`, in which pixels are float32.
    Raises ValueError for any other kind, saying what to do.
    """
    if role == "observation" and (place := _unknown(space)):
        raise ValueError(
            f"the observation space has an entry that is no numbers: {place}; leave it out, as "
            "gymnasium.wrappers.FilterObservation does, or make numbers of it in a wrapper"
        )
    if isinstance(space, MixedBox):
        return space
    if is_flattened(space, role):
        if is_compound(space) and any(map(is_image, _leaves(space))):
            return MixedBox(_mixed_parts(space))
        space = spaces.flatten_space(space)
    if role == "action" and is_compound(space) and _leaves(space):
        return HybridBox([plain_space(leaf, role) for leaf in _leaves(space)])
    if isinstance(space, spaces.Box) and 0 in space.shape:
        raise ValueError(f"the {role} space has no numbers in it: {space}; give it one that is always 0")
    if role == "observation" and is_image(space):
        return spaces.Box(space.low, space.high, dtype=np.uint8)
    if isinstance(space, spaces.Box):
        with np.errstate(over="ignore"):  # bounds beyond float32 are no bounds
            low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        if role == "action":
            low, high = np.where(low < -ENDLESS, -np.inf, low), np.where(high > ENDLESS, np.inf, high)
        return spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
    if isinstance(space, spaces.Discrete):
        return spaces.Discrete(int(space.n))
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1:
        return spaces.MultiDiscrete(space.nvec)
    if role == "action" and isinstance(space, spaces.MultiBinary) and len(space.shape) == 1:
        return spaces.MultiBinary(space.shape[0])
    more = ", or Dict, Tuple or MultiBinary of such" if role == "observation" else ", or Dict or Tuple of such"
    raise ValueError(
        f"the {role} space must be {kinds(role)}{more}, got {space}; a wrapper of gymnasium can turn it into one"
    )


def _unknown(space: spaces.Space[Any], place: str = "") -> str:
    """The first entry in a Dict or Tuple whose kind gymnasium does not know how to flatten, in words; else empty."""
    if is_compound(space):
        keys = list(space.spaces) if isinstance(space, spaces.Dict) else range(len(_children(space)))
        pairs = zip(keys, _children(space), strict=True)
        found = (_unknown(child, f"{place}[{key!r}]") for key, child in pairs)
        return next((words for words in found if words), "")
    try:
        _ = space.is_np_flattenable
    except NotImplementedError:
        return f"{place}, {space}" if place else ""
    return ""


def is_flattened(space: spaces.Space[Any], role: str) -> bool:
    if isinstance(space, spaces.Box):
        return space.shape == ()
    compound = isinstance(space, spaces.Dict | spaces.Tuple | spaces.MultiBinary)
    return compound and role == "observation" and space.is_np_flattenable


def start_of(space: spaces.Space[Any]) -> Any:
    """Where a space of integers begins to count; 0 for a Box."""
    return getattr(space, "start", 0)


def original_action(space: spaces.Space[Any], action: Any, *batch: int) -> Any:
    """The action of an environment's own `space` for one of its plain space: clipped, rounded, counted from `start`.

    `batch` is the number of actions, for a batch of them `[B, ...]`; the result is then of gymnasium's batched space.
    """
    if is_compound(space):
        children = _children(space)
        pieces = np.split(action, np.cumsum([_size(child) for child in children])[:-1], -1)
        values = [original_action(child, piece, *batch) for child, piece in zip(children, pieces, strict=True)]
        return dict(zip(space.spaces, values, strict=True)) if isinstance(space, spaces.Dict) else tuple(values)
    array = np.asarray(action).reshape((*batch, *(space.shape or ())))
    if isinstance(space, spaces.Box):
        array = np.clip(array, space.low, space.high)
        return np.asarray(array if space.dtype.kind == "f" else np.rint(array), space.dtype)
    if array.dtype.kind == "f":  # the numbers of a HybridBox
        low, high = bounds_of(space)
        array = np.rint(array).clip(0, high - low)
    return array.astype(space.dtype)[()] + start_of(space)


def bounds_of(space: spaces.Space[Any]) -> tuple[Any, Any]:
    """The least and the largest values of a plain space, numbers or arrays of its shape; TypeError for another kind."""
    if isinstance(space, spaces.Discrete):
        return int(space.start), int(space.start + space.n) - 1
    if isinstance(space, spaces.MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    if isinstance(space, spaces.Box):
        return space.low, space.high
    if isinstance(space, spaces.MultiBinary):
        return 0, 1
    raise TypeError(f"no bounds of {space} are known")


def center_and_scale(space: spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    """The middle and half the width of each number of a Box, in float32; 0 and 1 where it is open on a side.

    The scale is 0 where low and high are equal: such a number is a constant.
    """
    bounded = np.isfinite(space.low) & np.isfinite(space.high)
    center = np.where(bounded, space.low / 2 + space.high / 2, 0.0)
    scale = np.where(bounded, space.high / 2 - space.low / 2, 1.0)
    return center.astype(np.float32), scale.astype(np.float32)


def sample_actions(space: spaces.Space[Any], num: int, generator: torch.Generator) -> Tensor:
    """Uniform actions `[num, *shape]`, on the generator's device.

    A Box that is open on a side is taken as two units wide. Raises TypeError for a space that is no plain one.
    """
    device = generator.device
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        return torch.randint(first, first + int(space.n), (num,), generator=generator, device=device)
    if isinstance(space, spaces.MultiBinary):
        return torch.randint(0, 2, (num, *space.shape), generator=generator, device=device)
    if not isinstance(space, spaces.Box | spaces.MultiDiscrete):
        raise TypeError(f"no actions can be drawn from {space}")
    if isinstance(space, HybridBox):
        return space.join([sample_actions(part, num, generator) for part in space.parts])
    share = torch.rand((num, *space.shape), generator=generator, device=device)
    if isinstance(space, spaces.MultiDiscrete):
        counts, first_of_each = (torch.as_tensor(x, device=device) for x in (space.nvec, space.start))
        return (share * counts).long() + first_of_each
    low, high = (torch.as_tensor(bound, device=device) for bound in _finite_bounds(space))
    return (low + (high - low) * share).to(low.dtype)


def _finite_bounds(space: spaces.Box) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of a Box; where one is infinite, so that the Box is two units wide."""
    low = np.where(np.isfinite(space.low), space.low, np.minimum(-1, space.high - 2))
    high = np.where(np.isfinite(space.high), space.high, low + 2)
    return low.astype(space.dtype), high.astype(space.dtype)


SMALLEST = 8  # pixels of a side; what is smaller is a table of numbers


def is_image(space: spaces.Space[Any]) -> TypeGuard[spaces.Box]:
    """Whether a space is one of images: a uint8 Box whose images have sides of at least 8 pixels.

    Its shape is [H, W], [H, W, C] or [C, H, W], or [K, H, W, C] or [K, C, H, W] for a stack of K images.
    """
    if not isinstance(space, spaces.Box) or space.dtype != "uint8" or len(space.shape) not in (2, 3, 4):
        return False
    return min(image_shape(space)[1:]) >= SMALLEST


def image_shape(space: spaces.Box) -> tuple[int, int, int]:
    """Channels, height and width; the images of a stack follow each other in the channels.

    Where two neighbouring sides are equal and the third is not, that one is the channels: the planes of a board are
    many. Else the channels are the last axis, unless the first is shorter than it.
    """
    *stack, first, middle, last = (1, *space.shape) if len(space.shape) == 2 else space.shape
    channels, *sides = (first, middle, last) if _channels_first(space) else (last, first, middle)
    return int(np.prod(stack, dtype=np.int64)) * channels, sides[0], sides[1]


def channels_first(observation: Tensor, space: spaces.Box) -> Tensor:
    """Images `[..., *space.shape]` as `[..., C, H, W]`, of the same type."""
    if len(space.shape) == 2:
        return observation.unsqueeze(-3)
    x = observation if _channels_first(space) else observation.movedim(-1, -3)
    return x if len(space.shape) == 3 else x.flatten(-4, -3)  # [..., K, C, H, W] -> [..., K * C, H, W]


def _channels_first(space: spaces.Box) -> bool:
    """Whether the channels of [C, H, W] or [H, W, C] come first; [H, W] has a first axis of one channel."""
    if len(space.shape) == 2:
        return True
    first, middle, last = space.shape[-3:]
    if (first == middle) != (middle == last):
        return middle == last
    return first < last


def scaled_pixels(observation: Tensor, space: spaces.Box) -> Tensor:
    return observation.to(torch.get_default_dtype()) / max(1, int(space.high.max()))
