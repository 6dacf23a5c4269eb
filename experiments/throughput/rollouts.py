"""Speed of environments and of memory while acting."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, final

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

import metarl
from experiments.throughput.sizes import Sizes
from experiments.timing import Row, Side, Work, compare
from metarl import seeding
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.engines.native import NativeDistribution
from metarl.nn.transformer import TransformerMemory
from metarl.registry import distributions
from metarl.tasks.distribution import TaskDistribution
from metarl.trials.rollouts import collect

DIFFERENT_ACTIONS = 64  # drawn beforehand and used in turn, so that drawing is not timed


def environments(sizes: Sizes, rounds: int, device: torch.device) -> Iterator[Row]:
    """Every native family against the same family one environment at a time, in gymnasium's SyncVectorEnv.

    A single native environment computes with tensors of one entry, which is slow: the ratio says what metarl's batch
    gains over metarl's own single environment. What it gains over a single environment as one would write it by hand
    is shown for grid navigation, in plain Python.
    """
    check_plain_grid()
    single = f"SyncVectorEnv of {sizes.single_envs}"
    for name in distributions():
        distribution = metarl.make(name)
        if not isinstance(distribution, NativeDistribution):
            continue
        sides = [
            Side(single, partial(_singles, distribution, sizes), reference=True),
            Side(f"native batch of {sizes.native_envs}", partial(stepping, distribution, sizes, device)),
        ]
        if name == "grid-navigation":
            sides.insert(1, Side(f"{single}, plain Python", partial(_plain, sizes), reference=True))
        yield compare(f"environments: {name}", sides, rounds, device)


@torch.no_grad()
def attention(sizes: Sizes, rounds: int, device: torch.device) -> Iterator[Row]:
    """Acting with a Transformer: reading a key-value cache against a new forward over the whole trial at each step.

    Recomputation is timed at a few steps that stand for equal parts of the trial, the cache over all its steps.
    """
    with seeding.initialising(0):
        memory = TransformerMemory(sizes.attention_width, layers=2, heads=4, window=max(sizes.contexts)).to(device)
    for context in sizes.contexts:
        shape = (sizes.attention_trials, context, sizes.attention_width)
        x = torch.randn(shape, generator=seeding.generator(0, "tokens")).to(device)
        parts = min(sizes.recomputed, context)
        chosen = [(2 * part + 1) * context // (2 * parts) for part in range(parts)]
        remembered = cached(memory, x)
        for step, y in zip(chosen, recomputed(memory, x, chosen), strict=True):
            torch.testing.assert_close(remembered[step], y, rtol=1e-3, atol=1e-4)
        sides = [
            Side("full forward", partial(_acted, partial(recomputed, memory, x, chosen)), reference=True),
            Side("key-value cache", partial(_acted, partial(cached, memory, x))),
        ]
        yield compare(f"attention: trials of {context} steps, {shape[0]} at once", sides, rounds, device)


def grid(sizes: Sizes, rounds: int, device: torch.device) -> Iterator[Row]:
    """Grid navigation with random actions, and with a policy in the loop that remembers whole trials."""
    distribution = metarl.make("grid-navigation")
    alone = partial(stepping, distribution, sizes, device, sizes.grid_envs, sizes.grid_steps)
    sides = [Side("random actions", alone, reference=True)]
    for memory in ("gru", "transformer"):
        options = RL2Options(memory=memory, episodic_retrieval=memory == "transformer")
        agent = RL2(distribution, options, device=device)
        sides.append(Side(f"policy in the loop: {memory}", partial(acting, agent, sizes)))
    yield compare(f"grid navigation: {sizes.grid_envs} environments", sides, rounds, device)


@final
class PlainGrid(gymnasium.Env[Any, Any]):
    """Grid navigation as one would write it for gymnasium: integers and no tensors."""

    observation_space = spaces.Discrete(25)
    action_space = spaces.Discrete(5)

    def __init__(self, goal: tuple[int, int] = (4, 2)) -> None:
        self._goal = goal
        self._x = self._y = self._elapsed = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self._x = self._y = self._elapsed = 0
        return 0, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        if action == 1:
            self._y = min(self._y + 1, 4)
        elif action == 2:
            self._x = min(self._x + 1, 4)
        elif action == 3:
            self._y = max(self._y - 1, 0)
        elif action == 4:
            self._x = max(self._x - 1, 0)
        self._elapsed += 1
        reward = 1.0 if (self._x, self._y) == self._goal else -0.1
        return 5 * self._x + self._y, reward, False, self._elapsed >= 15, {}


def check_plain_grid(steps: int = 200) -> None:
    """AssertionError unless the plain grid does what the native one does."""
    distribution = metarl.make("grid-navigation")
    native, plain = distribution.env(distribution.tasks(goal=[[4, 2]])), PlainGrid()
    rng = np.random.default_rng(0)
    done = True
    for _ in range(steps):
        if done:
            assert native.reset()[0] == plain.reset()[0]
        action = rng.integers(5)
        (cell, reward, *ends, _), (other_cell, other_reward, *other_ends, _) = native.step(action), plain.step(action)
        assert (cell, ends) == (other_cell, other_ends)
        assert abs(float(reward) - other_reward) < 1e-6
        done = any(ends)


def _singles(distribution: TaskDistribution, sizes: Sizes) -> Work:
    """Single environments of the family, each in a task of its own."""
    tasks = distribution.sample(sizes.single_envs, seeding.generator(0, "tasks"))
    return _synchronous([partial(distribution.env, tasks[i]) for i in range(sizes.single_envs)], sizes)


def _plain(sizes: Sizes) -> Work:
    return _synchronous([PlainGrid] * sizes.single_envs, sizes)


def _synchronous(make: Sequence[Callable[[], "gymnasium.Env[Any, Any]"]], sizes: Sizes) -> Work:
    env = SyncVectorEnv(make, autoreset_mode=AutoresetMode.SAME_STEP)
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(DIFFERENT_ACTIONS)]

    def work() -> int:
        for step in range(sizes.env_steps):
            env.step(actions[step % DIFFERENT_ACTIONS])
        return sizes.env_steps * env.num_envs

    return work


def stepping(
    distribution: TaskDistribution,
    sizes: Sizes,
    device: torch.device,
    num_envs: int | None = None,
    num_steps: int | None = None,
) -> Work:
    env = distribution.vector_env(num_envs or sizes.native_envs, device)
    env.set_tasks(distribution.sample(env.num_envs, seeding.generator(0, "tasks", device=device)))
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [torch.as_tensor(env.action_space.sample(), device=device) for _ in range(DIFFERENT_ACTIONS)]
    steps = num_steps or sizes.env_steps

    def work() -> int:
        for step in range(steps):
            env.step(actions[step % DIFFERENT_ACTIONS])
        return steps * env.num_envs

    return work


def acting(agent: RL2, sizes: Sizes) -> Work:
    env = agent.distribution.vector_env(sizes.grid_envs, agent.device)
    env.set_tasks(agent.distribution.sample(env.num_envs, seeding.generator(0, "tasks", device=agent.device)))
    policy = agent.policy(env.num_envs, deterministic=False)

    def work() -> int:
        trajectories = collect(policy, env, agent.trial_steps, seed=0)
        return trajectories.num_trials * trajectories.num_steps

    return work


def _acted(remember: Callable[[], list[Tensor]]) -> Work:
    return lambda: sum(len(y) for y in remember())


def cached(memory: TransformerMemory, x: Tensor) -> list[Tensor]:
    """Outputs `[B, D]` of every step of the trials `x` [B, T, D]."""
    state, outputs = memory.initial_state(len(x)), []
    for step in range(x.shape[1]):
        y, state = memory.step(x[:, step], state)
        outputs.append(y)
    return outputs


def recomputed(memory: TransformerMemory, x: Tensor, steps: list[int]) -> list[Tensor]:
    """The same outputs at `steps` only, each from everything up to that step."""
    return [memory(x[:, : step + 1])[0][:, -1] for step in steps]
