import pytest

from metarl.schedules import growing_steps, linear_decay


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
