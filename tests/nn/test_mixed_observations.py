"""Pictures beside numbers in one observation: each part meets what suits it, wherever it stands."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

import metarl
from metarl.agents import MAML, RL2, MAMLOptions, RL2Options
from metarl.functional.linear_baseline import coarse, observation_features
from metarl.nn.encoders import ObservationEncoder
from metarl.spaces import MixedBox, plain_space
from metarl.testing import check_distribution

FRONT, BACK = spaces.Box(0, 255, (10, 12, 3), np.uint8), spaces.Box(0, 255, (2, 9, 9), np.uint8)
NESTED = spaces.Dict(
    {
        "a": spaces.Discrete(3, start=1),
        "cameras": spaces.Dict({"back": BACK, "front": FRONT}),
        "speed": spaces.Tuple((spaces.Box(-2, 2, (2,), np.float64), spaces.MultiBinary(2))),
    }
)


def test_the_parts_are_the_pictures_and_the_numbers_between_them() -> None:
    plain = plain_space(NESTED, "observation")
    assert isinstance(plain, MixedBox)
    assert [part.shape for part in plain.parts] == [(3,), (2, 9, 9), (10, 12, 3), (4,)]
    assert plain.parts[1:3] == (BACK, FRONT)
    assert plain_space(plain, "observation") == plain
    NESTED.seed(0)
    value: Any = NESTED.sample()
    flat = torch.as_tensor(np.asarray(spaces.flatten(NESTED, value), np.float32))
    numbers, back, front, last = plain.split(flat[None])
    assert numbers[0].tolist() == np.eye(3)[value["a"] - 1].tolist()
    np.testing.assert_array_equal(back[0].numpy(), value["cameras"]["back"])
    np.testing.assert_array_equal(front[0].numpy(), value["cameras"]["front"])
    np.testing.assert_allclose(last[0].numpy(), [*value["speed"][0], *value["speed"][1]], rtol=1e-6)


def test_dictionaries_without_pictures_stay_vectors() -> None:
    space = spaces.Dict({"x": spaces.Box(0, 255, (4, 4), np.uint8), "y": spaces.Box(-1, 1, (2,))})
    plain = plain_space(space, "observation")
    assert type(plain) is spaces.Box
    assert plain.shape == (18,)


def test_each_part_is_encoded_as_it_would_be_alone() -> None:
    plain = plain_space(NESTED, "observation")
    assert isinstance(plain, MixedBox)
    encoder = ObservationEncoder(plain, width=8)
    assert sum(isinstance(module, nn.Conv2d) for module in encoder.modules()) >= 2
    x = torch.rand(5, 3, *plain.shape) * torch.as_tensor(plain.high).clamp(max=255)
    encoder.update_statistics(x)
    pieces = plain.split(x)
    alone: list[Any] = list(encoder.parts)
    expected = sum(part(piece) for part, piece in zip(alone, pieces, strict=True)) / 2
    torch.testing.assert_close(encoder(x), expected)
    whole = alone[2](pieces[2].to(torch.uint8).float())
    torch.testing.assert_close(alone[2](pieces[2].to(torch.uint8)), whole)


def test_a_linear_baseline_reads_pictures_coarsely() -> None:
    plain = plain_space(NESTED, "observation")
    assert isinstance(plain, MixedBox)
    x = torch.rand(4, *plain.shape)
    features = observation_features(x, plain)
    assert features.shape == (4, 3 + 16 + 16 + 4)
    torch.testing.assert_close(features[:, 3:19], coarse(plain.split(x)[1], BACK))


class Lamp(gymnasium.Env[Any, Any]):
    """The lit half of a picture says which action pays; the number beside it is noise."""

    observation_space = spaces.Dict({"eye": spaces.Box(0, 255, (8, 8), np.uint8), "noise": spaces.Box(-9, 9, (1,))})
    action_space = spaces.Discrete(2)
    worth = 1.0

    def _look(self) -> dict[str, Any]:
        self.right = int(self.np_random.integers(2))
        eye = np.zeros((8, 8), np.uint8)
        eye[:, 4 * self.right : 4 * self.right + 4] = 200
        return {"eye": eye, "noise": self.np_random.normal(size=1).clip(-9, 9).astype(np.float32)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = self.worth * float(action == self.right)
        return self._look(), reward, False, False, {}


def lamps() -> Any:
    return metarl.from_gym(Lamp, {"worth": (0.5, 1.0)}, max_episode_steps=6, num_episodes=1)


def test_a_family_of_such_environments_keeps_the_contract() -> None:
    check_distribution(lamps())


def test_what_a_picture_shows_is_learned_beside_a_number() -> None:
    options = RL2Options(
        memory="gru",
        width=16,
        num_layers=1,
        batch_steps=240,
        num_minibatches=2,
        episodic_retrieval=False,
        learning_rate=1e-2,
        critic_epochs=0,
    )
    agent = RL2(lamps(), options, device="cpu").learn(1440)
    returns = metarl.evaluate(agent.policy(20), lamps().split("test"), num_tasks=20).returns
    worth = lamps().split("test").sample(20, torch.Generator())["worth"].mean().item()
    assert returns.mean() > 0.85 * 6 * worth  # half of it by chance


@pytest.mark.parametrize("outer", ["trpo", "policy-gradient"])
def test_gradients_pass_in_every_task(outer: Any) -> None:
    options = MAMLOptions(width=8, meta_batch_size=2, rollouts_per_task=2, outer=outer)
    agent = MAML(lamps(), options, device="cpu").learn(24)
    assert all(p.isfinite().all() for p in agent.network.parameters())
