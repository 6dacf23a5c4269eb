"""Images from an environment to an agent: uint8 all the way, floats inside the encoder only."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from torch import nn

import metarl
from metarl.agents.classical.uniform import RandomPolicy
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.engines.gym_tasks import GymTasks
from metarl.functional.linear_baseline import coarse, observation_features
from metarl.nn.convolutions import Convolutions
from metarl.nn.encoders import ObservationEncoder
from metarl.sb3 import TaskVecEnv
from metarl.seeding import generator
from metarl.spaces import is_image, plain_space
from metarl.testing import check_agent, check_distribution
from metarl.trials.rollouts import collect


def box(*shape: int, dtype: Any = np.uint8) -> spaces.Box:
    return spaces.Box(0, 255, shape, dtype)


class Lamp(gymnasium.Env[Any, Any]):
    """A bright square on the left or on the right of a picture; pointing at it pays what the task says."""

    action_space = spaces.Discrete(2)

    def __init__(self, shape: tuple[int, ...] = (12, 16, 3), dtype: Any = np.uint8) -> None:
        self.observation_space = box(*shape)
        self.shape = shape
        self.worth, self.right, self.dtype = 1.0, 0, dtype

    def _picture(self) -> np.ndarray:
        self.right = int(self.np_random.integers(2))
        picture = np.zeros((12, 16), self.dtype)
        picture[4:8, 4 + 8 * self.right :][:, :4] = 255
        if self.shape == (12, 16):
            return picture
        return np.stack([picture] * 3, self.shape.index(3))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._picture(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = self.worth * (int(action) == self.right)
        return self._picture(), reward, False, False, {}


def lamps(shape: tuple[int, ...] = (12, 16, 3), dtype: Any = np.uint8, **options: Any) -> GymTasks:
    return metarl.from_gym(
        lambda: Lamp(shape, dtype), {"worth": (0.8, 1.2)}, name="lamps-v1", max_episode_steps=4, **options
    )


@pytest.mark.parametrize(
    ("space", "image"),
    [
        (box(8, 8), True),
        (box(64, 48, 3), True),
        (box(4, 84, 84), True),
        (box(7, 7, 3), False),  # a table of codes
        (box(3, 7, 40), False),
        (box(64), False),
        (box(64, 64, dtype=np.float32), False),
        (spaces.Box(0, 255, (64, 64), np.int64), False),
        (spaces.Discrete(3), False),
    ],
)
def test_images_are_uint8_and_large_enough(space: spaces.Space[Any], image: bool) -> None:
    assert is_image(space) == image
    plain = plain_space(space, "observation")
    assert (plain.dtype == np.uint8) == image
    assert plain.shape == space.shape


@pytest.mark.parametrize("shape", [(12, 16), (12, 16, 3), (3, 12, 16)])
def test_families_of_images_keep_the_contract(shape: tuple[int, ...]) -> None:
    family = lamps(shape)
    assert family.observation_space == box(*shape)
    check_distribution(family)


def test_an_image_keeps_its_pixels_and_its_type_all_the_way() -> None:
    family = lamps(workers=0)
    env = family.vector_env(3)
    env.set_tasks(family.sample(3, generator(0)))
    assert env.reset(seed=0)[0].dtype == torch.uint8
    policy = RL2(family, RL2Options(width=16, batch_steps=24), device="cpu").policy(3, deterministic=False)
    trajectories = collect(policy, env, 8, seed=0)
    assert trajectories.observations.dtype == trajectories.context().previous_observation.dtype == torch.uint8
    assert trajectories.observations.shape == (3, 8, 12, 16, 3)
    assert (trajectories.observations == 255).sum() == 3 * 8 * 16 * 3
    assert (trajectories.observations > 0).sum() == 3 * 8 * 16 * 3


@pytest.mark.parametrize(("value", "message"), [(0.5, "lies outside"), (300, "lies outside"), (-1, "lies outside")])
def test_what_is_no_pixel_is_refused(value: float, message: str) -> None:
    """A cast would make darkness of fractions, and let what is too large begin again at 0."""
    env = lamps(dtype=np.float64).env()
    env.reset(seed=0)
    lamp: Any = env.unwrapped
    lamp._picture = lambda: np.full((12, 16, 3), value)
    with pytest.raises(ValueError, match=message):
        env.step(0)


def test_convolutions_agree_whatever_axes_lead_and_wherever_the_channels_are() -> None:
    torch.manual_seed(0)
    last, first = Convolutions(box(20, 33, 3)), Convolutions(box(3, 20, 33))
    first.load_state_dict(last.state_dict())
    pictures = torch.randint(256, (2, 5, 20, 33, 3), dtype=torch.uint8)
    features = last(pictures)
    assert features.shape == (2, 5, last.size)
    torch.testing.assert_close(last(pictures[1, 2]), features[1, 2])
    torch.testing.assert_close(first(pictures.movedim(-1, -3)), features)
    assert Convolutions(box(8, 9))(torch.zeros(8, 9, dtype=torch.uint8)).isfinite().all()


def test_stacked_parameters_see_images_as_a_loop_does() -> None:
    encoders = [ObservationEncoder(box(9, 12, 3), 4) for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(encoders)
    pictures = torch.randint(256, (3, 2, 9, 12, 3), dtype=torch.uint8)

    def call(values: dict[str, torch.Tensor], picture: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = torch.func.functional_call(encoders[0], values, (picture,))
        return output

    stacked = torch.func.vmap(call)(parameters, pictures)
    expected = torch.stack([each(picture) for each, picture in zip(encoders, pictures, strict=True)])
    torch.testing.assert_close(stacked, expected)


def test_images_have_no_running_statistics() -> None:
    encoder = ObservationEncoder(box(12, 16), 8)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.update_statistics(torch.randint(256, (4, 5, 12, 16), dtype=torch.uint8))
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert sum(isinstance(module, nn.Conv2d) for module in encoder.modules()) == 2


def test_too_small_an_image_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"sides of at least 8 pixels, got Box\(0, 255, \(7, 20\), uint8\)"):
        Convolutions(box(7, 20))


def test_a_linear_baseline_sees_a_few_cells() -> None:
    picture = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    picture[1, 2:4, 4:6] = 255
    assert coarse(picture, box(8, 8, 3))[1].tolist() == [float(cell == 6) for cell in range(16)]
    assert torch.equal(observation_features(picture, box(8, 8, 3)), coarse(picture, box(8, 8, 3)))


def test_rl2_learns_from_pictures() -> None:
    family = lamps(num_episodes=2)
    agent = RL2(
        family,
        RL2Options(memory="gru", width=16, batch_steps=400, episodic_retrieval=False, critic_epochs=0),
        seed=0,
        device="cpu",
    )
    check_agent(agent, family)
    result = metarl.evaluate(agent.learn(4_000).policy(40), family.split("test"), num_tasks=40)
    assert result.returns.mean() > 3.6  # 4 is the best, 2 by chance


def test_maml_learns_from_pictures() -> None:
    family = lamps(num_episodes=2)
    options = MAMLOptions(meta_batch_size=5, rollouts_per_task=10, width=16, outer="ppo", learning_rate=5e-3)
    agent = MAML(family, options, seed=0, device="cpu").learn(4_000)
    result = metarl.evaluate(agent.policy(20), family.split("test"), num_tasks=20, num_episodes=12)
    assert result.returns[:, -1].mean() > 3.6


def test_stable_baselines3_gets_images_with_the_channels_first() -> None:
    env = TaskVecEnv(lamps((12, 16)), num_envs=2)
    assert env.observation_space == box(1, 12, 16)
    assert env.reset().shape == (2, 1, 12, 16)
    model = PPO("MlpPolicy", TaskVecEnv(lamps(), num_envs=2), n_steps=8, batch_size=8, device="cpu").learn(16)
    assert model.observation_space == box(3, 12, 16)


def test_learners_without_memory_act_on_images() -> None:
    family = lamps()
    assert metarl.evaluate(RandomPolicy(family, 4), family, num_tasks=4).returns.shape == (4, 3)
