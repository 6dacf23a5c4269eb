"""The predictor of the task, and the reward for what tells of it."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces

import metarl
from metarl import seeding
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.nn.task_predictor import TaskPredictor
from metarl.tasks.batch import Tasks

SPACE = spaces.Dict(
    {
        "door": spaces.Box(1, 3, (2,), np.int64),
        "wind": spaces.Box(-2.0, 6.0, (), np.float32),
        "seed": spaces.Box(0, 10_000, (), np.int64),
    }
)
TASKS = Tasks(
    {
        "door": torch.tensor([[1, 3], [2, 2], [3, 1]]),
        "wind": torch.tensor([-2.0, 0.0, 6.0]),
        "seed": torch.tensor([0, 7, 10_000]),
    },
    SPACE,
)


def made() -> TaskPredictor:
    with seeding.initialising(0):
        return TaskPredictor(4, SPACE, 8)


def test_likelihoods_add_up_to_one_over_whole_tasks() -> None:
    """Nine pairs of doors; the two numbers have densities, integrated on a grid."""
    predictor, memory = made(), torch.randn(1, 1, 4, generator=seeding.generator(0))
    grid = torch.linspace(-9, 9, 181)
    total = 0.0
    with torch.no_grad():
        for first in (-1.0, 0.0, 1.0):
            for second in (-1.0, 0.0, 1.0):
                seed, wind = (x.flatten() for x in torch.meshgrid(grid, grid, indexing="ij"))
                doors = torch.tensor([[first, second]]).expand(len(seed), 2)
                vector = torch.cat([doors, seed[:, None], wind[:, None]], 1)  # names in the order of the alphabet
                total += predictor(memory.expand(len(seed), 1, 4), vector).exp().sum().item() * 0.1**2
    assert total == pytest.approx(1, abs=1e-3)


def test_a_task_that_the_memory_shows_is_learned() -> None:
    """Nine doors are told apart; of the numbers the density rises above that of the range."""
    predictor = made()
    stream = seeding.generator(0)
    vector = torch.cat([torch.randint(-1, 2, (256, 2), generator=stream), torch.rand(256, 2, generator=stream)], 1)
    memory = vector[:, None]
    optimiser = torch.optim.Adam(predictor.parameters(), 1e-2)
    for _ in range(300):
        optimiser.zero_grad()
        loss = -predictor(memory, vector).mean()
        loss.backward()
        optimiser.step()
    assert -loss.item() > 0 > -2 * math.log(3) - 2 * math.log(2)


def test_vectors_of_tasks_are_read_in_their_own_order() -> None:
    predictor = made()
    memory = torch.zeros(3, 2, 4)
    with torch.no_grad():
        predictor.output.weight.zero_()
        predictor.output.bias.zero_()
        predictor.output.bias[:6] = torch.tensor([20.0, 0.0, 0.0, 0.0, 0.0, 20.0])  # doors 1 and 3 for sure
        likelihood = predictor(memory, TASKS.vector())
    assert likelihood.shape == (3, 2)
    assert likelihood[0, 0] > likelihood[1, 0] + 15
    assert likelihood[0, 0] > likelihood[2, 0] + 15


def test_a_step_is_rewarded_for_what_it_told() -> None:
    """Bonuses add up to what the whole trial told, times the weight and the deviation of returns."""
    family = metarl.make("bernoulli-bandit", arms=3, pulls=6)
    options = RL2Options(memory="gru", width=8, batch_steps=48, information_bonus=1.0, gae_lambda=1.0, gamma=1.0)
    agent = RL2(family, options, device="cpu")
    agent.train_step(0.0, lambda env: None)
    trajectories, _ = agent._collect(6, 0.5, lambda env: None)
    deviation = agent.critic.largest_deviation.clone()
    returns = []
    for weight in (0.0, 2.0):
        agent.critic.largest_deviation.copy_(deviation)
        batch, _ = agent._ppo.prepare_batch(trajectories, None, 1.0, 6, weight)
        returns.append(agent.critic.denormalised(batch.target)[:, 0])
    assert agent.predictor is not None
    with torch.no_grad():
        told = agent.predictor(
            agent._ppo.memory_outputs(trajectories.context(and_next=True)), trajectories.tasks.vector()
        )
    expected = 2 * deviation * (told[:, -1] - told[:, 0])
    torch.testing.assert_close(returns[1] - returns[0], expected, rtol=1e-3, atol=1e-4)
    assert expected.abs().max() > 1e-3
    assert str(agent.teaching).endswith("privileged critic and predictor of the task")


def test_the_predictor_is_saved_and_goes_on(tmp_path: object) -> None:
    family = metarl.make("bernoulli-bandit", arms=3, pulls=6)
    options = RL2Options(memory="gru", width=8, batch_steps=48, information_bonus=0.5)
    whole = RL2(family, options, device="cpu").learn(96)
    half = RL2(family, options, device="cpu")
    half.learn(48)
    assert any(name.startswith("predictor.") for name in whole.state())
    again = RL2(family, options, device="cpu")
    again.load_state(half.state(), "half")
    assert all(torch.equal(value, again.state()[name]) for name, value in half.state().items())


def test_a_predictor_goes_on_in_a_family_of_the_same_tasks() -> None:
    few, many = (metarl.make("bernoulli-bandit", arms=3, pulls=pulls) for pulls in (3, 6))
    options = RL2Options(memory="gru", width=8, batch_steps=48, information_bonus=0.5)
    agent = RL2(few, options, device="cpu").learn(48)
    weight = agent.state()["predictor.output.weight"]
    assert torch.equal(agent.transfer(many).state()["predictor.output.weight"], weight)
