"""Mountain treasure: pays and sight by hand, and the published returns of its reference policies."""

import math

import pytest
import torch

import metarl
from metarl.agents.classical.mountain_treasure import CircleSearch, ClimbLookGo, KnownTreasure, circle_walk
from metarl.envs.mountain_treasure import MountainTreasure
from metarl.tasks.policies import AdaptivePolicy
from metarl.trials.player import play

FAMILY = MountainTreasure()
EVERY = 500  # angles, evenly spaced


def returns(policy: AdaptivePolicy) -> torch.Tensor:
    """Of an episode in each of evenly spaced tasks."""
    env = FAMILY.vector_env(EVERY)
    angles = math.pi * (2 * (torch.arange(EVERY) + 0.5) / EVERY - 1)
    env.set_tasks(FAMILY.tasks(angle=angles.tolist()))
    rewards = [step.transition.reward.double() for step in play(policy, env, 1, seed=0)]
    assert len(rewards) == 100
    return torch.stack(rewards).sum(0)


def test_pays_by_hand() -> None:
    treasure = torch.tensor([1.0, 0.0])
    places = torch.tensor([[0.0, -1.0], [0.0, -2.0], [0.0, 0.7], [0.0, 0.25], [0.0, 0.0], [0.95, 0.05], [1.2, 0.0]])
    assert FAMILY.pay(places, treasure).tolist() == pytest.approx([-5, -10, -5, -5.25, -5.5, 10, -6])


def test_the_treasure_is_seen_from_the_top_alone(device: str) -> None:
    env = FAMILY.vector_env(1, device)
    env.set_tasks(FAMILY.tasks(angle=[math.pi]))
    seen = [env.reset(seed=0)[0], *(env.step(torch.tensor([[0.0, 5.0]], device=device))[0] for _ in range(12))]
    shown = [row[0, 2:].tolist() for row in seen]
    assert shown[10] == pytest.approx([-1, 0], abs=1e-6)
    assert [place for number, place in enumerate(shown) if number != 10] == [[0, 0]] * 12
    assert seen[12][0, :2].tolist() == pytest.approx([0, 0.2], abs=1e-5)


@pytest.mark.parametrize(("policy", "expected"), [(CircleSearch, 592.0), (ClimbLookGo, 736.9), (KnownTreasure, 851.7)])
def test_reference_policies_get_what_is_known_of_them(policy: type, expected: float) -> None:
    """The means over 2000 angles, in double precision; here over 500."""
    got = returns(policy(FAMILY, EVERY))
    assert got.mean().item() == pytest.approx(expected, abs=0.5)
    bound = FAMILY.optimal_return()
    assert bound.kind == "bound"
    assert 851.7 < bound.total < 852.5
    assert got.mean().item() < bound.total


def test_a_known_treasure_is_reached_no_sooner_than_the_bound_says() -> None:
    """For a treasure straight above, 19 steps lead within reach; the mountain costs more than the bound counts."""
    above = FAMILY.where(angle=(math.pi / 2, math.pi / 2)).optimal_return()
    assert above is not None
    assert above.total == pytest.approx(-5 * 18 + 10 * 82)
    narrow = FAMILY.where(angle=(-math.pi / 2, -math.pi / 2)).optimal_return(2)
    assert narrow is not None
    assert narrow.total == pytest.approx(2000)


def test_steps_along_the_circle_are_as_long_as_the_box_allows() -> None:
    walk = circle_walk(80)
    torch.testing.assert_close(walk.norm(dim=1), torch.ones(80))
    steps = (walk[1:] - walk[:-1]).abs().amax(1)
    assert steps.max() <= 0.1 + 1e-6
    assert steps.min() > 0.09


def test_what_was_found_is_known_in_the_next_episode() -> None:
    family = MountainTreasure(num_episodes=2)
    for policy in (CircleSearch, ClimbLookGo):
        result = metarl.evaluate(policy(family, 50), family, 50)
        assert result.gains.min() > -1
        assert result.gains.mean() > 30
    assert family.expert(1) is None
