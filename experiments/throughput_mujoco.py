"""Speed of MuJoCo families, alone and in training."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv
from throughput_sizes import Sizes
from timing import Row, Side, Work, compare

import metarl
from metarl import seeding
from metarl.agents.rl2 import RL2, RL2Options
from metarl.sb3 import TaskVecEnv
from metarl.tasks import TaskDistribution, Tasks

Make = Callable[[], "gymnasium.Env[Any, Any]"]


def robots(sizes: Sizes, rounds: int, device: torch.device) -> Iterator[Row]:
    """MuJoCo families in one batch against gymnasium's environments in its two vector environments; random actions.

    Half-cheetahs have one body and different goals; every walker has a body of its own, on all sides the same ones.
    gymnasium's environments live on from round to round: they are made before the first batch, for threads survive no
    fork.
    """
    cheetahs, walkers = metarl.make("half-cheetah-velocity"), metarl.make("walker-2d-body")
    bodies = walkers.sample(sizes.robots, seeding.generator(0, "bodies"))
    originals: list[tuple[str, TaskDistribution, list[Make]]] = [
        ("half-cheetahs", cheetahs, [partial(gymnasium.make, "HalfCheetah-v5", max_episode_steps=200)] * sizes.robots),
        ("walkers, a body each", walkers, [partial(walker, bodies[i]) for i in range(sizes.robots)]),
    ]
    for title, family, make in originals:
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


def walker(body: Tasks) -> "gymnasium.Env[Any, Any]":
    """gymnasium's walker with the body of this task."""
    env = gymnasium.make("Walker2d-v5", max_episode_steps=200)
    inner: Any = env.unwrapped
    mass, inertia, friction, damping = (body[name][0].numpy() for name in ("mass", "inertia", "friction", "damping"))
    inner.model.body_mass[1:] *= mass
    inner.model.body_inertia[1:] *= inertia[:, None]
    inner.model.geom_friction[:] *= friction[:, None]
    inner.model.dof_damping[:] *= damping
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
    agent = RL2(family, RL2Options(memory=memory, recall=False, batch_steps=sizes.training_steps), device=device)

    def work() -> int:
        agent.learn(sizes.training_steps)
        return agent.num_timesteps

    return work
