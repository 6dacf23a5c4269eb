"""What `metarl check` says about gymnasium environments that are broken, each in its own way."""

import re
from typing import Any

import numpy as np
import pytest
from broken_environments import FLAWS, Aliasing, Crashing, Flaw, FourValues, Walk, family
from gymnasium import spaces

from metarl.testing import check_distribution, distribution_findings


def test_the_sound_one_passes() -> None:
    check_distribution(family(Walk, parameters={"wind": (-1, 1), "drag": (0.1, 0.3)}))


@pytest.mark.parametrize("flaw", FLAWS, ids=lambda flaw: f"{flaw.make.__name__}: {flaw.clause}")
def test_a_broken_environment_is_found_out_in_plain_words(flaw: Flaw) -> None:
    findings = {finding.title: finding for finding in distribution_findings(family(flaw.make, **flaw.options))}
    finding = findings[flaw.clause]
    assert not finding.ok
    assert re.search(flaw.words, finding.detail), finding.detail


def test_the_same_error_is_told_once() -> None:
    broken = [finding for finding in distribution_findings(family(FourValues)) if not finding.ok]
    told = [finding for finding in broken if "5 values" in finding.detail]
    assert len(told) == 1
    assert sum(f"the same error as in {told[0].title!r}" == finding.detail for finding in broken) >= 3


def test_a_crash_names_the_task() -> None:
    findings = {finding.title: finding for finding in distribution_findings(family(Crashing))}
    detail = findings["every task can be played"].detail
    task = re.search(r"environment \d+ of crashing-wind-v1, task {'wind': ([\d.]+)}: ZeroDivisionError", detail)
    assert task is not None
    assert float(task[1]) > 0.8


def test_a_buffer_that_is_written_into_again_does_no_harm() -> None:
    """The engine copies what an environment returns."""
    check_distribution(family(Aliasing))


class Steady(Walk):
    """Tells a constant of float64 beside its place, with the last bit uncertain."""

    observation_space = spaces.Box(-100, 100, (2,), np.float64)

    def _with_constant(self, x: Any) -> Any:
        return np.array([x[0], 0.1 + 1e-17 * float(self.time % 3)])

    def reset(self, **kwargs: Any) -> Any:
        x, info = super().reset(**kwargs)
        return self._with_constant(x), info

    def step(self, action: Any) -> Any:
        x, *rest = super().step(action)
        return self._with_constant(x), *rest


def test_a_constant_of_float64_is_no_loss() -> None:
    check_distribution(family(Steady))
