"""Any gymnasium environment as a task distribution, with and without worker processes."""

import dataclasses
import functools
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from torch import Tensor

import metarl
from metarl.agents.classical.uniform import RandomPolicy
from metarl.contracts.clauses import ContractError
from metarl.engines.gym_tasks import GymTasks
from metarl.engines.workers import FAREWELL_S, Worker
from metarl.evaluation.results import Evaluation, describe_trials
from metarl.foreign import ForeignError
from metarl.priors import Integers, LogUniform
from metarl.seeding import generator
from metarl.testing import check_distribution


def set_physics(env: Any, task: dict[str, Any]) -> None:
    env.unwrapped.m, env.unwrapped.l = task["mass"], task["length"]


PENDULUM = GymTasks(
    "pendulum-physics-v1",
    make="Pendulum-v1",
    parameters={"mass": (0.5, 1.5), "length": (0.5, 1.5)},
    ood={"mass": (1.5, 3.0)},
    apply=set_physics,
)


@pytest.fixture
def drift(user_project: Path) -> GymTasks:
    family = metarl.make("drift_family:drift")
    assert isinstance(family, GymTasks)
    return family


@pytest.fixture
def fragile(user_project: Path) -> GymTasks:
    family = metarl.make("drift_family:fragile")
    assert isinstance(family, GymTasks)
    return family


def test_a_family_from_another_folder_keeps_the_contract(drift: GymTasks, device: str) -> None:
    check_distribution(drift, device=device)


def test_a_registered_environment_with_an_apply_function_keeps_the_contract() -> None:
    check_distribution(PENDULUM)


def test_the_task_arrives_by_the_options_of_reset(drift: GymTasks, device: str) -> None:
    env = drift.vector_env(3, device)
    env.set_tasks(drift.tasks(drift=[-0.5, 0.0, 1.5]))
    first, _ = env.reset(seed=0)
    following, reward, terminated, truncated, info = env.step(torch.full((3, 1), 5.0, device=device))  # clipped to 1
    expected = first[:, 0] + 1 + torch.tensor([-0.5, 0.0, 1.5], device=device)
    torch.testing.assert_close(following[:, 0], expected)
    torch.testing.assert_close(reward, -expected.abs())
    assert not (terminated | truncated).any()
    assert info["success"].tolist() == (expected.abs() < 0.5).tolist()


def test_the_task_arrives_by_apply() -> None:
    env = PENDULUM.env(PENDULUM.tasks(mass=[0.7], length=[1.2]))
    env.reset(seed=0)
    assert vars(env.unwrapped)["m"] == pytest.approx(0.7)
    assert vars(env.unwrapped)["l"] == pytest.approx(1.2)


def test_an_end_restarts_the_same_task_in_the_same_step(drift: GymTasks) -> None:
    env = drift.vector_env(2)
    env.set_tasks(drift.tasks(drift=[2.0, 0.0]))
    env.reset(seed=0)
    for step in range(1, 7):
        observation, _, terminated, truncated, info = env.step(torch.zeros(2, 1))
        assert terminated.tolist() == [step % 2 == 0, False]  # 2 + 2 > 3
        assert truncated.tolist() == [False, step == 6]
        assert info["_final_obs"].tolist() == [step % 2 == 0, step == 6]
        assert info["final_obs"][0].item() == pytest.approx(2 if step % 2 else 4, abs=0.1)
        assert observation[0].item() == pytest.approx(2 if step % 2 else 0, abs=0.1)


def test_draws_stay_in_the_ranges_of_their_split(drift: GymTasks) -> None:
    train, ood = (drift.split(name).sample(1000, generator(0))["drift"] for name in ("train", "ood"))
    assert -1 <= train.min() < -0.95
    assert 0.95 < train.max() <= 1
    assert 1 <= ood.min() < 1.05
    assert 1.95 < ood.max() <= 2
    narrow = drift.where(drift=(0.2, 0.3)).sample(100, generator(0))["drift"]
    assert narrow.min() >= 0.2 - 1e-6
    assert narrow.max() <= 0.3 + 1e-6


def test_integer_parameters_include_both_ends(fragile: GymTasks) -> None:
    accident = fragile.sample(500, generator(0))["accident"]
    assert accident.dtype == torch.int64
    assert accident.bincount().tolist() == pytest.approx([500 / 6] * 6, abs=35)


def test_an_own_draw_replaces_the_uniform_prior(drift: GymTasks) -> None:
    def draw(split: str, count: int, rng: np.random.Generator) -> dict[str, Any]:
        return {"drift": rng.choice([-1.0, 1.0], count) * (0.5 if split == "test" else 1.0)}

    family = dataclasses.replace(drift, draw=draw)
    assert set(family.sample(50, generator(0))["drift"].tolist()) == {-1.0, 1.0}
    assert set(family.split("test").sample(50, generator(0))["drift"].tolist()) == {-0.5, 0.5}
    with pytest.raises(ValueError, match="its own `draw`"):
        family.where(drift=(0, 1))


def test_without_ood_ranges_there_is_no_such_split(fragile: GymTasks) -> None:
    assert fragile.splits == ("train", "test")
    with pytest.raises(ValueError, match="has the splits train, test; got 'ood'"):
        fragile.split("ood")


@pytest.mark.parametrize(("steps", "horizon"), [(None, 200), (50, 50), (300, 300)])
def test_the_horizon_is_the_time_limit_unless_given(steps: int | None, horizon: int) -> None:
    env = dataclasses.replace(PENDULUM, max_episode_steps=steps).env()
    env.reset(seed=0)
    length = next(t for t in range(1, 400) if env.step(np.zeros(1))[3])
    assert length == horizon == dataclasses.replace(PENDULUM, max_episode_steps=steps).horizon


def test_the_time_limit_of_a_wrapper_is_the_horizon() -> None:
    assert metarl.from_gym(lambda: TimeLimit(Corridor(3), 7), {"length": Integers(2, 5)}).horizon == 7


class Spoken(gymnasium.Env[Any, Any]):
    """Says what it has to say in words."""

    observation_space = spaces.Text(3)
    action_space = spaces.Discrete(2)


class Speechless(gymnasium.Env[Any, Any]):
    """Has nothing to say."""

    observation_space = spaces.Box(-1, 1, (0,))
    action_space = spaces.Discrete(2)


BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"parameters": {"mass": (0, np.inf)}}, "'mass' needs finite bounds"),
    ({"parameters": {"mass": (2, 1)}}, "'mass' needs finite bounds, low <= high"),
    ({"parameters": {}, "ood": None}, "lack a range"),
    ({"ood": {"weight": (0, 1)}}, r"parameters \['length', 'mass'\] lack \['weight'\]"),
    ({"make": lambda: Spoken()}, "observation space must be Box, Discrete or MultiDiscrete, or Dict"),
    ({"make": "Pendulm-v1"}, "pendulum-physics-v1: the environment cannot be made: NameNotFound.*Did you mean: `Pend"),
    ({"make": lambda: dict[str, Any]()["key"]}, "the environment cannot be made: KeyError: 'key'"),
    ({"make": lambda: Corridor(3)}, "no time limit: give max_episode_steps="),
    ({"make": lambda: Speechless()}, "observation space has no numbers in it"),
    ({"num_episodes": 0}, "num_episodes >= 1"),
    ({"max_episode_steps": 0}, "max_episode_steps >= 1"),
    ({"workers": -1}, "workers must be at least 0, got -1"),
    ({"timeout": 0}, "timeout must be positive, or None, got 0"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_impossible_families_are_refused_at_once(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PENDULUM, **change)


@pytest.mark.parametrize(
    ("accident", "message"),
    [
        (1, r"reward nan at step 3 of the episode, in the task \{'drift': 0.5, 'accident': 1\}"),
        (2, r"observation \[nan\] at step 3"),
        (3, "KeyError: 'lost the drift'"),
    ],
)
def test_an_accident_names_the_environment(fragile: GymTasks, accident: int, message: str) -> None:
    family = dataclasses.replace(fragile, workers=0)
    env = family.vector_env(3)
    env.set_tasks(family.tasks(drift=[0.5] * 3, accident=[0, 0, accident]))
    env.reset(seed=0)
    env.step(torch.zeros(3, 1))
    env.step(torch.zeros(3, 1))
    with pytest.raises((ValueError, RuntimeError), match=f"environment 2 of fragile-v1.*{message}") as caught:
        env.step(torch.zeros(3, 1))
    assert caught.type is (ForeignError if accident == 3 else ValueError)
    with pytest.raises(RuntimeError, match="closed"):
        env.step(torch.zeros(3, 1))


def rollout(family: GymTasks, steps: int) -> list[Tensor]:
    before = family.vector_env(5)
    processes = set(multiprocessing.active_children())
    env = before.resized(3)
    try:
        assert set(multiprocessing.active_children()) == processes  # kept, as many as there are
        env.set_tasks(family.tasks(drift=[-0.8, 0.1, 0.9], accident=[0, 0, 0]))
        seen = [env.reset(seed=7)[0]]
        for _ in range(steps):
            observation, reward, terminated, truncated, info = env.step(torch.full((3, 1), -0.1))
            seen += [observation, reward, terminated, truncated, info["final_obs"], info["success"]]
        env.set_tasks(family.tasks(drift=[0.0] * 3, accident=[0, 0, 4]))
        seen.append(env.reset(options={"reset_mask": torch.tensor([False, True, True])})[0])
        if family.workers:
            env.step(torch.zeros(3, 1))
            env.step(torch.zeros(3, 1))
            message = r"environments 2 to 2 of fragile-v1 died in 'step' with exit code 7; .* 2: {.*'accident': 4}"
            with pytest.raises(RuntimeError, match=message):
                env.step(torch.zeros(3, 1))
    finally:
        env.close()
    return seen


def test_workers_change_nothing_and_their_death_is_an_error(fragile: GymTasks) -> None:
    alone, shared = rollout(dataclasses.replace(fragile, workers=0), 15), rollout(fragile, 15)
    assert len(alone) == len(shared)
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))
    assert len(set(alone[0].flatten().tolist())) == 3  # slots are seeded apart


def test_a_worker_that_hangs_is_named_with_its_tasks_and_ended(fragile: GymTasks) -> None:
    family = dataclasses.replace(fragile, timeout=1.5)
    env = family.vector_env(4)
    env.set_tasks(family.tasks(drift=[0.0, 0.0, 0.25, -0.25], accident=[0, 0, 0, 5]))
    env.reset(seed=0)
    env.step(torch.zeros(4, 1))
    env.step(torch.zeros(4, 1))
    processes, began = multiprocessing.active_children(), time.monotonic()
    message = (
        r"environments 2 to 3 of fragile-v1 gave no answer to 'step' in 1.5 seconds, .*"
        r"2: {'drift': 0.25, 'accident': 0}, 3: {'drift': -0.25, 'accident': 5}"
    )
    with pytest.raises(RuntimeError, match=message):
        env.step(torch.zeros(4, 1))
    env.close()
    assert time.monotonic() - began < 10
    assert not any(process.is_alive() for process in processes)


def test_nothing_hangs_at_close(fragile: GymTasks) -> None:
    """Workers in the middle of an endless call are ended side by side."""
    env = dataclasses.replace(fragile, workers=3, timeout=None).vector_env(3)
    env.set_tasks(fragile.tasks(drift=[0.0] * 3, accident=[5] * 3))
    env.reset(seed=0)
    env.step(torch.zeros(3, 1))
    env.step(torch.zeros(3, 1))
    for batch in env._batches:
        batch.send("step", np.zeros((1, 1), np.float32))
    began = time.monotonic()
    env.close()
    assert time.monotonic() - began < 2 * FAREWELL_S


def test_a_worker_reports_what_went_wrong() -> None:
    cases: list[tuple[Callable[[], Any], str, str]] = [
        (functools.partial(int, "x"), "", "invalid literal for int"),
        (functools.partial(list, [1]), "remove", r"ValueError: list.remove\(x\): x not in list"),
    ]
    workers = [Worker(build, f"worker {i}") for i, (build, _, _) in enumerate(cases)]
    for worker, (_, method, message) in zip(workers, cases, strict=True):
        if method:
            worker.receive()
            worker.send(method, 2)
        with pytest.raises(ValueError, match=rf"(?s){message}.*in {worker.label}"):
            worker.receive()
        worker.close()


def test_from_gym_names_the_family_after_what_varies() -> None:
    family = metarl.from_gym("CartPole-v1", parameters={"masspole": (0.05, 0.5), "length": LogUniform(0.25, 1.5)})
    assert family.name == "cartpole-masspole-length-v1"
    assert (
        metarl.from_gym(Corridor, {"length": Integers(2, 5)}, apply="kwargs", max_episode_steps=9).name
        == "corridor-length-v1"
    )
    assert metarl.from_gym("CartPole-v1", {"length": (1, 2)}, name="poles-v3").name == "poles-v3"


class Corridor(gymnasium.Env[Any, Any]):
    """Takes its length in the constructor only; `seen` widens the observation space."""

    action_space = spaces.Discrete(2)

    def __init__(self, length: int, seen: int = 0, render_mode: str | None = None) -> None:
        assert isinstance(length, int)
        self.length, self.closed = length, False
        self.observation_space = spaces.Discrete(10 + seen)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.x = 0
        return self.x, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert not self.closed
        self.x = max(0, self.x + 2 * int(action) - 1)
        return min(self.x, 9), float(self.x == self.length), self.x == self.length, False, {}

    def close(self) -> None:
        self.closed = True


def test_a_task_may_be_the_arguments_of_the_constructor() -> None:
    family = metarl.from_gym(
        Corridor,
        {"length": Integers(2, 5)},
        test={"length": (6, 7)},
        ood={"length": (6, 8)},
        apply="kwargs",
        max_episode_steps=9,
    )
    check_distribution(family)
    assert set(family.split("test").sample(50, generator(0))["length"].tolist()) == {6, 7}
    assert set(family.split("ood").sample(50, generator(0))["length"].tolist()) == {6, 7, 8}
    env = family.env()
    first, ends = [], []
    for length in (2, 2, 5):
        env.reset(seed=0, options={"task": {"length": length}})
        first.append(env.unwrapped)
        ends.append(next(step for step in range(1, 10) if env.step(1)[2]))
    assert ends == [2, 2, 5]
    assert first[0] is first[1]  # the same task needs no new environment
    assert first[1] is not first[2]
    assert vars(first[1])["closed"]


def test_a_function_may_put_another_environment_in_place() -> None:
    def build(env: Any, task: dict[str, Any]) -> Any:
        return Corridor(task["length"])

    family = metarl.from_gym(
        functools.partial(Corridor, 3), {"length": Integers(2, 5)}, apply=build, max_episode_steps=9
    )
    env = family.env(family.tasks(length=[4]))
    env.reset(seed=0)
    assert [env.step(1)[2] for _ in range(4)] == [False, False, False, True]


def test_tasks_whose_spaces_differ_are_refused() -> None:
    family = metarl.from_gym(
        functools.partial(Corridor, 3), {"seen": Integers(0, 2)}, apply="kwargs", max_episode_steps=9, name="seen-v1"
    )
    env = family.env()
    env.reset(options={"task": {"seen": 0}})
    with pytest.raises(
        ValueError, match=r"observation space is Discrete\(12\) in the task \{'seen': 2\}, and Discrete\(10\)"
    ):
        env.reset(options={"task": {"seen": 2}})


def test_a_parameter_that_is_no_attribute_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"CartPoleEnv has no attribute mass; its numbers: .*gravity.*length"):
        metarl.from_gym("CartPole-v1", parameters={"mass": (0.1, 1.0)})
    wrong: Any = "options"
    with pytest.raises(ValueError, match="apply must be a function or one of reset_options, attributes, kwargs"):
        metarl.from_gym("CartPole-v1", parameters={"length": (0.1, 1.0)}, apply=wrong)


def test_the_name_is_a_field_like_any_other() -> None:
    other = dataclasses.replace(PENDULUM, name="pendulum-physics-v2")
    assert (PENDULUM.name, other.name) == ("pendulum-physics-v1", "pendulum-physics-v2")
    assert other.options["name"] == "pendulum-physics-v2"
    assert hash(other) != hash(PENDULUM)
    with pytest.raises(dataclasses.FrozenInstanceError):
        other.name = "pendulum-physics-v3"  # type: ignore[misc]


def test_few_tasks_must_be_kept_apart_or_declared_as_shared() -> None:
    family = metarl.from_gym(Corridor, {"length": Integers(2, 5)}, apply="kwargs", max_episode_steps=9)
    with pytest.raises(ContractError, match=r"4 of 4 test tasks are training tasks: keep values for the test split"):
        check_distribution(family)
    check_distribution(dataclasses.replace(family, share_tasks=True))


def test_a_result_names_the_priors() -> None:
    family = metarl.from_gym(
        "CartPole-v1", parameters={"length": LogUniform(0.25, 1.5), "gravity": (5, 15)}, max_episode_steps=5
    )
    result = metarl.evaluate(RandomPolicy(family, 2), family, num_tasks=2, num_episodes=1)
    options = Evaluation.from_json(result.to_json()).options
    assert options["parameters"] == {"length": "LogUniform(low=0.25, high=1.5)", "gravity": [5, 15]}
    assert options["make"] == "CartPole-v1"


def test_a_tables_title_says_what_the_tasks_are_and_not_how_they_are_made() -> None:
    title = describe_trials(metarl.evaluate(RandomPolicy(PENDULUM, 2), PENDULUM.split("ood"), 2, 1))
    assert title == (
        "pendulum-physics-v1 (parameters={'mass': [0.5, 1.5], 'length': [0.5, 1.5]}, ood={'mass': [1.5, 3.0]}, "
        "num_episodes=3) · ood split · 1 episode"
    )
