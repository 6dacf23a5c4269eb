"""What PPO learns from a batch, against closed forms; gradients do not depend on how trials are cut."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import metarl
import metarl.agents
from metarl import seeding
from metarl.agents.in_context.policy import InContextPolicy
from metarl.agents.outer_loop.trial_ppo import Batch, Losses, TrialPPO, TrialPPOOptions
from metarl.functional import losses
from metarl.nn.actor import Actor
from metarl.nn.critic import TrialCritic
from metarl.nn.recurrent import RecurrentMemory
from metarl.trials.rollouts import collect
from metarl.trials.trajectories import Trajectories

BANDIT = metarl.make("bernoulli-bandit", arms=3, pulls=6)
TRIALS = 8


def ppo(
    segment: int | None = None,
    gae_lambda: float = 1.0,
    horizon: int = BANDIT.horizon,
    trial_steps: int = 12,
    free_episodes: int = 0,
    **options: Any,
) -> TrialPPO:
    """A learner whose parameters are the same at every call; whole trials are twice as long as those played here."""
    with seeding.initialising(0):
        actor = Actor(BANDIT.observation_space, BANDIT.action_space, None, RecurrentMemory("gru", 8, 1, 6), 8)
        critic = TrialCritic(BANDIT.observation_space, 8, None, 8)
    chosen = TrialPPOOptions(gae_lambda=gae_lambda, bptt_steps=segment, **options)
    return TrialPPO(actor, critic, chosen, horizon, trial_steps, free_episodes)


def test_free_episodes_get_the_credit_of_later_ones_only() -> None:
    """Of six pulls two are free: what they pay changes no advantage and no target, what the others pay does."""
    trajectories = played(ppo())
    in_free, after = trajectories.rewards.clone(), trajectories.rewards.clone()
    in_free[:4, :2] += 5
    after[:4, 2] += 5
    plain, free, counted = (
        ppo(free_episodes=2).prepare_batch(replace(trajectories, rewards=rewards), None, 0.98, 6)[0]
        for rewards in (trajectories.rewards, in_free, after)
    )
    torch.testing.assert_close(free.advantage, plain.advantage)
    assert not torch.allclose(counted.advantage, plain.advantage)


def twin(learner: TrialPPO, **changed: Any) -> TrialPPO:
    """Another learner with the same networks."""
    other = ppo(**changed)
    other.actor.load_state_dict(learner.actor.state_dict())
    other.critic.load_state_dict(learner.critic.state_dict())
    return other


def played(learner: TrialPPO) -> Trajectories:
    env = BANDIT.vector_env(TRIALS)
    env.set_tasks(BANDIT.sample(TRIALS, seeding.generator(0)))
    return collect(InContextPolicy(learner.actor, TRIALS, deterministic=False, seed=0), env, 6, seed=0)


def assessed(learner: TrialPPO, expert_labels: Tensor | None = None) -> Batch:
    return learner.prepare_batch(played(learner), expert_labels, 0.98, 6)[0]


def gradients(learner: TrialPPO, batch: Batch, *parts: Tensor) -> tuple[Tensor, Tensor]:
    """Those of the actor and those of the critic, for all parts together."""
    for part in parts:
        learner.backward(batch, part, 0.01)
    return flat_gradient(learner.actor), flat_gradient(learner.critic)


def flat_gradient(module: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


def test_an_untaught_critic_leaves_all_discounted_rewards_to_explain() -> None:
    """Before its first update the critic says zero, so with lambda 1 advantage and target are both the returns."""
    learner = ppo()
    trajectories = played(learner)
    batch, explained = learner.prepare_batch(trajectories, None, 0.98, 6)
    returns = torch.stack([trajectories.rewards[:, t:] @ 0.98 ** torch.arange(6.0 - t) for t in range(6)], 1)
    expected = (returns - returns.mean()) / returns.std(correction=0)
    torch.testing.assert_close(batch.target, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(batch.advantage, losses.normalised(returns), atol=1e-5, rtol=1e-4)
    assert explained == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(batch.time_left, (torch.tensor([6, 5, 4, 3, 2, 1]) / 12).expand(TRIALS, 6))


def test_trials_valued_in_parts_have_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """With lambda 0 the advantages are one step's surprise, so they show the values, once the critic has units."""
    whole, parted = ppo(gae_lambda=0.0), ppo(gae_lambda=0.0)
    for learner in (whole, parted):
        learner.critic.update_statistics(torch.tensor([0.0, 10.0]))
    expected = assessed(whole)
    monkeypatch.setattr(
        "metarl.agents.outer_loop.trial_ppo.STEPS_AT_ONCE", 18
    )  # three trials, and two in the last part
    torch.testing.assert_close(assessed(parted).advantage, expected.advantage)


def test_before_any_step_the_ratio_is_1() -> None:
    learner = ppo()
    batch = assessed(learner)
    measured = Losses(*learner.backward(batch, torch.arange(TRIALS), 0.01).tolist())
    assert measured.policy_gradient_loss == pytest.approx(0, abs=1e-6)  # minus the mean of the advantages
    assert measured.approx_kl == pytest.approx(0, abs=1e-6)
    assert measured.clip_fraction == 0


def test_what_is_lost_by_falling_is_lost() -> None:
    """Staying pays one a step, and the next episode starts at once: only the clock makes a fall cost anything."""
    learner = ppo(horizon=6, trial_steps=6)
    terminated, never = torch.zeros(2, TRIALS, 6, dtype=torch.bool)
    terminated[0, 1] = terminated[1:, -1] = True
    trajectories = replace(played(learner), rewards=torch.ones(TRIALS, 6), terminated=terminated, truncated=never)
    batch, _ = learner.prepare_batch(trajectories, None, 1.0, 6)
    torch.testing.assert_close(batch.time_left[0] * 6, torch.tensor([6.0, 5.0, 6.0, 5.0, 4.0, 3.0]))
    returns = learner.critic.denormalised(batch.target)
    torch.testing.assert_close(returns[0], torch.tensor([2.0, 1.0, 4.0, 3.0, 2.0, 1.0]))
    torch.testing.assert_close(returns[1], torch.tensor([6.0, 5.0, 4.0, 3.0, 2.0, 1.0]))


@pytest.mark.parametrize(("steps", "rest"), [(6, 0.0), (12, 5.0)])
def test_a_row_that_ends_before_its_trial_is_worth_what_the_critic_says(steps: int, rest: float) -> None:
    learner = ppo(horizon=steps)
    nn.init.zeros_(learner.critic.output.weight)
    learner.critic.update_statistics(torch.tensor([0.0, 10.0]))  # from now on it says 5
    going_on = torch.zeros(TRIALS, 6, dtype=torch.bool)
    trajectories = replace(played(learner), rewards=torch.ones(TRIALS, 6), terminated=going_on, truncated=going_on)
    batch, _ = learner.prepare_batch(trajectories, None, 1.0, steps)
    torch.testing.assert_close(batch.time_left[0] * 12, steps - torch.arange(6.0))
    returns = learner.critic.denormalised(batch.target)
    torch.testing.assert_close(returns[0], 6 - torch.arange(6.0) + rest)


def test_a_cut_row_is_continued_by_the_value_of_the_state_after_it() -> None:
    """Not by that of its last state: what the critic says of the state after the row is the target of the last step."""
    learner = ppo(gae_lambda=0.0, horizon=12)
    learner.critic.update_statistics(torch.tensor([0.0, 10.0]))
    going_on = torch.zeros(TRIALS, 6, dtype=torch.bool)
    rewards = torch.arange(6.0).expand(TRIALS, 6)
    whole = replace(played(learner), rewards=rewards, terminated=going_on, truncated=going_on)
    cut = replace(
        whole,
        next_observation=whole.observations[:, 3],
        **{name: getattr(whole, name)[:, :3] for name in ("observations", "actions", "rewards", "log_probs")},
        terminated=going_on[:, :3],
        truncated=going_on[:, :3],
    )
    with torch.no_grad():
        returns = [
            other.critic.denormalised(other.prepare_batch(trajectories, None, 1.0, 12)[0].target)
            for other, trajectories in ((learner, cut), (twin(learner, gae_lambda=0.0, horizon=12), whole))
        ]
    torch.testing.assert_close(returns[0], returns[1][:, :3], rtol=1e-4, atol=1e-4)


def test_noise_of_the_critic_is_not_blown_up_where_all_actions_are_alike() -> None:
    """Returns differ by the time left only, which the critic knows but for a thousandth of their deviation."""
    x = torch.randn(1000, generator=seeding.generator(0)) * 1e-3
    assert losses.normalised(x).std() == pytest.approx(1, abs=1e-2)
    assert losses.normalised(x, least_deviation=0.01).std() == pytest.approx(0.1, rel=0.1)


def test_no_further_pass_once_the_policy_has_moved_far_enough() -> None:
    """A huge learning rate moves it at once, so the second pass is never taken; a small one takes all passes."""
    passes = []
    for rate in (1e-7, 1e-1):
        learner = ppo(target_kl=0.01, n_epochs=4, num_minibatches=2, critic_epochs=0)
        batch = assessed(learner)
        steps: list[int] = []
        learner.optimiser.register_step_post_hook(lambda *_, counted=steps: counted.append(1))
        learner.update(batch, rate, 0.0, seeding.generator(0))
        passes.append(len(steps) // 2)
    assert passes == [4, 1]


def test_gradients_of_parts_add_up() -> None:
    everyone = torch.arange(TRIALS)
    learner, other = ppo(), ppo()
    whole = gradients(learner, assessed(learner), everyone)
    halves = gradients(other, assessed(other), everyone[::2], everyone[1::2])
    for one, two in zip(whole, halves, strict=True):
        torch.testing.assert_close(two / 2, one)
        assert one.norm() > 1e-3


def test_segments_change_nothing_but_how_far_gradients_flow_back_in_the_actor() -> None:
    """The past is carried on, and the short last segment counts less. The critic's gradients stay in their step."""
    everyone = torch.arange(TRIALS)
    learner, cut = ppo(), ppo(segment=4)
    batch = assessed(learner)
    torch.testing.assert_close(cut.backward(batch, everyone, 0.01), learner.backward(batch, everyone, 0.01))
    torch.testing.assert_close(flat_gradient(cut.critic), flat_gradient(learner.critic))
    assert not torch.allclose(flat_gradient(cut.actor), flat_gradient(learner.actor))


def test_single_steps_teach_the_critic_what_whole_trials_teach_it() -> None:
    """Parts of steps in any order add up to the gradients of whole trials, and leave the actor alone."""
    learner, single = ppo(), ppo()
    batch = assessed(learner)
    value_loss, memory = learner.backward(batch, torch.arange(TRIALS), 0.01)[1], single.memory_outputs(batch.context)
    parts = torch.randperm(6 * TRIALS, generator=seeding.generator(0)).chunk(4)
    measured = torch.stack([single.backward_critic(batch, memory, part) for part in parts])
    torch.testing.assert_close(measured.mean(), value_loss)
    torch.testing.assert_close(flat_gradient(single.critic) / 4, flat_gradient(learner.critic))
    assert measured.std() > 1e-3
    assert all(p.grad is None for p in single.actor.parameters())


def test_labels_are_imitated_whatever_was_rewarded() -> None:
    """The policy loss is the cross-entropy to the expert_labels: all of it on arm 2."""
    learner = ppo()
    expert_labels = torch.tensor([0.0, 0.0, 1.0]).expand(TRIALS, 6, 3)
    batch = assessed(learner, expert_labels)
    _, parameters, _ = learner.actor(batch.context)
    expected = -learner.actor.head.log_prob(parameters, torch.full((TRIALS, 6), 2)).mean()
    policy_loss = learner.backward(batch, torch.arange(TRIALS), 0.0)[0]
    torch.testing.assert_close(policy_loss, expected.detach())


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_gradient_that_is_not_finite_reaches_no_parameter_and_is_told(value: float) -> None:
    """Of a loss that is finite: its derivative overflowed."""
    agent = metarl.agents.RL2(
        BANDIT, metarl.agents.RL2Options(memory="gru", width=8, batch_steps=48, num_minibatches=2), device="cpu"
    )
    weight: Any = agent.actor.output.weight
    weight.register_hook(lambda gradient: torch.full_like(gradient, value))
    with pytest.raises(FloatingPointError, match="losses are not finite"):
        agent.learn(48)
    assert all(p.isfinite().all() for p in agent.actor.parameters())
