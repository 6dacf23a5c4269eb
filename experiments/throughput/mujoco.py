"""Speed of MuJoCo families, alone and in training."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import gymnasium
import mujoco
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

import metarl
from experiments.throughput.sizes import Sizes
from experiments.timing import Row, Side, Work, compare
from metarl import seeding
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.engines.mujoco_dynamics import Values
from metarl.engines.mujoco_simulation import Floats
from metarl.engines.mujoco_tasks import MujocoTasks
from metarl.envs.half_cheetah import HalfCheetah, HalfCheetahVelocity
from metarl.envs.walkers import Walker2dBody
from metarl.priors import LogUniform, Prior
from metarl.sb3 import TaskVecEnv
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution


def robots(sizes: Sizes, rounds: int, device: torch.device) -> Iterator[Row]:
    """MuJoCo families in one batch against gymnasium's environments in its two vector environments; random actions.

    Half-cheetahs with one body and different goals; half-cheetahs and walkers each with a body of its own, on all
    sides the same ones. gymnasium's environments live on from round to round: they are made before the first batch,
    for threads survive no fork.
    """
    families: list[tuple[str, str, MujocoTasks]] = [
        ("half-cheetahs", "HalfCheetah-v5", HalfCheetahVelocity()),
        ("half-cheetahs, a body each", "HalfCheetah-v5", HalfCheetahMass()),
        ("walkers, a body each", "Walker2d-v5", Walker2dBody()),
    ]
    for title, original, family in families:
        tasks = family.sample(sizes.robots, seeding.generator(0, "bodies"))
        make = [partial(robot, original, family, tasks[i]) for i in range(sizes.robots)]
        theirs = {"SyncVectorEnv": SyncVectorEnv(make), "AsyncVectorEnv": AsyncVectorEnv(make)}
        sides = [Side(name, partial(_original, envs, sizes), reference=True) for name, envs in theirs.items()]
        sides.append(Side("metarl", partial(_batch, family, sizes, device)))
        yield compare(f"{sizes.robots} {title}", sides, rounds, device)
        for envs in theirs.values():
            envs.close()


def robot_training(sizes: Sizes, rounds: int, device: torch.device) -> Iterator[Row]:
    """Stable-Baselines3's PPO on gymnasium's half-cheetahs and on metarl's, and RL² on metarl's, learning from scratch.

    PPO with its own options but for 64 environments, 16 384 steps an update and minibatches of 1024; RL² with its own
    but for the same steps an update.
    """
    cheetahs = metarl.make("half-cheetah-velocity")
    vector: dict[str, Callable[[], VecEnv]] = {
        "PPO, DummyVecEnv": partial(_stable_baselines, DummyVecEnv, sizes),
        "PPO, SubprocVecEnv": partial(_stable_baselines, partial(SubprocVecEnv, start_method="fork"), sizes),
        "PPO, metarl's TaskVecEnv": partial(TaskVecEnv, cheetahs, sizes.training_robots),
    }
    sides = [
        Side(name, partial(_ppo, make, sizes, device), reference="metarl" not in name) for name, make in vector.items()
    ]
    sides += [
        Side(f"RL², {name}", partial(_rl2, cheetahs, memory, sizes, device))
        for name, memory in (("GRU", "gru"), ("Transformer", "transformer"))
    ]
    yield compare(f"training: {sizes.training_robots} half-cheetahs", sides, rounds, device)


@final
@dataclass(frozen=True)
class HalfCheetahMass(HalfCheetah):
    """Half-cheetahs that run forward; each part of each has a mass of its own."""

    @property
    def name(self) -> str:
        return "half-cheetah-mass-v1"

    def priors(self, split: str) -> Mapping[str, Prior]:
        parts = np.ones(self.model.nbody - 1)  # body 0 is the world
        return {"mass": LogUniform(0.5 * parts, 2 * parts)}

    def model_fields(self, task: Values) -> dict[str, Floats]:
        mass = np.tile(self.model.body_mass, (len(task["mass"]), 1))
        mass[:, 1:] *= task["mass"]
        return {"body_mass": mass}

    def velocity_reward(self, velocity: Floats, task: Values) -> Floats:
        return velocity


def robot(original: str, family: MujocoTasks, task: Tasks) -> "gymnasium.Env[Any, Any]":
    """gymnasium's robot with the body of this task."""
    env = gymnasium.make(original, max_episode_steps=200)
    inner: Any = env.unwrapped
    for name, value in family.model_fields({key: value.numpy() for key, value in task.parameters.items()}).items():
        getattr(inner.model, name)[:] = value[0]
    mujoco.mj_setConst(inner.model, inner.data)
    return env


def _original(envs: "gymnasium.vector.VectorEnv[Any, Any, Any]", sizes: Sizes) -> Work:
    envs.reset(seed=0)
    actions = _actions(envs.single_action_space, sizes)

    def work() -> int:
        for action in actions:
            envs.step(action)
        return len(actions) * sizes.robots

    return work


def _batch(family: TaskDistribution, sizes: Sizes, device: torch.device) -> Work:
    env = family.vector_env(sizes.robots, device)
    env.set_tasks(family.sample(sizes.robots, seeding.generator(0, "bodies", device=device)))
    env.reset(seed=0)
    actions = [torch.from_numpy(action).to(device) for action in _actions(family.action_space, sizes)]

    def work() -> int:
        for action in actions:
            env.step(action)
        return len(actions) * sizes.robots

    return work


def _actions(space: Any, sizes: Sizes) -> Sequence["np.ndarray[Any, np.dtype[np.float32]]"]:
    draw = np.random.default_rng(0).uniform
    return [
        draw(space.low, space.high, (sizes.robots, *space.shape)).astype(np.float32) for _ in range(sizes.robot_steps)
    ]


def _stable_baselines(kind: Callable[..., VecEnv], sizes: Sizes) -> VecEnv:
    return kind([partial(gymnasium.make, "HalfCheetah-v5", max_episode_steps=200)] * sizes.training_robots)


def _ppo(make: Callable[[], VecEnv], sizes: Sizes, device: torch.device) -> Work:
    env = make()
    steps = sizes.training_steps // sizes.training_robots
    batch = min(1024, sizes.training_steps)
    model = PPO("MlpPolicy", env, n_steps=steps, batch_size=batch, seed=0, device=device)

    def work() -> int:
        model.learn(sizes.training_steps)
        env.close()
        return sizes.training_steps

    return work


def _rl2(family: TaskDistribution, memory: Any, sizes: Sizes, device: torch.device) -> Work:
    options = RL2Options(memory=memory, episodic_retrieval=False, critic_epochs=0, batch_steps=sizes.training_steps)
    agent = RL2(family, options, device=device)

    def work() -> int:
        agent.learn(sizes.training_steps)
        return agent.num_timesteps

    return work
