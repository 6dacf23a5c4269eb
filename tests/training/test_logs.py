"""One list of metrics, the same for all agents."""

from collections.abc import Callable

import pytest

import metarl
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.agents.sb3.fine_tuning import FineTuning, FineTuningOptions
from metarl.training.agent import Agent
from metarl.training.logs import RETURN, is_metric

GRID = metarl.make("grid-navigation")
AGENTS: dict[str, Callable[[], Agent]] = {
    "rl2": lambda: RL2(GRID, RL2Options(memory="gru", width=8, batch_steps=480), device="cpu"),
    "maml-trpo": lambda: MAML(GRID, MAMLOptions(width=8, meta_batch_size=2, rollouts_per_task=1), device="cpu"),
    "promp": lambda: MAML(
        GRID, MAMLOptions(width=8, meta_batch_size=2, rollouts_per_task=1, outer="ppo", inner_kl=5e-4), device="cpu"
    ),
    "reptile": lambda: MAML(
        GRID, MAMLOptions(width=8, meta_batch_size=2, rollouts_per_task=1, outer="reptile"), device="cpu"
    ),
    "fine-tuning": lambda: FineTuning(GRID, FineTuningOptions(width=8, batch_steps=600), device="cpu"),
}


@pytest.mark.parametrize("name", AGENTS)
def test_agents_log_what_the_list_holds(name: str) -> None:
    metrics = AGENTS[name]().train_step(0.5, lambda env: None)
    assert RETURN in metrics
    assert [metric for metric in metrics if not is_metric(metric)] == []


def test_a_number_of_steps_is_part_of_a_name() -> None:
    assert is_metric("rollout/ep_rew_mean_after_12_steps")
    assert not is_metric("rollout/ep_rew_mean_after_some_steps")
