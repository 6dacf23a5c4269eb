"""CartPole with hidden velocities: what memory is for, as a gymnasium environment and as native batched dynamics."""

import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar, final

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.wrappers import TimeLimit
from torch import Tensor

from metarl.engines.gym_env import Parameters
from metarl.engines.gym_tasks import GymTasks
from metarl.engines.native import NativeDistribution
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution

SEEN = [0, 2]  # position of the cart and angle of the pole, of (x, velocity, angle, angular velocity)
STANDARD = 0.5  # half the length of CartPole-v1's pole
LENGTHS = (0.25, 1.0)
GRAVITY, CART, POLE, FORCE, SECONDS = 9.8, 1.0, 0.1, 10.0, 0.02
FARTHEST, STEEPEST = 2.4, 12 * 2 * math.pi / 360  # an episode ends beyond them, if poles fall


@final
class HiddenVelocities(gymnasium.ObservationWrapper[Any, Any, Any]):
    """CartPole that shows where things are, not how fast they move."""

    def __init__(self, env: "gymnasium.Env[Any, Any]") -> None:
        super().__init__(env)
        self.observation_space = _positions()

    def observation(self, observation: Any) -> Any:
        return observation[SEEN]


def cartpole(falls: bool = True) -> "gymnasium.Env[Any, Any]":
    """gymnasium's CartPole with hidden velocities, without a time limit; not `falls`: nothing else ends it either."""
    pole = CartPoleEnv()
    if not falls:
        pole.x_threshold = pole.theta_threshold_radians = math.inf
    return HiddenVelocities(pole)


def limited_cartpole(steps: int, falls: bool = True) -> "gymnasium.Env[Any, Any]":
    """The same with a time limit: what a library that knows no tasks is given."""
    return TimeLimit(cartpole(falls), steps)


def gym_cartpole(steps: int, falls: bool = True) -> TaskDistribution:
    """CartPole as a task distribution stepped by gymnasium's environment; a trial is one episode of at most `steps`."""
    family = GymTasks(
        "gym-cartpole-positions-v1",
        make=functools.partial(cartpole, falls),
        parameters={"length": LENGTHS},
        apply=_set_length,
        max_episode_steps=steps,
        num_episodes=1,
    )
    return family.where(length=(STANDARD, STANDARD))


def native_cartpole(steps: int, falls: bool = True) -> TaskDistribution:
    """The same tasks, stepped all at once."""
    return NativeCartPole(steps, falls).where(length=(STANDARD, STANDARD))


@final
@dataclass(frozen=True)
class NativeCartPole(NativeDistribution):
    """The equations of gymnasium's CartPole-v1 for a batch of poles that may differ in length.

    A state is (position, velocity, angle, angular velocity) in float64, as there; velocities are not observed.
    """

    steps: int = 500
    """The most steps an episode takes, and a trial too."""
    falls: bool = True
    """Whether an episode ends when the pole leans or the cart strays too far."""

    splits: ClassVar[tuple[str, ...]] = ("train", "test")

    @property
    def name(self) -> str:
        return "native-cartpole-positions-v1"

    @property
    def observation_space(self) -> spaces.Box:
        return _positions()

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(2)

    @property
    def task_space(self) -> spaces.Dict:
        return spaces.Dict({"length": spaces.Box(*LENGTHS, (), np.float32)})

    @property
    def horizon(self) -> int:
        return self.steps

    @property
    def num_episodes(self) -> int:
        return 1

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        low, high = (float(bound) for bound in self._interval("length", *LENGTHS))
        return {"length": low + (high - low) * torch.rand(num_tasks, generator=generator, device=generator.device)}

    def initial_state(self, tasks: Tasks, generator: torch.Generator) -> Tensor:
        unit = torch.rand(len(tasks), 4, generator=generator, device=tasks.device, dtype=torch.float64)
        return 0.1 * unit - 0.05

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state[:, ::2].float()

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        _, velocity, angle, turning = state.unbind(-1)
        length, mass = tasks["length"].double(), CART + POLE
        sine, cosine = angle.sin(), angle.cos()
        push = (FORCE * (2 * action - 1) + POLE * length * turning.square() * sine) / mass
        turning_rate = (GRAVITY * sine - cosine * push) / (length * (4 / 3 - POLE * cosine.square() / mass))
        acceleration = push - POLE * length * turning_rate * cosine / mass
        following = state + SECONDS * torch.stack([velocity, acceleration, turning, turning_rate], -1)
        position, angle = following[:, 0], following[:, 2]
        fell = ((position.abs() > FARTHEST) | (angle.abs() > STEEPEST)) & self.falls
        return following, torch.ones_like(fell, dtype=torch.float32), fell

    def frame(self, state: Tensor, task: Tasks) -> np.ndarray:
        """Nothing to see: this family is made to be timed."""
        return np.zeros((8, 8, 3), np.uint8)


def check_cartpole(steps: int = 300) -> None:
    """AssertionError unless gymnasium's CartPole-v1 and the native dynamics agree on `steps` random steps."""
    env, native = gymnasium.make("CartPole-v1"), NativeCartPole()
    tasks, generator = native.tasks(length=[STANDARD]), torch.Generator()
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(steps):
        action = int(rng.integers(2))
        before = torch.as_tensor(np.array(env.unwrapped.state))[None]  # type: ignore[attr-defined]
        seen, reward, terminated, _, _ = env.step(action)
        after, rewards, fell = native.transition(before, torch.tensor([action]), tasks, generator)
        np.testing.assert_allclose(after[0].numpy(), env.unwrapped.state, rtol=1e-12, atol=1e-14)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(native.observation(after, tasks)[0].numpy(), seen[SEEN])
        assert (rewards[0].item(), fell[0].item()) == (reward, terminated)
        if terminated:
            env.reset()
    env.close()


def _positions() -> spaces.Box:
    return spaces.Box(-np.inf, np.inf, (len(SEEN),), np.float32)


def _set_length(env: "gymnasium.Env[Any, Any]", task: Parameters) -> None:
    pole: Any = env.unwrapped
    pole.length, pole.polemass_length = task["length"], task["length"] * pole.masspole
