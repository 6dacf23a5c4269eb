"""MAML and its family: rollouts with parameters of their own, inner steps as the trial goes, outer updates."""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor
from torch.utils._pytree import tree_map

import metarl
from metarl import seeding
from metarl.adaptation.stacked import task_chunks
from metarl.agents.gradient.inner_objective import Rollouts, first_episodes
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.meta_objective import CollectedBatch, MetaObjective
from metarl.agents.gradient.meta_updates import adapted_rate
from metarl.agents.gradient.options import RECIPES, MAMLOptions
from metarl.agents.gradient.policy import RolloutPolicy
from metarl.tasks.policies import Transition
from metarl.testing import check_agent
from metarl.trials.rollouts import collect
from metarl.trials.trajectories import Trajectories

NETWORKS: dict[str, dict[str, Any]] = {
    "feed-forward": {},
    "attention": {"network": "attention", "adapted_parameters": "attention", "num_layers": 1},
}
FAMILIES = ["bernoulli-bandit", "tabular-mdp", "point-navigation"]


def made(name: str = "tabular-mdp", seed: int = 3, device: str = "cpu", **options: Any) -> MAML:
    return MAML(metarl.make(name), small(**options), seed=seed, device=device)


def small(**options: Any) -> MAMLOptions:
    return MAMLOptions(**{"width": 8, "meta_batch_size": 3, "rollouts_per_task": 2, **options})


def collected(agent: MAML) -> tuple[MetaObjective, list[CollectedBatch]]:
    """A batch of rollouts, and the objective of its policies."""
    _, batches, _ = agent._collect(lambda env: None)
    return objective_of(agent, batches), batches


def objective_of(agent: MAML, batches: list[CollectedBatch]) -> MetaObjective:
    returns = torch.arange(agent.options.meta_batch_size, device=agent.device).float()
    extras = {name: getattr(agent.options, name) for name in ("multi_step_loss", "inner_kl", "exploration_credit")}
    return MetaObjective(agent.inner, agent.loss, batches, returns, **extras)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_of_a_batch_equal_those_of_the_rollout(network: str, family: str, device: str) -> None:
    """Before and after an inner step, with every task's own parameters: step by step, and whole episodes at once."""
    agent = made(family, device=device, inner_lr=(1.0,), **NETWORKS[network])
    _, batches, _ = agent._collect(lambda env: None)
    assert len(batches) == 2
    for batch, old_parameters in batches:
        again = agent.network.head.log_prob(old_parameters, batch.action)
        torch.testing.assert_close(again[batch.valid], batch.old_log_prob[batch.valid], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "reptile"])
def test_at_update_0_adapted_policies_equal_those_that_collected(name: str) -> None:
    options = {
        field: getattr(RECIPES[name], field)
        for field in ("inner_update", "adapted_parameters", "second_order", "inner_kl")
    }
    objective, batches = collected(made(inner_steps=2, **options))
    _, parameters = objective(slice(0, 3))
    torch.testing.assert_close(parameters.detach(), batches[-1].old_parameters, rtol=1e-4, atol=1e-5)
    assert objective.kl_divergence(parameters, slice(0, 3)).abs().max() < 1e-8


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_the_meta_gradient_of_the_objective_is_its_numerical_derivative(network: str, weight: float) -> None:
    options = {"inner_lr": (0.05,), "inner_steps": 1 if weight else 2, "inner_kl": weight, "exploration_credit": weight}
    agent = MAML(metarl.make("point-navigation"), small(**options, **NETWORKS[network]), device="cpu")
    stream = seeding.generator(0, "direction")
    with torch.no_grad():  # away from biases of zero, where units of ReLU and normalised tokens have kinks
        for p in agent.network.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=stream))
    _, batches = collected(agent)
    agent.network.double()
    agent.inner.update.double()
    objective = objective_of(agent, tree_map(lambda x: x.double() if x.is_floating_point() else x, batches))
    parameters = agent._parameters()
    losses = torch.cat([objective(part)[0] for part in task_chunks(3, 2)])
    gradients = torch.autograd.grad(losses.mean(), parameters)
    direction = [torch.randn(p.shape, generator=stream, dtype=torch.float64) for p in parameters]
    slope = sum((g * v).sum() for g, v in zip(gradients, direction, strict=True))

    def at(size: float) -> Tensor:
        with torch.no_grad():
            for p, v in zip(parameters, direction, strict=True):
                p.add_(size * v)
            value = objective(slice(0, 3))[0].mean()
            for p, v in zip(parameters, direction, strict=True):
                p.sub_(size * v)
        return value

    torch.testing.assert_close(slope, (at(1e-6) - at(-1e-6)) / 2e-6, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["point-navigation", "frozen-lake"])
def test_the_policy_takes_the_inner_step_of_the_training_loop(name: str) -> None:
    """Fed with the rollouts of a training batch one after the other, it arrives at the same parameters.

    On the lake episodes end early: the row goes on, but an inner step learns from as many episodes as in a test.
    """
    agent = made(name, meta_batch_size=4, rollouts_per_task=3)
    horizon, env = agent.distribution.horizon, agent.distribution.vector_env(12)
    env.set_tasks(agent.distribution.sample(4, seeding.generator(0)).repeat(3))
    problem = agent._test_problem()
    with torch.no_grad():
        start = agent.inner.begin(4)
        trajectories = collect(RolloutPolicy(problem, start, 3, seed=0), env, horizon, seed=0)
        batch = problem.batch(Rollouts.of(trajectories), 4)
        expected = agent.inner.step(agent.loss, start, batch)
    first = first_episodes(trajectories.dones)
    assert (trajectories.dones.sum() > 12) == (name == "frozen-lake")
    policy, steps = agent.policy(4), [episodes(trajectories, first, task) for task in range(4)]
    for k in range(max(len(each["reward"]) for each in steps)):
        row = {key: torch.stack([each[key][min(k, len(each[key]) - 1)] for each in steps]) for key in steps[0]}
        policy._log_prob = row["log_prob"]
        done, observation = row["done"], row["observation"]
        policy.observe(Transition(observation, row["action"], row["reward"], done & False, done, observation))
    assert policy.adapted.steps.tolist() == [1] * 4
    for parameter, value in expected.parameters.items():
        torch.testing.assert_close(policy.adapted.parameters[parameter], value, rtol=1e-4, atol=1e-6)


def episodes(trajectories: Trajectories, first: Tensor, task: int) -> dict[str, Tensor]:
    """The steps of the first episodes of a task's three rows, one after the other."""
    rows = slice(3 * task, 3 * task + 3)
    columns = {
        "observation": trajectories.observations,
        "action": trajectories.actions,
        "reward": trajectories.rewards,
        "done": trajectories.dones,
        "log_prob": trajectories.log_probs,
    }
    return {name: x[rows][first[rows]] for name, x in columns.items()}


def test_tasks_adapt_at_their_own_time_and_a_hard_reset_forgets() -> None:
    agent = made("bernoulli-bandit", rollouts_per_task=2, inner_lr=(1.0,))  # an episode is one pull
    policy = agent.policy(3)

    def pull(reward: list[float]) -> None:
        observation = torch.zeros(3, 1)
        action = policy.act(observation)
        done = torch.ones(3, dtype=torch.bool)
        policy.observe(Transition(observation, action, torch.tensor(reward), done, ~done, observation))

    pull([1.0, 0.0, 1.0])
    policy.begin(torch.tensor([False, True, False]))  # task 1 has to begin its two episodes again
    pull([0.0, 1.0, 0.0])
    assert policy.adapted.steps.tolist() == [1, 0, 1]
    initial = agent.inner.begin(3).parameters["output.weight"]
    assert torch.equal(policy.adapted.parameters["output.weight"][1], initial[1])
    pull([0.0, 0.0, 1.0])
    assert policy.adapted.steps.tolist() == [1, 1, 1]  # one step in a trial: the others are done learning
    policy.begin(torch.tensor([True, False, False]))
    assert policy.adapted.steps.tolist() == [0, 1, 1]
    assert torch.equal(policy.adapted.parameters["output.weight"][0], initial[0])


def test_a_deterministic_policy_tries_until_it_has_learned() -> None:
    agent = made("bernoulli-bandit", rollouts_per_task=5)
    with torch.no_grad():
        agent.network.output.bias[2] = 0.1
    policy = agent.policy(200)
    observation, done = torch.zeros(200, 1), torch.ones(200, dtype=torch.bool)
    chosen = []
    for _ in range(6):
        action = policy.act(observation)
        chosen.append(len(set(action.tolist())))
        policy.observe(Transition(observation, action, torch.zeros(200), done, ~done, observation))
    assert chosen == [5, 5, 5, 5, 5, 1]  # rewards were all alike, so nothing was learned, and arm 2 stays the likeliest


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_keeps_the_contract_and_learns_something(name: str, device: str) -> None:
    distribution = metarl.make("bernoulli-bandit", arms=3)
    options = replace(RECIPES[name], width=8, meta_batch_size=4, rollouts_per_task=3)
    agent = MAML(distribution, options, device=device)
    before = {name: value.clone() for name, value in agent.state().items()}
    agent.learn(48)
    after = agent.state()
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("network."))
    assert not after.get("network.context.value", torch.zeros(1)).any()
    check_agent(agent, distribution)


@pytest.mark.parametrize("update", ["per-layer", "learned"])
def test_learned_updates_are_trained(update: str) -> None:
    agent = made(inner_update=update, outer="ppo", inner_steps=2)
    before = {name: value.clone() for name, value in agent.inner.update.state_dict().items()}
    agent.learn(1)
    assert all(not torch.equal(value, before[name]) for name, value in agent.inner.update.state_dict().items())


def test_attention_maps_alone_adapt() -> None:
    agent = made(**NETWORKS["attention"])
    maps = "memory.blocks.0.attention.query_key_value"
    assert agent.inner.names == (f"{maps}.weight", f"{maps}.bias")


def test_it_learns_to_learn_which_arm_pays() -> None:
    """Two arms, one of which always pays: 20 pulls and one step must find it in nearly every bandit."""
    bandits = metarl.make("bernoulli-bandit", arms=2, pulls=40)
    options = MAMLOptions(
        width=16, meta_batch_size=40, rollouts_per_task=20, inner_lr=(2.0,), outer="ppo", learning_rate=1e-2
    )
    agent = MAML(bandits, options, device="cpu").learn(40 * 20 * 2 * 30)
    result = metarl.evaluate(agent.policy(500), bandits.split("test"), num_tasks=500, num_episodes=40, seed=1)
    before, after = result.returns[:, :20].mean(), result.returns[:, 20:].mean()
    assert abs(before - 0.5) < 0.03
    assert after > 0.63  # the better of two arms pays 2/3


@pytest.mark.parametrize(
    ("rate", "kl", "expected"),
    [
        (1e-3, 0.01, 1e-3),
        (1.5e-3, 0.03, 1e-3),
        (1e-3, 0.001, 1.5e-3),
        (1e-5, 1.0, 1e-5),
        (9e-3, 0.0, 1e-2),
        (1e-6, 1.0, 1e-6),  # outside the range it never moves the wrong way
        (5e-2, 0.0, 5e-2),
        (6e-2, 1.0, 4e-2),
    ],
)
def test_step_sizes_follow_the_divergence_of_updates(rate: float, kl: float, expected: float) -> None:
    assert adapted_rate(rate, kl, max_kl=0.01) == pytest.approx(expected)


def test_rollouts_of_a_network_that_reads_its_past_are_single_episodes() -> None:
    done = torch.tensor([[False, True, False, True], [False, False, False, False]])
    assert first_episodes(done).tolist() == [[True, True, False, False], [True] * 4]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rollouts_per_task": 0}, "rollouts_per_task must be an integer at least 1, got 0"),
        ({"num_layers": 1}, "num_layers must be at least 2"),
        ({"inner_lr": ()}, "inner_lr must be a tuple of values, each a number greater than 0"),
        ({"adapted_parameters": "attention"}, "adapted_parameters=attention does not suit network=feed-forward"),
        ({"adapted_parameters": "context", "network": "attention"}, "adapted_parameters=context does not suit"),
        ({"clip_range": 0.0}, "clip_range must be a number greater than 0"),
        ({"exploration_credit": -1.0}, "exploration_credit must be a number at least 0, got -1.0"),
        ({"test_rollouts": 0}, "test_rollouts must be an integer at least 1 or None, got 0"),
        ({"test_steps": -1}, "test_steps must be an integer at least 0 or None, got -1"),
        ({"outer": "guess"}, "outer must be one of trpo, ppo, policy-gradient, reptile, got 'guess'"),
        (
            {"inner_update": "guess"},
            "inner_update must be one of fixed, per-parameter, per-layer, learned, got 'guess'",
        ),
        ({"estimator": "guess"}, "estimator must be one of lvc, dice, reinforce, got 'guess'"),
    ],
)
def test_impossible_options_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**wrong)


def test_an_inner_loss_that_is_not_finite_names_task_and_step() -> None:
    agent = made()
    policy = agent.policy(2)
    with torch.no_grad():
        agent.network.output.bias.fill_(torch.inf)
    done = torch.ones(2, dtype=torch.bool)
    step = Transition(
        torch.zeros(2).long(), torch.zeros(2).long(), torch.tensor([1.0, 2.0]), done, ~done, torch.zeros(2)
    )
    policy.observe(step)
    with pytest.raises(FloatingPointError, match=r"inner step 0, task 0: the loss is not finite"):
        policy.observe(step)


class Fives(gymnasium.Env[Any, Any]):
    """Always shows 5 and ends after 1 to 6 steps, which the seed decides."""

    observation_space = spaces.Box(-10.0, 10.0, (1,), np.float32)
    action_space = spaces.Discrete(2)
    pay = 1.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 7))
        return np.full(1, 5, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return np.full(1, 5, np.float32), self.pay, self.left == 0, False, {}


def test_groups_of_different_lengths_leave_nothing_but_what_was_seen_in_the_statistics() -> None:
    family = metarl.from_gym(Fives, parameters={"pay": (0.5, 1.5)}, max_episode_steps=8, num_episodes=2)
    agent = MAML(family, MAMLOptions(width=8, meta_batch_size=6, rollouts_per_task=1, num_envs=1), device="cpu")
    lengths = {part.num_steps for parts in agent._collect(lambda env: None)[0] for part in parts}
    assert len(lengths) > 1
    agent.train_step(0.0, lambda env: None)
    statistics = {name: x for name, x in agent.network.state_dict().items() if name.endswith("normaliser.mean")}
    assert statistics
    assert all(torch.equal(x, torch.full_like(x, 5.0)) for x in statistics.values())
