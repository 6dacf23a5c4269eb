"""Single environments of every engine choose their tasks in the same way."""

from typing import Any

import gymnasium
import pytest

import metarl
from metarl.engines.changing_tasks import ChangingTasks
from metarl.engines.vector_tasks import VectorTasks
from metarl.seeding import generator
from metarl.tasks.batch import Tasks


def pendulums(num_envs: int) -> Any:
    return gymnasium.make_vec("Pendulum-v1", num_envs=num_envs, vectorization_mode="sync")


def set_gravity(envs: Any, tasks: Any) -> None:
    envs.set_attr("g", tasks["gravity"].tolist())


POINT = metarl.make("point-navigation")
FAMILIES: dict[str, metarl.TaskDistribution] = {
    "native": POINT,
    "gymnasium": metarl.from_gym("CartPole-v1", {"length": (0.25, 1.5), "masspole": (0.05, 0.5)}),
    "vector environment": VectorTasks("pendulum-gravity-v1", pendulums, {"gravity": (5.0, 15.0)}, set_gravity),
    "MuJoCo": metarl.make("half-cheetah-velocity"),
    "changing": ChangingTasks(POINT, change_episodes=(1,)),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> metarl.TaskDistribution:
    return FAMILIES[request.param]


def task_of(env: Any) -> list[float]:
    """The parameters of the task that an environment is in."""
    task: Tasks = env.task
    values: list[float] = task.vector()[0].tolist()
    return values


def test_a_named_task_stays_until_another_is_named(family: metarl.TaskDistribution) -> None:
    first, second, third = (family.sample(1, generator(seed)) for seed in range(3))
    env: Any = family.env(first)
    assert task_of(env) == first.vector()[0].tolist()
    for seed in (None, 0, 1):
        env.reset(seed=seed)
        assert task_of(env) == first.vector()[0].tolist()
    by_values = {name: values[0].numpy() for name, values in third.parameters.items()}
    for named, task in ((second, second), (by_values, third)):
        env.reset(options={"task": named})
        env.reset(seed=2)
        assert task_of(env) == task.vector()[0].tolist()
    env.close()


def test_without_a_name_every_reset_draws_a_task_by_the_seed(family: metarl.TaskDistribution) -> None:
    env: Any = family.env()
    assert env.task is None
    drawn = []
    for seed in (0, None, None, 0, 1):
        env.reset(seed=seed)
        drawn.append(task_of(env))
    assert drawn[3] == drawn[0]
    assert len({tuple(task) for task in drawn}) == 4
    env.close()


def test_environments_that_nobody_seeds_are_in_different_tasks(family: metarl.TaskDistribution) -> None:
    envs: list[Any] = [family.env(), family.env()]
    for env in envs:
        env.reset()
    assert task_of(envs[0]) != task_of(envs[1])
    for env in envs:
        env.close()


def test_what_is_not_one_task_of_the_family_is_refused(family: metarl.TaskDistribution) -> None:
    env: Any = family.env()
    two, strangers = family.sample(2, generator(0)), metarl.make("bernoulli-bandit").sample(1, generator(0))
    for wrong, message in ((two, "takes one task, got 2"), (strangers, f"not tasks of {family.name}")):
        with pytest.raises(ValueError, match=message):
            family.env(wrong)
        with pytest.raises(ValueError, match=message):
            env.reset(options={"task": wrong})
    env.close()


def test_the_same_task_named_again_begins_anew() -> None:
    family = ChangingTasks(metarl.make("bernoulli-bandit", arms=2, pulls=1), change_episodes=(1,))
    task = family.tasks(**{"a.means": [[1.0, 0.0]], "b.means": [[0.0, 1.0]]})
    env: Any = family.env(task)
    rewards = []
    for options in (None, None, None, {"task": task}, {"task": task}, None):
        env.reset(options=options)
        rewards.append(env.step(0)[1])
    assert rewards == [1, 0, 0, 1, 1, 0]
