"""Meta-World's benchmarks, against the package itself."""

import pickle
from typing import Any

import numpy as np
import pytest

import metarl
from metarl.agents.classical.uniform import RandomPolicy
from metarl.engines.gym_tasks import GymTasks
from metarl.envs import meta_world
from metarl.evaluation.evaluator import evaluate
from metarl.seeding import generator
from metarl.testing import check_distribution

metaworld = pytest.importorskip("metaworld")
ACTIONS = np.random.default_rng(0).uniform(-1.5, 1.5, (40, 4)).astype(np.float32)  # some beyond the bounds


def family(name: str = "ml1", **options: Any) -> GymTasks:
    made = metarl.make(f"meta-world-{name}", **options)
    assert isinstance(made, GymTasks)
    return made


def rollout(env: Any, actions: np.ndarray, **reset: Any) -> list[tuple[Any, float, float]]:
    """Observation, reward and distance of the object from its goal after each action."""
    seen = [(env.reset(**reset)[0].astype(np.float32), 0.0, 0.0)]
    for action in actions:
        observation, reward, _, _, info = env.step(action)
        seen.append((observation.astype(np.float32), float(reward), float(info["obj_to_target"])))
    return seen


def same(one: list[tuple[Any, float, float]], other: list[tuple[Any, float, float]]) -> bool:
    return all(np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(one, other, strict=True))


def layouts(ml1: GymTasks, split: str) -> set[tuple[float, ...]]:
    drawn = ml1.split(split).sample(50, generator(0))["layout"]
    return {tuple(row) for row in drawn.tolist()}


@pytest.mark.parametrize("environment", ["reach-v3", "push-v3", "drawer-close-v3"])
def test_a_task_is_the_packages_own(environment: str) -> None:
    """Observations and rewards are those of the package in the same layout, in every episode of a trial."""
    ml1 = family(environment=environment)
    tasks = ml1.split("test").sample(1, generator(3))
    env, plain = ml1.env(tasks), metaworld.ALL_V3_ENVIRONMENTS[environment]()
    layout = tasks["layout"][0].double().numpy()
    theirs = [pickle.loads(task.data) for task in metaworld.ML1(environment, seed=0).test_tasks]
    task = next(task for task in theirs if np.allclose(layout, np.pad(task["rand_vec"], (0, 6))[:6], atol=1e-6))
    task["rand_vec"] = layout[: len(task["rand_vec"])]  # rounded: contacts make much of the last digit
    plain.set_task(metaworld.Task(environment, pickle.dumps(task)))
    expected = rollout(plain, ACTIONS.clip(-1, 1))
    assert same(rollout(env, ACTIONS), expected)
    assert same(rollout(env, ACTIONS), expected)


@pytest.mark.parametrize("environment", ["reach-v3", "push-v3"])
def test_the_goal_is_hidden(environment: str) -> None:
    """Two tasks that differ in the goal alone look the same, but the goal is elsewhere."""
    ml1 = family(environment=environment)
    one, other = (ml1.sample(2, generator(1))["layout"][i].numpy() for i in range(2))
    moved = np.concatenate([one[:3], other[3:]])
    env = ml1.env()
    near, far = (
        rollout(env, ACTIONS, options={"task": {"environment": 0, "layout": layout}}) for layout in (one, moved)
    )
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(near, far, strict=True))
    assert all((observation[36:] == 0).all() for observation, _, _ in near)
    assert all(a[2] != b[2] for a, b in zip(near[1:], far[1:], strict=True))


def test_train_and_test_layouts_of_ml1_are_apart_whatever_the_seeds() -> None:
    splits = [(seed, split) for seed in (0, 1, 2) for split in ("train", "test")]
    drawn = [layouts(family(environment="drawer-close-v3", seed=seed), split) for seed, split in splits]
    assert [len(rows) for rows in drawn] == [50] * 6  # a sample of 50 is all of them
    assert len(set().union(*drawn)) == 300


def test_ml10_and_ml45_test_in_other_environments() -> None:
    for name, sizes in (("ml10", (10, 5)), ("ml45", (45, 5))):
        benchmark = family(name).make
        assert isinstance(benchmark, meta_world.Benchmark)
        theirs = getattr(metaworld.env_dict, f"{name.upper()}_V3")
        assert benchmark.environments == (*theirs["train"], *theirs["test"])
        assert len(set(benchmark.environments)) == sum(sizes)


def test_draws_meet_every_environment_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = {split: np.random.default_rng(0).uniform(-1, 1, (50, 6)) for split in ("train", "test")}
    monkeypatch.setattr(meta_world, "_layouts", lambda environment, seed: fake)
    train, test = (family("ml10").split(split).sample(40, generator(0))["environment"] for split in ("train", "test"))
    assert train.bincount().tolist() == [4] * 10
    assert test.bincount().tolist() == [0] * 10 + [8] * 5
    assert family("ml10").sample(3, generator(0))["environment"].unique().numel() == 3


def test_one_environment_changes_into_another() -> None:
    ml10 = family("ml10")
    env: Any = ml10.env()
    drawer = ml10.make.environments.index("drawer-close-v3")  # type: ignore[union-attr]
    layout = family(environment="drawer-close-v3").sample(1, generator(0))["layout"][0].numpy()
    first = rollout(env, ACTIONS[:3], options={"task": {"environment": drawer, "layout": layout}})
    alone = family(environment="drawer-close-v3").env()
    again = rollout(alone, ACTIONS[:3], options={"task": {"environment": 0, "layout": layout}})
    assert same(first, again)


@pytest.mark.filterwarnings("ignore:Constant")  # of the expert, about its own actions
def test_the_packages_expert_succeeds_and_the_episode_ends_at_its_horizon() -> None:
    policies = pytest.importorskip("metaworld.policies")
    ml1 = family()
    tasks = ml1.split("test").sample(1, generator(0))
    env, expert = ml1.env(tasks), policies.SawyerReachV3Policy()
    goal = tasks["layout"][0, 3:].numpy()
    observation, _ = env.reset(seed=0)
    ends, solved = [], []
    for _ in range(ml1.horizon):
        action = expert.get_action(np.concatenate([observation[:36], goal]).astype(np.float64))
        observation, _, terminated, truncated, info = env.step(action)
        ends.append(terminated or truncated)
        solved.append(info["success"])
    assert ml1.horizon == 500
    assert ends.index(True) == 499
    assert any(solved)


def test_success_after_adaptation_is_reported_by_environment() -> None:
    ml1 = family(episodes=2, environment="drawer-close-v3")
    result = evaluate(RandomPolicy(ml1, 2), ml1.split("test"), num_tasks=2)
    assert result.success is not None
    assert result.success.shape == (2, 2)
    result.success[:] = [[False, True], [False, False]]
    assert meta_world.success_rates(result, ml1, adaptation_episodes=1) == {"drawer-close-v3": 0.5}
    with pytest.raises(ValueError, match="none of the 2 episodes comes after 10"):
        meta_world.success_rates(result, ml1)
    with pytest.raises(ValueError, match="meta-world-ml1-reach-v3 is no such family"):
        meta_world.success_rates(result, family())


def test_what_is_impossible_is_refused() -> None:
    with pytest.raises(ValueError, match="no environment 'reach-v2'; it has assembly-v3, "):
        family(environment="reach-v2")
    ml1 = family(environment="push-v3")
    same = [0.0, 0.6, 0.02] * 2  # the object lies on its goal: the package would look for another layout for ever
    with pytest.raises(ValueError, match="refuses the layout"):
        ml1.env(ml1.tasks(environment=[0], layout=[same])).reset()


def test_the_family_keeps_the_contract() -> None:
    slow = ["the first observation does not leak the task"]  # two sets of 32 robots; they show where the object starts
    check_distribution(family(environment="drawer-close-v3"), skip=slow)
