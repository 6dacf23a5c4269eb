"""Adaptation curves: what is averaged and over which steps, the limits, what is measured anew, and the picture."""

import importlib
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgba

import metarl
from metarl.evaluation.results import Evaluation


@pytest.fixture(scope="module")
def curves(experiments: Any) -> Any:
    return experiments("reproductions.adaptation_curves")


def evaluation(returns: Any, steps: Any) -> Evaluation:
    """One that says nothing but returns and lengths of episodes `[tasks, episodes]`."""
    name, rewards, count = "point-navigation-v1", np.zeros(1), np.ones(1, int)
    returns, steps = np.asarray(returns, float), np.asarray(steps)
    return Evaluation(name, {}, "test", "made up", 0, returns, steps, None, rewards, rewards, count, None, None)


def row(steps: list[float], value: list[float], title: str = "a method") -> dict[str, Any]:
    low, high = ([v + margin for v in value] for margin in (-1, 1))
    return {"title": title, "training_steps": 2_000_000, "steps": steps, "value": value, "low": low, "high": high}


def test_a_block_is_the_mean_of_its_episodes_and_ends_after_their_steps(curves: Any) -> None:
    result = evaluation([[-9, -7, -2, 0], [-5, -3, 0, -2]], [[100, 100, 40, 60], [100, 80, 20, 10]])
    curve = curves.curve(result, 2)
    assert curve["steps"] == [190, 255]  # (200 + 180) / 2, (300 + 210) / 2
    assert curve["value"] == [-6, -1]
    half = 12.706 * 2  # of Student's t with one degree of freedom: the goals disagree in the first block only, by 4
    assert curve["low"] == pytest.approx([-6 - half, -1], abs=0.01)
    assert curve["high"] == pytest.approx([-6 + half, -1], abs=0.01)
    assert curves.curve(result, 1)["steps"] == [100, 190, 220, 255]


def test_episodes_that_are_no_whole_number_of_blocks_are_refused(curves: Any) -> None:
    with pytest.raises(ValueError, match="4 episodes are no whole number of blocks of 3"):
        curves.curve(evaluation(np.zeros((2, 4)), np.ones((2, 4), int)), 3)


def test_the_limits_are_those_of_who_knows_the_goal_and_of_who_stands_still(curves: Any) -> None:
    known, still = curves.limits()
    assert known == pytest.approx(-0.506, abs=1e-3)
    middles = (np.arange(1000) + 0.5) / 1000 - 0.5
    assert still == pytest.approx(-100 * np.hypot(middles[:, None], middles).mean(), rel=1e-5)


def test_steps_to_a_level_are_those_spent_before_the_first_block_that_reaches_it(curves: Any) -> None:
    assert curves.steps_to(row([50, 80, 110], [-7, -2, -8]), -5) == "50"
    assert curves.steps_to(row([50, 80, 110], [-3, -2, -8]), -5) == "0"
    assert curves.steps_to(row([4000, 8000], [-40, -12]), -5) == "more than 8,000"


def test_a_row_is_measured_anew_only_if_what_decides_it_changed(curves: Any) -> None:
    experiment = curves.Experiment()
    for name in curves.METHODS:
        measured = {**curves.settings(name, experiment), "title": "whatever"}
        assert curves.is_measured(measured, name, experiment)
        assert not curves.is_measured(measured, name, curves.Experiment(seed=1))
    assert not curves.is_measured(curves.settings("maml-trpo", experiment), "promp", experiment)
    assert not curves.is_measured(curves.settings("fine-tuning", experiment), "scratch", experiment)


def test_every_method_is_tested_for_whole_blocks_and_as_many_updates_as_lie_between_them(curves: Any) -> None:
    for method in curves.METHODS.values():
        agent = metarl.imports.import_attribute(metarl.registry.agents()[method.agent])
        assert isinstance(method.options, agent.Options)
        assert method.episodes % method.block == 0
        if method.agent != "rl2":
            tested = agent(metarl.make("point-navigation"), curves.options_in_test(method), device="cpu")
            assert tested.trial_episodes == method.episodes


def test_the_picture_draws_every_method_as_stairs_and_names_it(curves: Any) -> None:
    rows = {
        "rl2": row([45, 77, 300], [-7, -2, -2], "RL²"),
        "maml-trpo": row([4000, 8000, 12_000], [-40, -12, -4], "MAML"),
    }
    (axes,) = curves.adaptation_curves_figure(rows, -0.5, -38.3).axes
    looks = importlib.import_module("experiments.figures.adaptation_curves").LOOKS
    drawn = {to_rgba(line.get_color()): line for line in axes.lines if len(line.get_xdata()) > 2}
    for name, expected in rows.items():
        line = drawn[to_rgba(looks[name].color)]
        assert line.get_drawstyle() == "steps-pre"
        assert list(line.get_xdata())[1:] == expected["steps"]
        assert list(line.get_ydata())[1:] == expected["value"]
    texts = [text.get_text() for text in axes.texts]
    assert {"RL²", "MAML"} <= set(texts)
