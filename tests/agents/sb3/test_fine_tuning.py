"""Fine-tuning with Stable-Baselines3's PPO: its own rollouts and updates, one network a task, exact resume."""

import dataclasses
import functools
import itertools
from pathlib import Path
from typing import Any, cast, final

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.vec_env import VecEnvWrapper
from torch import Tensor

import metarl
from metarl.adaptation.stacked import Stacked
from metarl.agents.sb3.fine_tuned_policy import FineTunedPolicy, Transitions, fill_rollout
from metarl.agents.sb3.fine_tuning import FineTuning, FineTuningOptions
from metarl.contracts.clauses import untouched_by
from metarl.engines.gym_tasks import GymTasks
from metarl.evaluation.evaluator import evaluate
from metarl.priors import Integers
from metarl.sb3 import TaskVecEnv
from metarl.seeding import borrowed_randomness
from metarl.tasks.policies import Transition
from metarl.testing import check_agent
from metarl.trials.player import play

SETTINGS: dict[str, dict[str, Any]] = {
    "all": {},
    "head": {"adapted_parameters": "head"},
    "scratch": {"pretrained": False},
}


def made(name: str = "grid-navigation", seed: int = 3, device: str = "cpu", **options: Any) -> FineTuning:
    small = FineTuningOptions(
        width=8, num_tasks=4, batch_steps=120, num_minibatches=4, n_epochs=2, episodes_per_update=1, updates_per_trial=2
    )
    return FineTuning(metarl.make(name), dataclasses.replace(small, **options), seed=seed, device=device)


def lived(policy: FineTunedPolicy, steps: int, rewards: Tensor) -> Stacked:
    """The state after one trial in grid-navigation of tasks that pay `rewards` [N] whatever one does."""
    policy.begin()
    cell = torch.zeros(policy.num_tasks, dtype=torch.int64)
    never = torch.zeros(policy.num_tasks, dtype=torch.bool)
    for step in range(1, steps + 1):
        action = policy.act(cell)
        policy.observe(Transition(cell, action, rewards * action, never, never | (step % 15 == 0), cell + 1))
        cell = torch.full_like(cell, step % 15)
    return {name: x.clone() for name, x in policy.state.items()}


@pytest.mark.parametrize("setting", SETTINGS)
def test_policy_keeps_the_contract(setting: str, device: str) -> None:
    agent = made(device=device, n_epochs=1, **SETTINGS[setting])
    check_agent(agent, agent.distribution)


@pytest.mark.parametrize("family", ["bernoulli-bandit", "sparse-point-navigation"])
def test_policy_keeps_the_contract_in_other_families(family: str) -> None:
    check_agent(made(family, n_epochs=1), metarl.make(family))


def test_policy_keeps_the_contract_in_any_gymnasium_environment(user_project: Path) -> None:
    check_agent(made("drift_family:drift", n_epochs=1), metarl.make("drift_family:drift"))


@final
class Recorder(VecEnvWrapper):
    """Keeps what one environment gives, before Stable-Baselines3 adds to it."""

    def __init__(self, env: TaskVecEnv) -> None:
        super().__init__(env)
        self.rows: list[tuple[float, bool, bool, np.ndarray]] = []  # reward, terminated, truncated, next observation

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        observation, reward, done, infos = outcome = cast(Any, self.venv.step_wait())
        truncated = infos[0]["TimeLimit.truncated"]
        last = infos[0].get("terminal_observation", observation[0])
        self.rows.append((float(reward[0]), bool(done[0] and not truncated), truncated, last))
        return outcome

    def transitions(self, buffer: RolloutBuffer) -> Transitions:
        """The same steps, with the observations and actions of the buffer, flattened by training."""
        columns = (torch.as_tensor(np.array(column)) for column in zip(*self.rows, strict=True))
        counted = (
            x[:, 0] if isinstance(space, spaces.Discrete) else x
            for x, space in ((buffer.observations, self.observation_space), (buffer.actions, self.action_space))
        )
        return Transitions(*map(torch.as_tensor, counted), *columns)


class Panel(gymnasium.Env[Any, Any]):
    """Levers to move, and the wanted position of each is the task; a right one pays 1."""

    def __init__(self, action_space: Any) -> None:
        self.action_space = action_space
        self.observation_space = spaces.Box(0, 1, action_space.shape, np.float32)
        self.wanted = np.zeros(action_space.shape)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(self.action_space.shape, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action)
        right = (action == self.wanted).astype(np.float32)
        return right, float(right.sum()), False, False, {}


def panels(action_space: Any, low: list[int], high: list[int]) -> GymTasks:
    return metarl.from_gym(
        functools.partial(Panel, action_space),
        {"wanted": Integers(np.array(low), np.array(high))},
        max_episode_steps=6,
        name="panels-v1",
        share_tasks=True,
    )


PANELS = {
    "choices": panels(spaces.MultiDiscrete([2, 4], start=[0, 7]), [0, 7], [1, 10]),
    "switches": panels(spaces.MultiBinary(3), [0, 0, 0], [1, 1, 1]),
}


@pytest.mark.parametrize("name", PANELS)
def test_several_actions_at_once_are_learned_in_each_task(name: str) -> None:
    family = PANELS[name]
    options = FineTuningOptions(
        width=16, num_tasks=4, batch_steps=96, num_minibatches=4, episodes_per_update=25, adaptation_rate=0.02
    )
    agent = FineTuning(family, options, seed=0, device="cpu").learn(96)
    returns = evaluate(agent.policy(2), family.split("test"), 2, 100).returns
    assert returns[:, -25:].mean() > returns[:, :25].mean() + 2  # after three updates


def test_policy_keeps_the_contract_with_several_switches() -> None:
    options = FineTuningOptions(width=8, num_tasks=4, batch_steps=96, n_epochs=1, episodes_per_update=2)
    check_agent(FineTuning(PANELS["switches"], options, device="cpu"), PANELS["switches"])


@pytest.mark.parametrize("name", ["grid-navigation", "point-navigation", "tabular-mdp", *PANELS])
def test_a_filled_rollout_equals_the_one_that_stable_baselines_collects(name: str) -> None:
    """Observations, actions, log-probabilities, values, advantages and returns, from whole episodes of one task."""
    distribution = PANELS[name] if name in PANELS else metarl.make(name)
    steps = 2 * distribution.horizon
    env = Recorder(TaskVecEnv(distribution, 1))
    with borrowed_randomness(0):
        collecting, filled = (PPO("MlpPolicy", env, n_steps=steps, batch_size=steps, device="cpu") for _ in range(2))
        filled.policy.load_state_dict(collecting.policy.state_dict())
        collecting.learn(steps)
    assert env.rows[-1][1] or env.rows[-1][2]
    collected = collecting.rollout_buffer
    fill_rollout(filled, env.transitions(collected))
    for column in ("observations", "actions", "values", "log_probs", "advantages", "returns"):
        again = getattr(filled.rollout_buffer, column)
        np.testing.assert_allclose(again.reshape(steps, -1), getattr(collected, column).reshape(steps, -1), 1e-4, 1e-5)


def test_the_ratio_is_1_at_the_first_gradient_step_of_an_update() -> None:
    policy = made("point-navigation", n_epochs=1, num_minibatches=1).policy(2)
    evaluate(policy, metarl.make("point-navigation"), 2, 2)
    logged = policy.model.logger.name_to_value
    assert abs(logged["train/approx_kl"]) < 1e-6
    assert logged["train/clip_fraction"] == 0


def test_frozen_layers_stay_bit_for_bit_and_the_others_learn() -> None:
    heads = {"policy.action_net.weight", "policy.action_net.bias", "policy.value_net.weight", "policy.value_net.bias"}
    for adapts, expected in (("head", heads), ("all", None)):
        agent = made(adapted_parameters=adapts)
        policy = agent.policy(3)
        after = lived(policy, 15, torch.ones(3))
        changed = {name for name, x in agent.state().items() if not torch.equal(x.expand_as(after[name]), after[name])}
        changed = {name for name in changed if name.startswith("policy.")}
        assert changed == (expected or {name for name in after if name.startswith("policy.")})


@pytest.mark.parametrize("setting", SETTINGS)
def test_tasks_do_not_influence_each_other(setting: str) -> None:
    policy = made(**SETTINGS[setting]).policy(3)
    some, others = (lived(made(**SETTINGS[setting]).policy(3), 30, torch.tensor([1.0, r, 1.0])) for r in (1.0, -5.0))
    for name, x in some.items():
        assert torch.equal(x[[0, 2]], others[name][[0, 2]])
    assert not torch.equal(some["policy.action_net.weight"][1], others["policy.action_net.weight"][1])
    again = lived(policy, 30, torch.tensor([1.0, 1.0, 1.0]))
    assert all(torch.equal(x, some[name]) for name, x in again.items())


def test_an_update_comes_after_every_few_episodes_up_to_the_last() -> None:
    agent = made(episodes_per_update=2, updates_per_trial=2)
    states = (lived(agent.policy(1), steps, torch.ones(1)) for steps in (29, 30, 59, 60, 90))
    weights = [state["policy.action_net.weight"] for state in states]
    assert [torch.equal(a, b) for a, b in itertools.pairwise(weights)] == [False, True, False, True]


def test_a_deterministic_policy_draws_actions_until_its_last_update() -> None:
    agent = made("point-navigation", updates_per_trial=1)
    here = torch.zeros(4, 2)
    for deterministic in (True, False):
        policy = agent.policy(4, deterministic)
        assert not torch.equal(policy.act(here), policy.act(here))
        evaluate(policy, agent.distribution, 4, 1)
        assert torch.equal(policy.act(here), policy.act(here)) is deterministic


def test_tasks_start_from_the_pretrained_network_with_a_new_optimiser_or_from_random_ones() -> None:
    agent = made().learn(240)
    start = agent.policy(3).state
    for name, x in agent.state().items():
        expected = x if name.startswith("policy.") else torch.zeros_like(x)
        assert torch.equal(start[name], expected.expand_as(start[name]))
    assert agent.state()["adam.0.step"] > 0
    scratch = made(pretrained=False)
    start, unlearned = scratch.policy(3, seed=5).state, scratch.learn(240).policy(4, seed=5).state
    weight = "policy.mlp_extractor.policy_net.0.weight"
    assert torch.equal(start[weight], unlearned[weight][:3])
    assert not torch.equal(start[weight][0], start[weight][1])
    assert not torch.equal(start[weight], scratch.policy(3, seed=6).state[weight])


@pytest.mark.parametrize("setting", SETTINGS)
def test_finds_the_better_arm_of_a_bandit(setting: str) -> None:
    """Arms that always and never pay, in either order; chance earns .5, and so does what pre-training can know."""
    bandit = metarl.make("bernoulli-bandit", arms=2, pulls=1)
    fast: dict[str, Any] = {
        "adaptation_rate": 0.02,
        "n_epochs": 8,
        "num_minibatches": 1,
        "width": 8,
        **SETTINGS[setting],
    }
    options = FineTuningOptions(episodes_per_update=32, updates_per_trial=4, **fast)
    agent = FineTuning(bandit, options, device="cpu")
    tasks = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    env = bandit.vector_env(2)
    env.set_tasks(bandit.tasks(means=tasks))
    rewards = torch.stack([moment.transition.reward for moment in play(agent.policy(2), env, 160, seed=0)], 1)
    assert rewards[:, :32].mean() < 0.75
    assert rewards[:, -32:].min() == 1


def test_pretraining_learns_what_all_tasks_share() -> None:
    bandit = metarl.make("bernoulli-bandit", arms=2).where(means=((0.8, 0.0), (1.0, 0.2)))
    options = FineTuningOptions(width=8, batch_steps=400, num_minibatches=4, learning_rate=1e-2)
    agent = FineTuning(bandit, options, device="cpu").learn(4000)
    result = evaluate(agent.policy(100), bandit.split("test"), 100, 10)
    assert result.returns.mean() > 0.85


@pytest.mark.parametrize("name", ["grid-navigation", "drift_family:drift"])
def test_same_seed_same_run_and_a_killed_run_resumes_to_the_same_weights(
    name: str, tmp_path: Path, user_project: Path
) -> None:
    whole, killed = made(name).learn(480), made(name)

    class Kill(BaseCallback):
        def _on_step(self) -> bool:
            if self.num_timesteps > 300:
                raise KeyboardInterrupt
            return True

    with pytest.raises(KeyboardInterrupt):
        killed.learn(480, callback=[CheckpointCallback(5, str(tmp_path)), Kill()])
    newest = max(tmp_path.glob("*.zip"), key=lambda file: int(file.stem.split("_")[-2]))
    resumed = metarl.load(newest, device="cpu", distribution=metarl.make(name)).learn(480)
    assert all(torch.equal(value, whole.state()[name]) for name, value in resumed.state().items())
    assert (resumed.num_timesteps, resumed.updates) == (whole.num_timesteps, whole.updates) == (480, 4)
    assert not torch.equal(
        made(name, seed=4).state()["policy.action_net.weight"], whole.state()["policy.action_net.weight"]
    )


def test_learning_leaves_global_random_state_alone() -> None:
    untouched_by(lambda: made().learn(240))


def test_returns_and_losses_are_logged() -> None:
    metrics = made().train_step(0.0, lambda env: None)
    assert -1.5 - 1e-5 <= metrics["rollout/ep_rew_mean"] <= 15
    assert {"train/approx_kl", "train/value_loss", "train/learning_rate"} <= metrics.keys()


def test_a_loss_that_is_not_finite_names_task_and_update() -> None:
    policy = made().policy(2)
    with pytest.raises(FloatingPointError, match="update 0 of task 1"):
        lived(policy, 15, torch.tensor([1.0, torch.inf]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adapted_parameters": "tail"}, "one of all, head, got 'tail'"),
        ({"episodes_per_update": 0}, "episodes_per_update must be an integer at least 1"),
        ({"updates_per_trial": -1}, "updates_per_trial"),
        ({"batch_steps": 15}, "batch_steps must be at least 2 for each minibatch, got 15"),
        ({"learning_rate": 0.0}, "learning_rate must be a number greater than 0"),
        ({"gamma": 1.5}, r"gamma must be a number in \[0, 1\]"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FineTuningOptions(**options)


def test_actions_that_ppo_cannot_take_are_refused() -> None:
    class Unbounded(gymnasium.Env[Any, Any]):
        observation_space = spaces.Box(-1, 1, (1,))
        action_space = spaces.Box(-np.inf, np.inf, (1,))

    family = GymTasks("unbounded-v1", make=Unbounded, parameters={"x": (0, 1)}, max_episode_steps=3)
    with pytest.raises(ValueError, match="takes a Box only if it is bounded; unbounded-v1 has"):
        FineTuning(family)
    with pytest.raises(ValueError, match="num_tasks must be at least 1, got 0"):
        made().policy(0)
