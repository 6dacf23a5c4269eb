"""Frozen lakes with hidden holes: gymnasium's FrozenLake on random maps."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv, generate_random_map

from metarl.engines.gym_tasks import GymTasks

HELD_OUT = 5  # one map in so many belongs to the test split, for ever: the split is a part of the family's name
FROZEN = {"train": 0.8, "test": 0.8, "ood": 0.7}  # the chance that a tile is no hole; gymnasium's is 0.8


def frozen_lake(
    size: int = 4, slippery: bool = False, max_episode_steps: int | None = None, num_episodes: int = 5, workers: int = 0
) -> GymTasks:
    """A lake with hidden holes, gymnasium's FrozenLake: the agent sees only where it is; every map can be crossed.

    The task is the map. Reward is 1 on reaching the far corner; a hole ends the episode. `slippery`: a move goes
    where it was meant to one time in three, else to a side, as in gymnasium. `steps` an episode are by default those
    that gymnasium gives the 4x4 and the 8x8 map, 25 for each row. One map in five, by its checksum, is never met in
    training. ood: more holes, on such unseen maps.

    Raises ValueError for a size outside 3 to 16.
    """
    if not 3 <= size <= 16:
        raise ValueError(f"frozen-lake needs a size of 3 to 16 tiles, got {size}")
    return GymTasks(
        f"frozen-lake-{size}x{size}{'-slippery' * slippery}-v1",
        make=Lake(slippery),
        parameters={"holes": spaces.Box(0, 1, (size, size), np.int64)},
        ood={},
        apply="kwargs",
        draw=Maps(size),
        max_episode_steps=25 * size if max_episode_steps is None else max_episode_steps,
        num_episodes=num_episodes,
        workers=workers,
    )


@final
@dataclass(frozen=True)
class Lake:
    """Makes gymnasium's environment from the holes `[size, size]` of a map, 1 for a hole."""

    slippery: bool

    def __call__(self, holes: np.ndarray, render_mode: str | None = None) -> "gymnasium.Env[Any, Any]":
        tiles = np.where(holes, "H", "F")
        tiles[0, 0], tiles[-1, -1] = "S", "G"
        return FrozenLakeEnv(render_mode, ["".join(row) for row in tiles], is_slippery=self.slippery)


@final
@dataclass(frozen=True)
class Maps:
    """Draws maps that can be crossed, as gymnasium does, from the maps of a split."""

    size: int

    def __call__(self, split: str, num_tasks: int, rng: np.random.Generator) -> Mapping[str, np.ndarray]:
        return {"holes": np.stack([self._map(split, rng) for _ in range(num_tasks)])}

    def _map(self, split: str, rng: np.random.Generator) -> np.ndarray:
        while True:
            rows = generate_random_map(self.size, FROZEN[split], seed=int(rng.integers(2**31)))
            holes = np.array([[tile == "H" for tile in row] for row in rows], np.int64)
            if is_held_out(holes) == (split != "train"):
                return holes


def is_held_out(holes: np.ndarray) -> bool:
    """Whether a map [size, size] is kept for testing: a property of the map alone, so that no draw can cross over."""
    return zlib.crc32(np.asarray(holes, np.uint8).tobytes()) % HELD_OUT == 0
