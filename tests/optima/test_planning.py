"""Batched planning against plain loops, linear programs and published values."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

import metarl
from metarl import seeding
from metarl.optima.planning import action_values, optimistic_expectation, optimistic_value_iteration, value_iteration


def processes(count: int, states: int = 4, actions: int = 3) -> tuple[Tensor, Tensor]:
    stream = seeding.generator(0, "test")
    transitions = torch.rand(count, states, actions, states, generator=stream)
    return torch.randn(count, states, actions, generator=stream), transitions / transitions.sum(-1, keepdim=True)


def test_equals_a_plain_loop(device: str) -> None:
    rewards, transitions = processes(3)
    values, policy = (result.cpu() for result in value_iteration(rewards.to(device), transitions.to(device), 5))
    for task in range(3):
        value = np.zeros(4)
        for time in reversed(range(5)):
            worth = rewards[task].numpy() + transitions[task].numpy() @ value
            value = worth.max(1)
            np.testing.assert_allclose(values[task, time], value, rtol=1e-5)
            assert policy[task, time].tolist() == worth.argmax(1).tolist()


def test_published_values_of_random_processes() -> None:
    tasks = metarl.make("tabular-mdp").sample(5000, seeding.generator(0))
    best = value_iteration(tasks["rewards"], tasks["transitions"], 10)[0][:, 0, 0]
    blind = value_iteration(tasks["rewards"].mean(2, keepdim=True), tasks["transitions"].mean(2, keepdim=True), 10)[0]
    assert float(best.mean()) == pytest.approx(21.840, abs=4 * float(best.std()) / math.sqrt(5000))
    assert float(blind[:, 0, 0].mean()) == pytest.approx(10.007, abs=4 * float(blind[:, 0, 0].std()) / math.sqrt(5000))


def test_without_doubt_the_optimist_agrees() -> None:
    rewards, transitions = processes(20)
    known = value_iteration(rewards, transitions, 6)
    hoped = optimistic_value_iteration(rewards, transitions, torch.zeros_like(rewards), 6)
    torch.testing.assert_close(hoped[0], known[0])
    assert torch.equal(hoped[1], known[1])


def test_optimism_without_bounds_expects_the_best_successor() -> None:
    rewards, transitions = processes(5)
    value = torch.randn(5, 4, generator=seeding.generator(1))
    hoped = optimistic_expectation(value, transitions, torch.full_like(rewards, 2.0))
    torch.testing.assert_close(hoped, value.amax(1)[:, None, None].expand_as(hoped))


@pytest.mark.parametrize("radius", [0.1, 0.5, 1.2])
def test_optimism_solves_the_linear_program(radius: float) -> None:
    """Variables: probabilities p and their distances d from the given ones."""
    _, transitions = processes(1)
    value = torch.randn(1, 4, generator=seeding.generator(2))
    hoped = optimistic_expectation(value, transitions, torch.full((1, 4, 3), radius))[0, 0, 0]
    given, eye, nothing = transitions[0, 0, 0].numpy(), np.eye(4), np.zeros(4)
    solution = linprog(
        np.concatenate([-value[0].numpy(), nothing]),
        A_ub=np.block([[eye, -eye], [-eye, -eye], [nothing, np.ones(4)]]),
        b_ub=np.concatenate([given, -given, [radius]]),
        A_eq=np.concatenate([np.ones(4), nothing])[None],
        b_eq=[1],
    )
    assert float(hoped) == pytest.approx(-solution.fun, abs=1e-5)


@pytest.mark.parametrize(
    ("rewards", "transitions", "horizon", "message"),
    [
        ((2, 4, 3), (2, 4, 3, 3), 5, r"\[N, S, A, S\]"),
        ((4, 3), (4, 3, 4), 5, r"\[N, S, A\]"),
        ((2, 4, 3), (2, 4, 3, 4), 0, "horizon"),
    ],
)
def test_wrong_shapes_are_refused(
    rewards: tuple[int, ...], transitions: tuple[int, ...], horizon: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        value_iteration(torch.zeros(rewards), torch.zeros(transitions), horizon)


def test_action_values_are_greedy_for_the_optimal_plan_and_their_maximum_is_its_value() -> None:
    stream = torch.Generator().manual_seed(3)
    rewards, transitions = torch.randn(4, 5, 3, generator=stream), torch.rand(4, 5, 3, 5, generator=stream)
    transitions = transitions / transitions.sum(-1, keepdim=True)
    values, plan = value_iteration(rewards, transitions, 6)
    per_action = action_values(rewards, transitions, 6)
    torch.testing.assert_close(per_action.max(-1).values, values)
    assert torch.equal(per_action.argmax(-1), plan)
    torch.testing.assert_close(per_action[:, -1], rewards)
