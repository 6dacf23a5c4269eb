import json
from pathlib import Path
from typing import Any

import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EveryNTimesteps
from stable_baselines3.common.logger import configure

import metarl
from metarl import seeding
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.evaluation.evaluator import evaluate
from metarl.tasks.distribution import TaskDistribution
from metarl.testing import check_agent
from metarl.training.checkpoints import load_checkpoint
from metarl.training.teaching import Teaching
from metarl.trials.rollouts import collect

MEMORIES = ["transformer", "gru", "lstm"]
FAMILIES = ["bernoulli-bandit", "tabular-mdp", "grid-navigation", "point-navigation"]


def small(memory: str = "gru", **options: Any) -> RL2Options:
    defaults = {"memory": memory, "width": 16, "num_heads": 2, "batch_steps": 400, "num_minibatches": 2, "n_epochs": 2}
    defaults |= {"critic_epochs": 2, "critic_minibatches": 4}
    return RL2Options(**{**defaults, **options})


def made(memory: str = "gru", name: str = "bernoulli-bandit", device: str = "cpu", **options: Any) -> RL2:
    return RL2(metarl.make(name), small(memory, **options), seed=3, device=device)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("retrieval", [True, False])
def test_at_update_0_log_probabilities_equal_those_of_the_rollout(
    memory: str, name: str, retrieval: bool, device: str
) -> None:
    """Through the cache or the recurrent state step by step, and in one forward over whole trials; the ratio is 1."""
    agent = made(memory, name, device, window=12, episodic_retrieval=retrieval)
    env = agent.distribution.vector_env(5, device)
    env.set_tasks(agent.distribution.sample(5, seeding.generator(0)))
    trajectories = collect(agent.policy(5, deterministic=False), env, min(40, agent.trial_steps), seed=0)
    with torch.no_grad():
        _, parameters, _ = agent.actor(trajectories.context())
        again = agent.actor.head.log_prob(parameters, trajectories.actions)
    torch.testing.assert_close(again, trajectories.log_probs, rtol=1e-4, atol=1e-5)


def test_the_ratio_is_1_at_the_first_gradient_step_and_moves_after_it() -> None:
    first = made(n_epochs=1, num_minibatches=1, learning_rate=1e-2).train_step(0.5, lambda env: None)
    later = made(n_epochs=4, num_minibatches=2, learning_rate=1e-2).train_step(0.5, lambda env: None)
    assert abs(first["train/approx_kl"]) < 1e-7
    assert later["train/approx_kl"] > 1e-5


@pytest.mark.parametrize(
    ("critic_epochs", "trials", "moved"),
    [(3, 100, {"critic", "adam"}), (None, 99, {"critic", "adam"}), (None, 100, set())],
)
def test_epochs_of_the_critics_own_move_it_alone_and_are_the_default_where_trials_are_few(
    critic_epochs: int | None, trials: int, moved: set[str]
) -> None:
    states = []
    for epochs in (0, critic_epochs):
        agent = made(critic_epochs=epochs, batch_steps=10 * trials)
        agent.train_step(0.6, lambda env: None)
        states.append(agent.state())
    assert {name.split(".")[0] for name in states[0] if not torch.equal(states[0][name], states[1][name])} == moved


def test_losses_that_are_not_finite_end_training_and_leave_the_weights_alone() -> None:
    agent = made(learning_rate=1e-2)
    with torch.no_grad():
        agent.critic.time.weight.fill_(torch.inf)
    before = {name: value.clone() for name, value in agent.state().items()}
    with pytest.raises(FloatingPointError, match="update 0: losses are not finite"):
        agent.train_step(0.5, lambda env: None)
    assert all(torch.equal(value, before[name]) for name, value in agent.state().items() if name.startswith("actor."))


@pytest.mark.parametrize("memory", MEMORIES)
def test_gradients_of_one_segment_equal_those_of_whole_trials(memory: str) -> None:
    """Truncation at the trial's own length changes nothing; a shorter one changes only the gradient."""
    agents = [made(memory, bptt_steps=segment) for segment in (None, 10, 4)]
    for agent in agents:
        agent.learn(400)
    states = [agent.state() for agent in agents]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


@pytest.mark.parametrize("memory", MEMORIES)
def test_same_seed_same_run_and_a_killed_run_resumes_to_the_same_weights(memory: str, tmp_path: Path) -> None:
    whole, killed = made(memory).learn(1600), made(memory)

    class Kill(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps > 1000:
                raise KeyboardInterrupt
            return True

    with pytest.raises(KeyboardInterrupt):
        killed.learn(1600, callback=[CheckpointCallback(5, str(tmp_path)), Kill()])
    newest = max(tmp_path.glob("*.zip"), key=lambda file: int(file.stem.split("_")[-2]))
    resumed = metarl.load(newest, device="cpu").learn(1600)
    assert all(torch.equal(value, whole.state()[name]) for name, value in resumed.state().items())
    assert (resumed.num_timesteps, resumed.updates) == (whole.num_timesteps, whole.updates)
    other = RL2(metarl.make("bernoulli-bandit"), small(memory), seed=4, device="cpu").learn(1600)
    assert not torch.equal(other.actor.output.weight, whole.actor.output.weight)


def test_training_trials_are_no_longer_than_their_episodes_lately_took(tmp_path: Path) -> None:
    """A lake's five episodes of at most 100 steps are over much earlier; those of a grid always take their 15 steps."""
    lakes = made(name="frozen-lake", trial_curriculum=0.0)
    assert lakes.train_step(0.5, lambda env: None)["rollout/trial_len"] == 500
    lakes.save(tmp_path / "lakes")
    for agent in (lakes, RL2.load(tmp_path / "lakes", "cpu", lakes.distribution)):
        assert agent.train_step(0.5, lambda env: None)["rollout/trial_len"] == 100
    grids = made(name="grid-navigation", trial_curriculum=0.0, imitation_fraction=0.0)
    assert [grids.train_step(0.5, lambda env: None)["rollout/trial_len"] for _ in range(2)] == [60, 60]


def test_learning_leaves_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    made().learn(400)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("family", "options", "expected"),
    [
        ("grid-navigation", {}, Teaching("KnownGoal", 0.3, privileged_critic=True)),
        ("tabular-mdp", {"imitation_fraction": 1.0, "privileged_critic": False}, Teaching("KnownMDP", 1.0)),
        ("grid-navigation", {"imitation_fraction": 0.0}, Teaching(privileged_critic=True)),
        ("frozen-lake", {"privileged_critic": False}, Teaching()),
    ],
)
def test_an_agent_says_who_teaches_it(family: str, options: dict[str, Any], expected: Teaching, tmp_path: Path) -> None:
    agent = made(name=family, **options)
    assert agent.teaching == expected
    agent.save(tmp_path / "agent")
    assert Teaching(**load_checkpoint(tmp_path / "agent")[1]["teaching"]) == expected


def test_the_log_says_when_an_expert_is_imitated() -> None:
    agent = made(name="grid-navigation")
    assert [agent.train_step(progress, lambda env: None)["train/imitates"] for progress in (0.0, 0.29, 0.3)] == [
        1,
        1,
        0,
    ]


@pytest.mark.parametrize("memory", MEMORIES)
def test_policy_keeps_the_contract(memory: str) -> None:
    check_agent(made(memory), metarl.make("bernoulli-bandit"))


@pytest.mark.parametrize(("name", "draws"), [("bernoulli-bandit", False), ("point-navigation", True)])
def test_continuous_actions_are_drawn_unless_told_otherwise(name: str, draws: bool) -> None:
    family = metarl.make(name)
    agent = RL2(family, RL2Options(memory="gru", width=8), device="cpu")
    env = family.vector_env(20)
    env.set_tasks(family.sample(20, seeding.generator(0, "tasks")))
    first = env.reset(seed=0)[0]

    def differ(deterministic: bool | None) -> bool:
        one, other = (agent.policy(20, deterministic, seed=seed).act(first) for seed in (0, 1))
        return not torch.equal(one, other)

    assert [differ(choice) for choice in (None, True, False)] == [draws, False, True]


def test_after_a_soft_reset_the_policy_still_sees_how_the_episode_ended() -> None:
    agent = made(name="grid-navigation")
    env = agent.distribution.vector_env(3)
    env.set_tasks(agent.distribution.sample(3, seeding.generator(0)))
    context = collect(agent.policy(3, deterministic=False), env, 20, seed=0).context()
    assert context.previous_done[:, 15].tolist() == [1, 1, 1]
    assert (context.previous_reward[:, 15] != 0).all()
    assert (context.observation[:, 15] == 0).all()
    assert context.started[:, 0].sum() == 0


def test_callbacks_and_logger_of_stable_baselines_work_unchanged(tmp_path: Path) -> None:
    agent = made()
    agent.set_logger(configure(str(tmp_path), ["csv", "json"]))
    calls: list[int] = []

    def every(locals_: dict[str, Any], globals_: dict[str, Any]) -> bool:
        calls.append(agent.num_timesteps)
        return True

    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.num_timesteps < 1000

    keep = CheckpointCallback(save_freq=1, save_path=str(tmp_path))
    agent.learn(4000, callback=[EveryNTimesteps(400, keep), Stop()])
    assert agent.num_timesteps == 1200
    assert len(list(tmp_path.glob("rl_model_*_steps.zip"))) == 3
    agent.learn(1600, callback=every)
    assert calls[-1] == 1600
    agent.logger.close()
    rows = [json.loads(line) for line in (tmp_path / "progress.json").read_text().splitlines()]
    assert [row["time/total_timesteps"] for row in rows] == [400, 800, 1200, 1600]
    assert {"rollout/trial_rew_mean", "train/entropy_loss", "train/policy_gradient_loss"} <= rows[0].keys()


def test_checkpoints_of_something_else_are_refused(tmp_path: Path) -> None:
    agent = made()
    agent.save(tmp_path / "c")
    with pytest.raises(ValueError, match="does not fit this agent"):
        RL2.load(tmp_path / "c", distribution=metarl.make("grid-navigation"))
    with pytest.raises(ValueError, match="does not fit this agent"):
        RL2.load(tmp_path / "c", distribution=metarl.make("bernoulli-bandit", arms=3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "rnn"}, "one of transformer, gru, lstm"),
        ({"width": 0}, "width must be an integer at least 1"),
        ({"critic_epochs": -1}, "critic_epochs must be an integer at least 0 or None"),
        ({"critic_minibatches": 0}, "critic_minibatches must be an integer at least 1"),
        ({"bptt_steps": 0}, "bptt_steps"),
        ({"bf16": True, "memory": "gru"}, "bf16 needs memory='transformer', got 'gru'"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"gamma": 1.5}, "gamma"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RL2Options(**options)


def test_attention_can_be_read_for_every_step() -> None:
    agent = made("transformer")
    env = agent.distribution.vector_env(2)
    env.set_tasks(agent.distribution.sample(2, seeding.generator(0)))
    context = collect(agent.policy(2, deterministic=False), env, 10, seed=0).context()
    weights = agent.attention_weights(context)
    assert weights is not None
    assert weights.shape == (2, 1 + agent.options.num_layers, 2, 10, 10)
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    assert made("gru", episodic_retrieval=False).attention_weights(context) is None


@pytest.mark.parametrize("segment", [None, 4])
def test_in_bfloat16_the_ratio_at_the_first_step_is_1_to_its_precision(segment: int | None) -> None:
    """It acts in float32 and learns in bfloat16, which has 8 bits."""
    options: dict[str, Any] = {"n_epochs": 1, "num_minibatches": 1, "learning_rate": 1e-2, "bptt_steps": segment}
    exact, rounded = agents = [made("transformer", bf16=bf16, **options) for bf16 in (False, True)]
    for agent in agents:
        torch.nn.init.normal_(agent.actor.output.weight, generator=seeding.generator(0))  # logits of order one
    first = [agent.train_step(0.5, lambda env: None) for agent in agents]
    assert first[0]["train/approx_kl"] < 1e-7 < first[1]["train/approx_kl"] < 1e-3
    assert abs(first[1]["train/policy_gradient_loss"] - first[0]["train/policy_gradient_loss"]) < 1e-2
    states = [agent.state() for agent in (exact, rounded)]
    assert all(one.dtype == other.dtype for one, other in zip(states[0].values(), states[1].values(), strict=True))
    assert all(value.isfinite().all() for value in states[1].values())
    assert not all(torch.equal(value, states[1][name]) for name, value in states[0].items())


# bfloat16 is slow on a CPU, so it gets a smaller problem for its gradient steps
SOLVERS: dict[str, tuple[dict[str, Any], int]] = {
    "transformer": ({"memory": "transformer", "batch_steps": 6000}, 150_000),
    "gru": ({"memory": "gru", "batch_steps": 6000}, 150_000),
    "bf16": (
        {"memory": "transformer", "bf16": True, "episodic_retrieval": False, "batch_steps": 3000, "num_minibatches": 4},
        48_000,
    ),
}


@pytest.mark.parametrize(("options", "steps"), SOLVERS.values(), ids=SOLVERS)
def test_solves_a_bandit_of_two_arms(options: dict[str, Any], steps: int) -> None:
    """Optimum of 6 pulls of 2 arms: computed exactly; the untrained policy earns 3."""
    distribution: TaskDistribution = metarl.make("bernoulli-bandit", arms=2, pulls=6)
    optimum = distribution.optimal_return()
    assert optimum is not None
    agent = RL2(distribution, RL2Options(width=32, num_layers=1, **options), device="cpu")
    total = evaluate(agent.learn(steps).policy(4000), distribution.split("test"), 4000).returns.sum(1)
    assert total.mean() > 3 + 0.9 * (optimum.total - 3)
    assert total.mean() < optimum.total + 4 * total.std() / 4000**0.5


def test_episodes_without_reward_leave_some_that_count() -> None:
    assert made(name="tabular-mdp", unrewarded_episodes=9)._ppo._free_episodes == 9
    with pytest.raises(ValueError, match="fewer than the 10 episodes of a trial, or none counts; got 10"):
        made(name="tabular-mdp", unrewarded_episodes=10)
