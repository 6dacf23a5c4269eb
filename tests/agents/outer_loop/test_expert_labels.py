import torch

import metarl
from metarl import seeding
from metarl.agents.classical.bandits import ThompsonSampling
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.agents.outer_loop.expert_labels import ExpertLabels
from metarl.evaluation.evaluator import evaluate
from metarl.trials.rollouts import collect


def test_labels_are_the_experts_action_where_the_learner_went() -> None:
    distribution = metarl.make("grid-navigation")
    agent = RL2(distribution, RL2Options(width=16, num_heads=2), device="cpu")
    tasks = distribution.sample(50, seeding.generator(0))
    env = distribution.vector_env(50)
    env.set_tasks(tasks)
    policy = ExpertLabels(agent.policy(50, deterministic=False), distribution.expert(50), tasks)
    trajectories = collect(policy, env, 20, seed=0)
    expert_labels = policy.expert_labels(temperature=0.5)
    assert expert_labels.shape == (50, 20, 5)
    torch.testing.assert_close(expert_labels.sum(-1), torch.ones(50, 20))
    goal = tasks["goal"][:, 0] * 5 + tasks["goal"][:, 1]
    moved = env.distribution.successors()[trajectories.observations, expert_labels.argmax(-1)]  # type: ignore[attr-defined]

    def distance(cell: torch.Tensor) -> torch.Tensor:
        away_x, away_y = cell // 5 - goal[:, None] // 5, cell % 5 - goal[:, None] % 5
        total: torch.Tensor = away_x.abs() + away_y.abs()
        return total

    before = distance(trajectories.observations)
    assert torch.equal(distance(moved), (before - 1).clamp(min=0))


def test_labels_are_as_soft_in_any_unit_of_reward() -> None:
    """softmax(values / (temperature * their deviation between arms)): payouts of a tenth say the same."""
    bandits = metarl.make("bernoulli-bandit", arms=3)
    agent = RL2(bandits, RL2Options(memory="gru", width=8, num_heads=1), device="cpu")
    expert_labels = []
    for scale in (1.0, 0.1):
        tasks = bandits.tasks(means=[[0.0, 0.5, 1.0], [0.4, 0.9, 0.1]])
        tasks = bandits.tasks(means=(scale * tasks["means"]).tolist())
        policy = ExpertLabels(agent.policy(2), bandits.expert(2), tasks)
        policy.begin()
        policy.act(torch.zeros(2, 1))
        expert_labels.append(policy.expert_labels(temperature=0.5))
    deviation = (0.5 + 0.163333**0.5) / 2  # of (0, .5, 1) and (.4, .9, .1), in the mean
    odds = torch.tensor([[0.0, 0.5, 1.0], [0.4, 0.9, 0.1]]).div(0.5 * deviation).exp()
    torch.testing.assert_close(expert_labels[0][:, 0], odds / odds.sum(1, keepdim=True), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(expert_labels[1], expert_labels[0])


def test_imitation_reaches_posterior_sampling_on_a_bandit() -> None:
    """Imitating an expert that takes only the best arm is to take each arm as often as it is the best."""
    distribution = metarl.make("bernoulli-bandit", arms=2, pulls=6)
    options = RL2Options(
        memory="gru",
        width=32,
        num_layers=1,
        batch_steps=6000,
        imitation_fraction=1.0,
        imitation_temperature=0.02,
        ent_coef=0.0,
    )
    agent = RL2(distribution, options, device="cpu").learn(120_000)
    ours = evaluate(agent.policy(8000, deterministic=False), distribution, 8000)
    theirs = evaluate(ThompsonSampling(distribution, 8000), distribution, 8000)
    difference = ours.returns.mean(0) - theirs.returns.mean(0)
    assert abs(difference).max() < 0.03
    assert theirs.returns.mean() > 0.52
