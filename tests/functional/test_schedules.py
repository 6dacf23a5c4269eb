import pytest

from metarl.functional.schedules import effective_horizon, gamma_of_horizon, growing_steps, linear_decay


def test_linear_decay_rises_then_falls_to_zero() -> None:
    assert linear_decay(0.25) == 0.75
    assert linear_decay(1.0, warmup=0.1) == 0
    assert linear_decay(0.0, warmup=0.1) < 0.02 < linear_decay(0.05, warmup=0.1) < linear_decay(0.1, warmup=0.1) == 0.9


@pytest.mark.parametrize(("progress", "steps"), [(0.0, 10), (0.12, 10), (0.13, 20), (0.3, 40), (0.45, 80), (0.5, 100)])
def test_trials_double_until_they_are_whole(progress: float, steps: int) -> None:
    assert growing_steps(progress, 100, 10, 0.5) == steps


def test_short_trials_and_no_growth_start_whole() -> None:
    assert growing_steps(0.0, 10, 15, 0.5) == 10
    assert growing_steps(0.0, 100, 10, 0.0) == 100


def test_reach_is_the_sum_of_the_powers_of_its_factor() -> None:
    assert sum(gamma_of_horizon(20) ** k for k in range(2000)) == pytest.approx(20)
    assert gamma_of_horizon(0.5) == 0


def test_a_discount_reaches_beyond_trials_of_which_there_are_many() -> None:
    assert effective_horizon(steps=15, trial_steps=60, batch_steps=25_000) == 150
    assert effective_horizon(steps=60, trial_steps=60, batch_steps=25_000) == 600
    assert effective_horizon(steps=60, trial_steps=60, batch_steps=7500) == 300


def test_a_discount_reaches_one_trial_ahead_at_least() -> None:
    assert effective_horizon(steps=600, trial_steps=600, batch_steps=6000) == 600
    assert effective_horizon(steps=3000, trial_steps=3000, batch_steps=1) == 3000


@pytest.mark.parametrize(("trial_steps", "batch_steps"), [(100, 25_000), (100, 24_999), (101, 25_000), (1000, 25_000)])
def test_one_step_more_or_less_hardly_changes_a_discount(trial_steps: int, batch_steps: int) -> None:
    here, longer, larger = (
        effective_horizon(steps, steps, batch)
        for steps, batch in ((trial_steps, batch_steps), (trial_steps + 1, batch_steps), (trial_steps, batch_steps + 1))
    )
    assert longer == pytest.approx(here, rel=0.01)
    assert larger == pytest.approx(here, rel=0.001)
