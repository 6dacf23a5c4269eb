"""Vector environments that others wrote, in each of gymnasium's conventions, against one environment after another."""

import functools
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from torch import Tensor

import metarl
from metarl import seeding
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.engines.vector_tasks import VectorTasks
from metarl.tasks.distribution import TaskDistribution
from metarl.testing import check_distribution

MODES = list(AutoresetMode)


class Climb(gymnasium.Env[Any, Any]):
    """x goes up by the action and a task's slope; above 3 the episode ends, with success where it took 3 steps."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    slope = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps, self.x = 0, np.zeros(1)
        return self.x.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.x = self.x + action + self.slope
        return self.x.copy(), float(self.x[0]), bool(self.x[0] > 3), False, {"success": self.steps == 3}


def make(num_envs: int, mode: AutoresetMode, kind: Any = SyncVectorEnv) -> Any:
    return kind([Climb] * num_envs, autoreset_mode=mode)


def set_slopes(envs: Any, tasks: dict[str, np.ndarray]) -> None:
    envs.set_attr("slope", tasks["slope"].tolist())


def climbs(mode: AutoresetMode, kind: Any = SyncVectorEnv) -> VectorTasks:
    build = functools.partial(make, mode=mode, kind=kind)
    return VectorTasks(
        "climb-v1", build, {"slope": (0.5, 1.5)}, set_slopes, ood={"slope": (1.5, 2)}, max_episode_steps=6
    )


ONE_BY_ONE = metarl.from_gym(
    Climb, {"slope": (0.5, 1.5)}, ood={"slope": (1.5, 2)}, max_episode_steps=6, name="climb-v1"
)


def record(family: TaskDistribution) -> list[Tensor]:
    """Everything that 20 steps of three environments show, with a hard reset of two of them in between."""
    env = family.vector_env(3)
    env.set_tasks(family.tasks(slope=[0.5, 1.0, 1.5]))
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    seen = [env.reset(seed=0)[0]]
    for step in range(20):
        if step == 11:
            env.set_tasks(family.tasks(slope=[1.2, 0.6, 0.7]), torch.tensor([True, False, True]))
            seen.append(env.reset(options={"reset_mask": torch.tensor([True, False, True])})[0])
        *parts, info = env.step(torch.full((3, 1), 0.1 * (step % 3) - 0.2))
        seen += [*parts, *(info[name] for name in ("final_obs", "_final_obs", "success", "_success"))]
    env.close()
    return seen


@pytest.mark.parametrize("mode", MODES)
def test_every_convention_gives_the_transitions_of_single_environments(mode: AutoresetMode) -> None:
    ours, expected = record(climbs(mode)), record(ONE_BY_ONE)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(ours, expected, strict=True))
    terminated, truncated = (torch.stack(expected[first::8][:10]) for first in (3, 4))
    assert terminated.any()
    assert truncated.any()


@pytest.mark.parametrize("mode", MODES)
def test_every_convention_keeps_the_contract(mode: AutoresetMode) -> None:
    check_distribution(climbs(mode))


def test_worker_processes_of_gymnasium_do_too() -> None:
    family = climbs(AutoresetMode.NEXT_STEP, AsyncVectorEnv)
    assert all(torch.equal(a, b) for a, b in zip(record(family), record(ONE_BY_ONE), strict=True))


def pendulums(num_envs: int) -> Any:
    return gymnasium.make_vec("Pendulum-v1", num_envs=num_envs, vectorization_mode="sync")


def test_what_make_vec_makes_is_a_family_for_agents() -> None:
    def set_gravity(envs: Any, tasks: dict[str, np.ndarray]) -> None:
        envs.set_attr("g", tasks["g"].tolist())

    family = VectorTasks("pendulum-g-v1", pendulums, {"g": (5, 15)}, set_gravity, num_episodes=1)
    assert family.horizon == 200
    assert family.observation_space.dtype == np.float32
    agent = RL2(family, RL2Options(memory="gru", width=16, batch_steps=400, num_minibatches=2), device="cpu").learn(400)
    assert np.isfinite(metarl.evaluate(agent.policy(2), family, num_tasks=2).returns).all()


class Own(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """A simulator of one's own, with a flaw to choose."""

    def __init__(self, num_envs: int, flaw: str = "") -> None:
        self.num_envs, self.flaw = num_envs, flaw
        mode = AutoresetMode.DISABLED if flaw == "mask" else AutoresetMode.SAME_STEP
        self.metadata = {} if flaw == "mode" else {"autoreset_mode": mode}
        self.single_observation_space = spaces.Discrete(9, start=1)
        self.single_action_space = spaces.Discrete(2, start=3)
        self.observation_space = spaces.MultiDiscrete([9] * num_envs, start=[1] * num_envs)
        self.action_space = spaces.MultiDiscrete([2] * num_envs, start=[3] * num_envs)
        self.x: np.ndarray = np.ones(num_envs, np.int64)
        self.worth: np.ndarray = np.ones(num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        masked = self.flaw not in ("mask", "all or none")
        mask = (options or {}).get("reset_mask", True) if masked else np.ones(self.num_envs, bool)
        self.x = np.where(mask, 1, self.x)
        return self.x, {}

    def step(self, actions: Any) -> Any:
        assert self.action_space.contains(actions)
        self.x += actions - 2
        done, last = self.x > 6, self.x.copy()
        self.x[done] = 1
        infos = {} if self.flaw == "final" else {"final_obs": last}
        reward = last * self.worth * (np.inf if self.flaw == "infinite" else 1)
        return self.x, reward, done, np.zeros(self.num_envs, bool), infos


def own(flaw: str = "", steps: int | None = 20) -> VectorTasks:
    def set_worth(envs: Own, tasks: dict[str, np.ndarray]) -> None:
        envs.worth = tasks["worth"]

    apply: Callable[..., None] = set_worth
    return VectorTasks("own-v1", functools.partial(Own, flaw=flaw), {"worth": (0.5, 1)}, apply, max_episode_steps=steps)


def test_a_simulator_of_ones_own_counts_as_it_likes_and_may_reuse_its_buffer() -> None:
    family = own()
    assert family.observation_space == spaces.Discrete(9)
    assert family.action_space == spaces.Discrete(2)
    check_distribution(family)
    env = family.vector_env(2)
    env.set_tasks(family.tasks(worth=[1.0, 0.5]))
    assert env.reset(seed=0)[0].tolist() == [0, 0]
    observation, reward, *_ = env.step(torch.tensor([0, 1]))
    assert observation.tolist() == [1, 2]
    assert reward.tolist() == [2, 1.5]


def test_a_simulator_that_resets_all_or_none_trains_and_is_evaluated() -> None:
    family, masked = own("all or none"), own()
    one, other = (
        RL2(each, RL2Options(memory="gru", width=8, batch_steps=60, num_minibatches=1), device="cpu").learn(120)
        for each in (family, masked)
    )
    assert all(torch.equal(a, b) for a, b in zip(one.state().values(), other.state().values(), strict=True))
    first, second = (metarl.evaluate(one.policy(3), each, num_tasks=6).returns for each in (family, masked))
    np.testing.assert_array_equal(first, second)


def test_where_only_some_would_have_to_be_reset_it_says_what_does_work() -> None:
    family = own("all or none")
    env = family.vector_env(3)
    env.set_tasks(family.sample(3, seeding.generator(0)))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"own-v1 resets all of its environments or none, and 1 of 3 are to be reset"):
        env.reset(options={"reset_mask": torch.tensor([True, False, False])})
    short = own("all or none", steps=2).vector_env(3)
    short.set_tasks(family.sample(3, seeding.generator(0)))
    short.reset(seed=0)
    short.step(torch.zeros(3, dtype=torch.int64))
    assert short.step(torch.zeros(3, dtype=torch.int64))[3].all()  # all at once


@pytest.mark.parametrize(
    ("flaw", "steps", "message"),
    [
        ("mode", 20, r'own-v1: .*must say metadata\["autoreset_mode"\], one of AutoresetMode.NEXT_STEP'),
        ("mask", 20, "own-v1: .*this one reset the others, too"),
        ("", None, "own-v1: the environments have no time limit: give max_episode_steps="),
    ],
)
def test_what_cannot_be_a_family_is_refused_at_once(flaw: str, steps: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        own(flaw, steps)


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ("final", "an episode ended in SAME_STEP mode, without final_obs"),
        ("infinite", r"environment 0 of own-v1 gave reward inf at step 1 .* in the task {'worth': \[0.5\]}"),
    ],
)
def test_what_goes_wrong_later_is_named(flaw: str, message: str) -> None:
    env = own(flaw).vector_env(2)
    env.set_tasks(env.distribution.tasks(worth=[0.5, 1]))
    env.reset(seed=0)

    def play() -> None:
        for _ in range(4):
            env.step(torch.ones(2, dtype=torch.int64))

    with pytest.raises(ValueError, match=message):
        play()
    with pytest.raises(ValueError, match="draws no pictures"):
        own().env(render_mode="rgb_array")
