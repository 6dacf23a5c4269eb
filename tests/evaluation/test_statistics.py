"""Statistics against closed forms and scipy, and the coverage that a 95 % interval promises, by simulation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy import stats

from metarl.evaluation import statistics
from metarl.evaluation.statistics import (
    Interval,
    difference_interval,
    improvement_interval,
    iqm_interval,
    mean_interval,
    success_interval,
)

Of = Callable[..., Interval]


def covered(interval: Callable[[], Interval], truth: float, times: int = 300) -> float:
    """How often the interval of new data holds the truth."""
    return float(np.mean([i.low <= truth <= i.high for i in (interval() for _ in range(times))]))


def crossed(rng: np.random.Generator, runs: int, of_runs: float, rest: float, tasks: int = 40) -> list[Any]:
    """Scores of runs that share tasks: a task's own part, a run's own part, and noise."""
    level, run = rng.normal(size=tasks), rng.normal(0, of_runs, (runs, 1))
    return list(level + run + rng.normal(0, rest, (runs, tasks)))


def test_iqm_is_the_mean_of_the_middle_half() -> None:
    assert statistics.iqm(np.array([-1000.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1000.0])) == 3.5
    assert statistics.iqm(np.array([[0.0, 1.0], [2.0, 3.0]])).tolist() == [1.0, 2.0]


def test_mean_and_error_of_known_scores() -> None:
    mean, error = statistics.mean_and_error(np.array([1.0, 2.0, 3.0, 4.0]))
    assert mean == 2.5
    assert error == pytest.approx(np.sqrt(5 / 3) / 2)
    assert statistics.mean_and_error(np.array([7.0]))[1] == 0.0
    with pytest.raises(ValueError, match="no scores"):
        statistics.mean_and_error(np.array([]))


def test_one_run_has_the_interval_of_students_t() -> None:
    scores = np.random.default_rng(0).normal(size=12)
    ours = mean_interval([scores], confidence=0.9)
    theirs = stats.ttest_1samp(scores, 0.0).confidence_interval(0.9)
    assert (ours.value, ours.low, ours.high) == pytest.approx((scores.mean(), theirs.low, theirs.high))


def test_runs_on_tasks_of_their_own_have_the_interval_of_their_means() -> None:
    runs = np.random.default_rng(0).normal(size=(5, 30))
    ours = mean_interval(list(runs))
    theirs = stats.ttest_1samp(runs.mean(1), 0.0).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert mean_interval([runs[0], runs[1, :10]]).value == pytest.approx(np.r_[runs[0], runs[1, :10]].mean())


def test_the_iqm_of_one_run_has_the_error_of_yuen() -> None:
    scores = np.random.default_rng(0).standard_t(2, size=41)
    ours = iqm_interval([scores])
    winsorised = scores.clip(*np.quantile(scores, [0.25, 0.75]))
    error = winsorised.std(ddof=1) / (0.5 * np.sqrt(41))
    assert ours.value == pytest.approx(stats.trim_mean(scores, 0.25))
    assert ours.high - ours.value == pytest.approx(stats.t.ppf(0.975, 40) * error)


@pytest.mark.parametrize("of", [mean_interval, iqm_interval])
@pytest.mark.parametrize(("runs", "of_runs", "rest"), [(2, 0.2, 0.2), (3, 0.5, 1.0), (3, 0.0, 0.2), (10, 0.2, 0.2)])
def test_runs_that_share_tasks_are_covered_as_often_as_said(of: Of, runs: int, of_runs: float, rest: float) -> None:
    rng = np.random.default_rng(runs)
    share = covered(lambda: of(crossed(rng, runs, of_runs, rest), shared_tasks=True), 0.0)
    assert 0.91 < share < 0.985  # 95 % and three standard errors of 300 repetitions
    if runs == 10:  # as if every run had met other tasks
        assert covered(lambda: of(crossed(rng, runs, of_runs, rest), shared_tasks=False), 0.0) < 0.8


@pytest.mark.parametrize("runs", [2, 3, 10])
def test_runs_on_tasks_of_their_own_are_covered_as_often_as_said(runs: int) -> None:
    rng = np.random.default_rng(runs)
    share = covered(lambda: mean_interval([rng.normal(rng.normal(), 1, 20) for _ in range(runs)]), 0.0)
    assert 0.91 < share < 0.985


def test_agents_on_the_same_tasks_are_compared_task_by_task() -> None:
    """The spread between tasks is ten times the difference, and cancels."""
    rng = np.random.default_rng(0)
    tasks = 10 * rng.normal(size=50)
    ours, theirs = ([level + tasks + 0.1 * rng.normal(size=50) for _ in range(3)] for level in (1.0, 0.0))
    paired = difference_interval(ours, theirs, shared_tasks=True)
    apart = difference_interval(ours, theirs)
    assert paired.value == apart.value == pytest.approx(1, abs=0.05)
    assert paired.high - paired.low < 0.2
    one_each = difference_interval(ours[:1], theirs[:1], shared_tasks=True)
    exact = stats.ttest_1samp(ours[0] - theirs[0], 0.0).confidence_interval(0.95)
    assert (one_each.low, one_each.high) == pytest.approx((exact.low, exact.high))
    assert improvement_interval(ours, theirs, shared_tasks=True).value == 1
    assert improvement_interval(ours, theirs).value < 0.6


@pytest.mark.parametrize(("ours", "theirs", "shared"), [(2, 3, True), (1, 1, True), (4, 4, False), (1, 5, True)])
def test_differences_are_covered_as_often_as_said(ours: int, theirs: int, shared: bool) -> None:
    rng = np.random.default_rng(ours)

    def data(runs: int, tasks: Any) -> list[Any]:
        own = rng.normal(0, 0.2, (runs, 1)) if runs > 1 else np.zeros((1, 1))  # of one run the interval is for this run
        return list((tasks if shared else rng.normal(size=(runs, 40))) + own + rng.normal(0, 0.3, (runs, 40)))

    def interval(of: Of) -> Interval:
        tasks = rng.normal(size=40)
        return of(data(ours, tasks), data(theirs, tasks), shared_tasks=shared)

    assert 0.91 < covered(partial(interval, difference_interval), 0.0) < 0.995
    assert 0.91 < covered(partial(interval, improvement_interval), 0.5) < 0.995


def test_intervals_keep_the_shape_of_the_scores() -> None:
    scores = np.arange(24.0).reshape(2, 4, 3)
    for shared in (True, False):
        value, low, high = mean_interval(list(scores), shared_tasks=shared)
        assert value.tolist() == scores.mean((0, 1)).tolist()
        assert low.shape == high.shape == (3,)
        assert (low <= value).all()
        assert (value <= high).all()


def test_one_task_and_equal_scores_have_no_width_instead_of_nan() -> None:
    assert [float(part) for part in mean_interval([np.array([7.0])])] == [7, 7, 7]
    value, low, high = mean_interval([np.ones((4, 2))] * 3, shared_tasks=True)
    assert value.tolist() == low.tolist() == high.tolist() == [1, 1]
    assert improvement_interval([np.ones(3)], [np.ones(3)], shared_tasks=True).value == 0.5


def test_probability_of_improvement_of_known_scores() -> None:
    assert statistics.probability_of_improvement(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert statistics.probability_of_improvement(np.array([1.0, 1.0]), np.array([1.0])) == 0.5
    assert statistics.probability_of_improvement(np.array([0.0, 2.0]), np.array([1.0, 2.0])) == 0.375


def test_probability_of_improvement_between_normals() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = 1 + rng.normal(size=(2, 100)), rng.normal(size=(2, 150))
    value, low, high = improvement_interval([ours.ravel()], [theirs.ravel()])
    assert low < stats.norm.cdf(1 / np.sqrt(2)) < high
    assert value == pytest.approx(stats.mannwhitneyu(ours.ravel(), theirs.ravel()).statistic / ours.size / theirs.size)
    assert 0.05 < high - low < 0.2


@pytest.mark.parametrize("solved", [0, 3, 50])
def test_shares_of_success_have_wilsons_interval(solved: int) -> None:
    ours = success_interval(np.arange(50) < solved)
    theirs = stats.binomtest(solved, 50).proportion_ci(method="wilson")
    assert (ours.value, ours.low, ours.high) == pytest.approx((solved / 50, theirs.low, theirs.high))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="at least one score"):
        mean_interval([np.zeros(3), np.zeros(0)])
    with pytest.raises(ValueError, match="confidence < 1"):
        mean_interval([np.zeros(3)], confidence=95)
    with pytest.raises(ValueError, match=r"equally many scores, got \[3, 4\]"):
        mean_interval([np.zeros(3), np.zeros(4)], shared_tasks=True)
    with pytest.raises(ValueError, match="one shape"):
        mean_interval([np.zeros((3, 2)), np.zeros((3, 1))])
    with pytest.raises(ValueError, match="confidence < 1"):
        success_interval(np.ones(3), confidence=95)
    with pytest.raises(ValueError, match="no tasks"):
        success_interval(np.zeros(0))
