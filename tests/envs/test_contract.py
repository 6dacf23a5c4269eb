"""Every family that ships keeps the contract, on every device."""

from typing import Any

import pytest

import metarl
from metarl.registry import distributions
from metarl.testing import check_distribution

SLOW = ("ant-direction", "ant-goal", "walker-2d-body", "humanoid-direction")  # their splits differ in the prior only
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in distributions()),
    ("bernoulli-bandit", {"arms": 2, "pulls": 100}),
    ("dark-room", {"variant": "dpt"}),
    ("bus-grid", {"distractors": True}),
    ("dark-key-to-door", {"variant": "amago"}),
    ("tabular-mdp", {"states": 3, "actions": 2, "max_episode_steps": 4}),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_shipped_families_keep_the_contract(name: str, options: dict[str, Any], device: str) -> None:
    check_distribution(metarl.make(name, **options), device=device)


@pytest.mark.parametrize("name", [name for name in distributions() if name not in SLOW])
def test_the_other_splits_do_too(name: str) -> None:
    family = metarl.make(name)
    for split in family.splits[1:]:
        check_distribution(family.split(split), seed=1)


@pytest.mark.parametrize("name", distributions())
def test_pictures_are_rgb_arrays(name: str) -> None:
    env = metarl.make(name).env(render_mode="rgb_array")
    env.reset(seed=0)
    try:
        before: Any = env.render()
    except RuntimeError as error:  # MuJoCo on a machine that cannot draw
        pytest.skip(str(error))
    env.step(env.action_space.sample())
    assert before.dtype == "uint8"
    assert before.ndim == 3
    assert before.shape[2] == 3
    assert len({tuple(pixel) for pixel in before.reshape(-1, 3)}) >= 2
