"""The environment checkers of other libraries, as clauses."""

from typing import Any

import gymnasium
import gymnasium.utils.env_checker
import stable_baselines3.common.env_checker

from metarl.contracts.clauses import Clause
from metarl.contracts.probe import Probe


def gymnasium_agrees(probe: Probe) -> str:
    """gymnasium's own checker of environments passes."""
    gymnasium.utils.env_checker.check_env(_seeded_env(probe), skip_render_check=True)
    return ""


def stable_baselines3_agrees(probe: Probe) -> str:
    """Stable-Baselines3's own checker of environments passes."""
    stable_baselines3.common.env_checker.check_env(_seeded_env(probe), warn=False)
    return ""


CLAUSES = (
    Clause("gymnasium's environment checker passes", gymnasium_agrees),
    Clause("Stable-Baselines3's environment checker passes", stable_baselines3_agrees),
)


def _seeded_env(probe: Probe) -> "gymnasium.Env[Any, Any]":
    """The checkers sample actions from the environment's own space."""
    env = probe.distribution.env()
    env.action_space.seed(probe.env_seed)
    return env
