"""One seed, many named streams."""

import random

import numpy as np
import pytest
import torch

from metarl.contracts.clauses import untouched_by
from metarl.seeding import generator, initialising, stream_seed


def test_a_stream_is_a_pure_function_of_seed_and_names(device: str) -> None:
    once, again = (torch.rand(4, generator=generator(1, "tasks", 17, device=device), device=device) for _ in range(2))
    assert torch.equal(once, again)


def test_streams_are_told_apart() -> None:
    seeds = {
        stream_seed(seed, *names) for seed in (0, 1) for names in ((), ("a",), ("b",), ("a", 0), ("a", 1), (0, "a"))
    }
    assert len(seeds) == 12
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_streams_never_change() -> None:
    """A run that was stopped must go on with the same numbers under a later version."""
    assert stream_seed(0, "tasks", 17) == 2344315288351859178
    assert stream_seed(7) == 5135535630271676732


def test_global_random_state_stays_as_it_is() -> None:
    untouched_by(lambda: torch.rand(3, generator=generator(0)))


def test_modules_are_initialised_from_a_seed_alone() -> None:
    def weight(seed: int) -> torch.Tensor:
        with initialising(seed):
            return torch.nn.Linear(3, 3).weight

    untouched_by(lambda: weight(0))
    assert torch.equal(weight(0), weight(0))
    assert not torch.equal(weight(0), weight(1))


def test_whoever_touches_global_random_state_is_caught() -> None:
    for draw in (random.random, np.random.rand, lambda: torch.rand(1)):
        with pytest.raises(AssertionError, match="global random state"):
            untouched_by(draw)
