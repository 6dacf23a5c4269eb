"""Statistics against closed forms, scipy, and the coverage that a 95 % interval promises."""

import numpy as np
import pytest
from scipy import stats

from metarl.evaluation import statistics
from metarl.evaluation.statistics import bootstrap_interval, improvement_interval, resampled_iqm, resampled_mean


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


def test_statistics_of_counts_equal_those_of_the_gathered_resample() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=37)
    index = rng.integers(37, size=(50, 37))
    counts = np.stack([np.bincount(row, minlength=37) for row in index])
    np.testing.assert_allclose(resampled_mean(scores, counts), scores[index].mean(1))
    np.testing.assert_allclose(resampled_iqm(scores, counts), stats.trim_mean(scores[index], 0.25, axis=1))


def test_strata_keep_their_size_unless_they_are_resampled() -> None:
    rng = np.random.default_rng(0)
    counts = np.concatenate(list(statistics.resample_counts([3, 5], rng, 40)))
    assert counts.shape == (40, 8)
    assert (counts[:, :3].sum(1) == 3).all()
    assert (counts[:, 3:].sum(1) == 5).all()
    nested = np.concatenate(list(statistics.resample_counts([3, 5], rng, 40, resample_strata=True)))
    assert set(nested[:, :3].sum(1)) == {0, 3, 6}
    assert (nested[:, :3].sum(1) / 3 + nested[:, 3:].sum(1) / 5 == 2).all()


def test_large_resamples_come_in_chunks_that_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "CHUNK", 20)
    chunks = list(statistics.resample_counts([4, 4], np.random.default_rng(0), 5))
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]


def test_bootstrap_agrees_with_scipy() -> None:
    scores = np.random.default_rng(0).exponential(size=60)
    ours = bootstrap_interval([scores], np.random.default_rng(1), resamples=4000)
    theirs = stats.bootstrap(
        (scores,), np.mean, method="percentile", n_resamples=4000, random_state=np.random.default_rng(2)
    )
    assert ours.value == pytest.approx(scores.mean())
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.03)


@pytest.mark.parametrize("statistic", [resampled_mean, resampled_iqm])
def test_interval_covers_the_truth_as_often_as_it_says(statistic: statistics.Statistic) -> None:
    rng = np.random.default_rng(0)
    intervals = [
        bootstrap_interval([rng.normal(size=50) for _ in range(2)], rng, statistic, resamples=200) for _ in range(200)
    ]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert 0.89 < covered < 0.99  # 95 % +- 4 standard errors of 200 trials


def test_resampling_seeds_widens_the_interval_when_seeds_differ() -> None:
    rng = np.random.default_rng(0)
    seeds = [offset + 0.1 * rng.normal(size=30) for offset in (0.0, 1.0, 2.0, 3.0, 4.0)]
    tasks_only = bootstrap_interval(seeds, rng, resamples=500)
    both = bootstrap_interval(seeds, rng, resample_strata=True, resamples=500)
    assert tasks_only.high - tasks_only.low < 0.1
    assert 1.5 < both.high - both.low < 3.0  # the spread of five seeds: 3.92 * sqrt(2 / 5) = 2.5


def test_intervals_keep_the_shape_of_the_scores() -> None:
    scores = np.arange(12.0).reshape(4, 3)
    value, low, high = bootstrap_interval([scores], np.random.default_rng(0), resamples=100)
    assert value.tolist() == scores.mean(0).tolist()
    assert low.shape == high.shape == (3,)
    assert (low <= value).all()
    assert (value <= high).all()


def test_probability_of_improvement_of_known_scores() -> None:
    assert statistics.probability_of_improvement(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert statistics.probability_of_improvement(np.array([1.0, 1.0]), np.array([1.0])) == 0.5
    assert statistics.probability_of_improvement(np.array([0.0, 2.0]), np.array([1.0, 2.0])) == 0.375


def test_probability_of_improvement_between_normals() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = 1 + rng.normal(size=(2, 100)), rng.normal(size=(2, 150))
    value, low, high = improvement_interval(list(ours), list(theirs), rng, resamples=200)
    expected = stats.norm.cdf(1 / np.sqrt(2))
    assert low < expected < high
    assert value == pytest.approx(stats.mannwhitneyu(ours.ravel(), theirs.ravel()).statistic / ours.size / theirs.size)
    assert 0.05 < high - low < 0.2


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="at least one score"):
        bootstrap_interval([np.zeros(3), np.zeros(0)], np.random.default_rng(0))
    with pytest.raises(ValueError, match="confidence < 1"):
        bootstrap_interval([np.zeros(3)], np.random.default_rng(0), confidence=95)
