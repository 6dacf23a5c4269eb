"""Trials in which the task changes: when, for whom, who is told, and what it costs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import metarl
from metarl.agents.classical.bandits import UCB1
from metarl.engines.changing_tasks import ChangingTasks
from metarl.evaluation.changes import Change, measure_changes
from metarl.evaluation.results import Evaluation
from metarl.seeding import generator
from metarl.tasks.policies import AdaptivePolicy, Transition
from metarl.testing import check_distribution

BANDITS = metarl.make("bernoulli-bandit", arms=2, pulls=4)
SURE = ChangingTasks(BANDITS, change_episodes=(2, 4), order="aba")
TASKS = {"a.means": [[1.0, 0.0], [0.0, 1.0]], "b.means": [[0.0, 1.0], [0.0, 1.0]]}


@pytest.mark.parametrize("name", ["grid-navigation", "point-navigation", "tabular-mdp"])
def test_changing_families_keep_the_contract(name: str, device: str) -> None:
    check_distribution(ChangingTasks(metarl.make(name), change_episodes=(2, 3), order="aba"), device=device)


def test_a_changing_family_of_the_users_own_keeps_the_contract(user_project: Path) -> None:
    check_distribution(ChangingTasks(metarl.make("drift_family:drift"), change_episodes=(3,)))


def test_a_task_comes_and_goes_with_the_episodes(device: str) -> None:
    env = SURE.vector_env(2, device)
    env.set_tasks(SURE.tasks(**TASKS))
    env.reset(seed=0)
    rewards = [env.step(torch.zeros(2, dtype=torch.int64, device=device))[1].tolist() for _ in range(6)]
    assert rewards == [[1, 0], [1, 0], [0, 0], [0, 0], [1, 0], [1, 0]]
    env.set_tasks(SURE.tasks(**TASKS), torch.tensor([True, False]))
    env.reset(options={"reset_mask": torch.tensor([True, False])})
    assert env.step(torch.zeros(2, dtype=torch.int64, device=device))[1].tolist() == [1, 0]  # from the start again


def test_slots_change_when_their_own_episodes_end() -> None:
    family = ChangingTasks(metarl.make("point-navigation"), change_episodes=(1,), order="ab")
    env = family.vector_env(2)
    goals = {"a.goal": [[0.1, 0.0], [0.5, 0.0]], "b.goal": [[-0.3, 0.0], [-0.3, 0.0]]}
    env.set_tasks(family.tasks(**goals))
    env.reset(seed=0)
    right = torch.tensor([[0.1, 0.0]] * 2)
    observation, reward, terminated, _, info = env.step(right)
    assert terminated.tolist() == [True, False]  # the first goal is one step away
    torch.testing.assert_close(reward, torch.tensor([0.0, -0.4]))
    torch.testing.assert_close(info["final_obs"], right)
    torch.testing.assert_close(observation, torch.tensor([[0.0, 0.0], [0.1, 0.0]]))
    torch.testing.assert_close(env.step(right)[1], torch.tensor([-0.4, -0.3]))  # one goal has moved to -.3


def test_a_single_environment_changes_too() -> None:
    env = SURE.env(SURE.tasks(**{name: values[:1] for name, values in TASKS.items()}))
    rewards = []
    for _ in range(6):
        env.reset()
        rewards.append(env.step(0)[1])
    assert rewards == [1, 1, 0, 0, 1, 1]


class Told(AdaptivePolicy):
    """Pulls the first arm, and counts how often it is told of a change."""

    def begin(self, mask: Tensor | None = None) -> None:
        self.told: Tensor = torch.zeros(self.num_tasks) if mask is None else self.told + mask

    def act(self, observation: Tensor) -> Tensor:
        return torch.zeros(self.num_tasks, dtype=torch.int64)

    def observe(self, transition: Transition) -> None:
        pass


@pytest.mark.parametrize("announced", [False, True])
def test_a_policy_is_told_where_changes_are_announced(announced: bool) -> None:
    policy = Told(3)
    metarl.evaluate(policy, ChangingTasks(BANDITS, (2, 4), "aba", announced), num_tasks=3)
    assert policy.told.tolist() == [2 * announced] * 3


def test_who_is_told_does_better(recwarn: pytest.WarningsRecorder) -> None:
    family = metarl.make("bernoulli-bandit", arms=2, pulls=40)
    totals = []
    for announced in (False, True):
        trials = ChangingTasks(family, change_episodes=(40,), announced=announced)
        learner: Any = UCB1(family, 2000)
        result = metarl.evaluate(learner, trials, num_tasks=2000)
        (change,) = measure_changes(result, trials)
        totals.append(result.returns[:, 40:].sum(1).mean())
        assert change.episode == 41
        assert change.kept is None
        assert Evaluation.from_json(result.to_json()).options["base"] == "bernoulli-bandit-v1"
    assert totals[1] > totals[0] + 1
    assert result.returns[:, 40:].sum(1).mean() == pytest.approx(result.returns[:, :40].sum(1).mean(), abs=0.6)


def test_what_a_change_cost_is_read_from_the_curve() -> None:
    curve = np.array([0.0, 5, 10, 1, 6, 9, 4, 9, 10])
    noise = 1e-3 * np.random.default_rng(0).normal(size=(40, 9))
    result = evaluation(curve + noise - noise.mean(0))
    first, second = measure_changes(result, ChangingTasks(BANDITS, (3, 6), "aba"))
    assert values(first) == pytest.approx((4, -9, 2, None))  # 1, 6, 9: nine tenths of the way after two episodes
    assert values(second) == pytest.approx((7, -5, 2, 4))  # 4 instead of 0: something was kept
    flat = evaluation(np.ones((4, 9)))
    assert [change.noticed for change in measure_changes(flat, ChangingTasks(BANDITS, (3, 6), "aba"))] == [None, None]
    with pytest.raises(ValueError, match="last change comes at episode 10"):
        measure_changes(result, ChangingTasks(BANDITS, (9,)))


def values(change: Change) -> tuple[Any, ...]:
    parts = [None if part is None else float(part.value) for part in (change.lost, change.noticed, change.kept)]
    return (change.episode, *parts)


@pytest.mark.parametrize("episodes", [4, 12, 30])
def test_what_was_made_up_at_once_is_seen_through_the_noise(episodes: int) -> None:
    """A loss of 1, made up in the very next episode; the deviation of a return is 1, and there are 50 tasks."""
    rng, found = np.random.default_rng(episodes), []
    for _ in range(40):
        returns = np.r_[1.0, 0.0, np.ones(episodes)] + rng.normal(size=(50, episodes + 2))
        found.append(measure_changes(evaluation(returns), ChangingTasks(BANDITS, (1,)))[0].noticed)
    assert np.mean([noticed is not None and noticed.value == 1 for noticed in found]) >= 0.9
    assert all(noticed.low <= 1 <= noticed.high for noticed in found if noticed is not None)


def test_where_nothing_was_lost_nothing_is_made_up() -> None:
    rng, said = np.random.default_rng(0), 0
    for _ in range(60):
        returns = 1 + rng.normal(size=(80, 12))
        said += measure_changes(evaluation(returns), ChangingTasks(BANDITS, (1,)))[0].noticed is not None
    one = measure_changes(evaluation(np.array([[1.0, 0, 1, 1, 1]])), ChangingTasks(BANDITS, (1,)))[0]
    assert one.noticed is None
    assert said <= 4  # five percent are called a loss by chance, and few of them a rise as well


def evaluation(returns: np.ndarray) -> Evaluation:
    rows: Any = np.ones(returns.shape[1])
    steps: Any = np.ones(returns.shape, np.int64)
    return Evaluation("x-v1", {}, "test", "x", 0, returns, steps, None, rows, rows, rows.astype(np.int64), None, None)


@pytest.mark.parametrize(("when", "order"), [((), "a"), ((2,), "aba"), ((3, 3), "aba"), ((0,), "ab")])
def test_impossible_changes_are_refused(when: tuple[int, ...], order: str) -> None:
    with pytest.raises(ValueError, match="change_episodes must be rising episodes"):
        ChangingTasks(BANDITS, when, order)
    with pytest.raises(ValueError, match="narrows the family"):
        SURE.where(**{"a.means": (0, 1)})


def test_both_tasks_come_from_the_split() -> None:
    tasks = SURE.split("ood").sample(200, generator(0))
    assert tasks["a.means"].max() <= 0.5
    assert tasks["b.means"].max() <= 0.5
    assert not torch.equal(tasks["a.means"], tasks["b.means"])
