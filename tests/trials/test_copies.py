"""A GPU computes ahead of the host unless it is asked for numbers: how often the library asks, counted line by line."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import pytest
import torch
from simulated_device import Copies, copies

import metarl
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.devices import LOOK_EVERY
from metarl.evaluation.evaluator import evaluate
from metarl.training.agent import Agent
from metarl.trials.rollouts import StochasticPolicy, collect

Memory = Literal["transformer", "gru", "lstm"]
MEMORIES: tuple[Memory, ...] = ("transformer", "gru", "lstm")
FAMILIES = ("bernoulli-bandit", "tabular-mdp", "grid-navigation", "dark-room", "point-navigation")


def rl2(far: str, memory: Memory = "gru", family: str = "bernoulli-bandit", **options: Any) -> RL2:
    small: dict[str, Any] = {
        "width": 8,
        "num_layers": 1,
        "num_heads": 1,
        "batch_steps": 40,
        "num_minibatches": 2,
        "n_epochs": 1,
        "critic_epochs": 1,
    }
    return RL2(metarl.make(family), RL2Options(memory=memory, **{**small, **options}), device=far)


def maml(far: str, family: str = "point-navigation", **options: Any) -> MAML:
    small: dict[str, Any] = {"width": 8, "meta_batch_size": 2, "rollouts_per_task": 2}
    return MAML(metarl.make(family), MAMLOptions(**{**small, **options}), device=far)


def asked_in(function: Callable[[], object]) -> Copies:
    with copies() as counted:
        function()
    return counted


def rollout(agent: Agent, policy: StochasticPolicy, steps: int) -> Copies:
    env = agent.distribution.vector_env(policy.num_tasks, agent.device)
    env.set_tasks(agent.distribution.sample(policy.num_tasks, torch.Generator(agent.device).manual_seed(0)))
    return asked_in(lambda: collect(policy, env, steps, seed=0))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("memory", MEMORIES)
def test_a_rollout_of_rl2_asks_nothing_on_the_way(memory: Memory, family: str, far: str) -> None:
    agent = rl2(far, memory, family)
    _, short, long = (rollout(agent, agent.policy(3, deterministic=False), steps) for steps in (2, 2, 9))
    assert short == long
    assert all(line.startswith("finite.py") for _, line in long), "only whether all that was collected is finite"


def test_an_expert_asks_nothing_on_the_way(far: str) -> None:
    agent = rl2(far, family="grid-navigation", imitation_fraction=1.0)
    counted = asked_in(lambda: agent.train_step(0.0, lambda env: None))
    assert max(counted.values()) < agent.distribution.horizon


@pytest.mark.parametrize("network", ["feed-forward", "attention"])
def test_rollouts_of_maml_ask_nothing_on_the_way(network: str, far: str) -> None:
    agent = maml(far, network=network)
    counted = asked_in(partial(agent._collect, lambda env: None))
    assert max(counted.values()) < agent.distribution.horizon


@pytest.mark.parametrize("memory", MEMORIES)
def test_an_update_of_rl2_asks_a_handful_however_many_steps_it_takes(memory: Memory, far: str) -> None:
    few, many = rl2(far, memory), rl2(far, memory, n_epochs=3, num_minibatches=4, critic_epochs=2)
    few.train_step(0.0, lambda env: None)  # constants of the family reach the device once
    counted = [asked_in(lambda agent=agent: agent.train_step(0.5, lambda env: None)) for agent in (few, many)]  # type: ignore[misc]
    assert counted[0].total() == counted[1].total()
    assert counted[0].total() <= 20


@pytest.mark.parametrize("memory", MEMORIES)
def test_evaluation_of_rl2_asks_every_so_many_steps(memory: Memory, far: str) -> None:
    agent = rl2(far, memory, "grid-navigation")
    counted = asked_in(lambda: evaluate(agent.policy(3), agent.distribution, 3))
    steps = agent.distribution.num_episodes * agent.distribution.horizon
    in_play = sum(count for (_, line), count in counted.items() if line.startswith("player.py"))
    assert in_play == 2 * (steps // LOOK_EVERY) + 1
    assert counted.total() - in_play <= 12


@pytest.mark.parametrize("network", ["feed-forward", "attention"])
def test_evaluation_of_maml_asks_where_a_task_may_be_through_its_episodes(network: str, far: str) -> None:
    agent = maml(far, "tabular-mdp", rollouts_per_task=10, network=network, inner_steps=1)
    counted = asked_in(lambda: evaluate(agent.policy(2), agent.distribution, 2, num_episodes=20))
    steps = 20 * agent.distribution.horizon
    assert counted.total() <= 0.4 * steps
