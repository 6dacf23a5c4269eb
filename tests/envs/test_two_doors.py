"""Two doors: what is paid when, the closed form, and the baselines that get it."""

import pytest
import torch

import metarl
from metarl.agents.classical.two_doors import BayesOptimalDoors, NeverTries
from metarl.envs.two_doors import TwoDoors
from metarl.evaluation.evaluator import evaluate


def total(family: TwoDoors, episodes: int | None = None) -> float:
    return family.optimal_return(episodes).total


def test_the_first_step_pays_and_the_others_do_not() -> None:
    family = TwoDoors(max_episode_steps=3)
    env = family.vector_env(4)
    env.set_tasks(family.tasks(door=[1, 2, 1, 2]))
    assert env.reset(seed=0)[0].tolist() == [0] * 4
    for _ in range(2):
        seen, reward, _, truncated, _ = env.step(torch.tensor([0, 1, 1, 2]))
        assert reward.tolist() == [10, -18, 30, 30]
        assert seen.tolist() == [1] * 4
        assert not truncated.any()
        for last in (False, True):
            seen, reward, _, truncated, _ = env.step(torch.tensor([1, 2, 0, 1]))
            assert reward.tolist() == [0] * 4
            assert truncated.tolist() == [last] * 4
        assert seen.tolist() == [0] * 4


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 6 + 30),
        ({"wrong": -34.0}, -2 + 30),
        ({"wrong": -52.0}, 10 + 10),
        ({"wrong": -52.0, "num_episodes": 3}, -11 + 30 + 30),
        ({"num_episodes": 1}, 10),
        ({"safe": -1.0, "num_episodes": 1}, 6),
        ({"wrong": -1000.0, "free_episodes": 1}, 30),
        ({"num_episodes": 4, "free_episodes": 2}, 60),
    ],
    ids=str,
)
def test_the_optimum_by_hand(options: dict[str, float], expected: float) -> None:
    family = TwoDoors(**options)  # type: ignore[arg-type]
    optimum = family.optimal_return()
    assert optimum.total == pytest.approx(expected)
    assert optimum.per_episode is not None
    assert sum(optimum.per_episode[family.free_episodes :]) == pytest.approx(expected)
    result = evaluate(BayesOptimalDoors(family, 400), family.split("test"), 400)
    assert abs(result.totals.mean() - expected) <= 4 * result.totals.std() / 20
    assert metarl.make("two-doors", **options) == family


def test_who_never_tries_gets_the_safe_pay() -> None:
    family = TwoDoors()
    result = evaluate(NeverTries(family, 50), family, 50)
    assert result.totals.tolist() == [20.0] * 50
    assert result.regret == pytest.approx(16.0)


def test_it_names_no_expert_and_a_known_door_is_opened_at_once() -> None:
    family = TwoDoors()
    assert family.expert(2) is None
    sure = family.where(door=(2, 2))
    assert isinstance(sure, TwoDoors)
    assert total(sure) == 60.0
    assert set(sure.sample(20, metarl.seeding.generator(0))["door"].tolist()) == {2}


@pytest.mark.parametrize(
    "options",
    [{"right": 5.0}, {"right": 20.0, "wrong": 20.0}, {"safe": float("nan")}, {"max_episode_steps": 1}],
    ids=str,
)
def test_doors_that_are_no_choice_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="need "):
        TwoDoors(**options)  # type: ignore[arg-type]
