"""Training that goes on: more steps, another family of the same spaces, and environments that are closed in between."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from small_agents import KINDS, small_agent

import metarl
from metarl.agents import MAML, RL2, MAMLOptions, RL2Options


class Rig(gymnasium.Env[Any, Any]):
    """A simulator that stays open until it is closed."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(3)
    open_rigs = 0

    def __init__(self, load: float = 0.0, drag: float = 0.0) -> None:
        self.load, self.drag = load, drag
        Rig.open_rigs += 1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        seen = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return seen, self.load * float(action) - self.drag, False, False, {}

    def close(self) -> None:
        Rig.open_rigs -= 1


def rigs(name: str = "rig-v1", **parameters: Any) -> Any:
    return metarl.from_gym(Rig, parameters or {"load": (-1.0, 1.0)}, max_episode_steps=4, num_episodes=2, name=name)


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_training_opens_is_closed_at_its_end_and_opened_again_for_more(kind: str) -> None:
    Rig.open_rigs = 0
    agent = small_agent(kind, rigs(), 64).learn(64)
    assert Rig.open_rigs == 0
    assert agent.get_env() is None
    updates = agent.updates
    agent.learn(64, reset_num_timesteps=False)
    assert agent.updates > updates
    assert Rig.open_rigs == 0


@pytest.mark.parametrize("kind", KINDS)
def test_environments_are_closed_where_training_fails(kind: str) -> None:
    def stop(_locals: Any, _globals: Any) -> bool:
        raise KeyError("stop")

    Rig.open_rigs = 0
    with pytest.raises(KeyError, match="stop"):
        small_agent(kind, rigs(), 64).learn(64, callback=stop)
    assert Rig.open_rigs == 0


def test_trials_that_grow_leave_nothing_open() -> None:
    Rig.open_rigs = 0
    family = metarl.from_gym(Rig, {"load": (-1.0, 1.0)}, max_episode_steps=4, num_episodes=4)
    small_agent("rl2", family, 64).learn(256)
    assert Rig.open_rigs == 0


@pytest.mark.parametrize("kind", KINDS)
def test_learning_on_counts_as_in_stable_baselines3(kind: str) -> None:
    agent = small_agent(kind, rigs(), 64).learn(64)
    steps, updates = agent.num_timesteps, agent.updates
    with pytest.warns(UserWarning, match=rf"trained for {steps} steps already.*reset_num_timesteps=False"):
        agent.learn(steps)
    assert agent.updates == updates
    agent.learn(10, reset_num_timesteps=False)
    assert agent.updates == updates + 1
    assert agent.num_timesteps > steps
    agent.learn(steps, reset_num_timesteps=True)
    assert agent.num_timesteps >= steps
    assert agent.updates > updates + 1


def test_a_new_count_begins_schedules_anew_and_a_longer_one_stretches_them() -> None:
    def rates(**how: Any) -> list[float]:
        agent = small_agent("rl2", rigs(), 64).learn(128)
        seen: list[float] = []
        step = agent.train_step

        def noted(done: float, on_step: Any) -> Any:
            seen.append(done)
            return step(done, on_step)

        agent.train_step = noted
        agent.learn(128, **how)
        return seen

    assert rates(reset_num_timesteps=True) == [0.0, 0.5]
    assert rates(reset_num_timesteps=False) == [0.5, 0.75]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parameters", [{"load": (-3.0, 5.0)}, {"load": (-1.0, 1.0), "drag": (0.0, 0.5)}])
def test_an_agent_goes_on_in_another_family_of_the_same_spaces(kind: str, parameters: Any, tmp_path: Path) -> None:
    agent, other = small_agent(kind, rigs(), 64).learn(64), rigs("other-rig-v1", **parameters)
    new = agent.transfer(other)
    assert new.distribution is other
    assert new.num_timesteps == 0
    before, after = agent.state(), new.state()
    changed = {name for name in before if before[name].shape != after[name].shape}
    changed |= {name for name in before if name not in changed and not torch.equal(before[name], after[name])}
    assert all(name.startswith(("critic.task", "adam.")) for name in changed)
    assert bool(changed) == (kind == "rl2")
    new.learn(64)
    assert metarl.evaluate(new.policy(2), other, num_tasks=2, num_episodes=1).returns.shape == (2, 1)
    assert all(torch.equal(x, y) for x, y in zip(before.values(), agent.state().values(), strict=True))
    agent.save(tmp_path / "agent")
    with pytest.warns(UserWarning, match=r"was trained on rig-v1, and goes on in other-rig-v1"):
        loaded = type(agent).load(tmp_path / "agent", "cpu", other)
    assert loaded.num_timesteps == agent.num_timesteps
    if "drag" in parameters:  # one parameter more, and the same name
        with pytest.warns(UserWarning, match="goes on in rig-v1 with its own task parameters"):
            type(agent).load(tmp_path / "agent", "cpu", rigs(**parameters))


def test_an_agent_does_not_go_on_in_other_spaces() -> None:
    agent = small_agent("rl2", rigs(), 64)
    with pytest.raises(ValueError, match=r"the observation space of rig-v1 is Box.*, that of bernoulli-bandit-v1 Box"):
        agent.transfer(metarl.make("bernoulli-bandit", arms=3))


@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_the_number_of_environments_is_an_option_and_their_trials_are_a_batch(num_envs: int) -> None:
    family = rigs()
    most: list[int] = []

    def note(variables: Any, _globals: Any) -> None:
        most.append(variables["self"].get_env().num_envs)

    options = RL2Options(
        memory="gru",
        width=8,
        n_epochs=1,
        critic_epochs=0,
        batch_steps=96,
        num_minibatches=2,
        num_envs=num_envs,
        trial_curriculum=0.0,
    )
    agent = RL2(family, options, device="cpu").learn(96, callback=note)
    assert max(most) <= num_envs
    assert 96 <= agent.num_timesteps <= 96 + 8 * num_envs  # 12 trials of 8 steps, in rounds


@pytest.mark.parametrize(("num_envs", "opened"), [(1, 3), (7, 6), (9, 9), (100, 18)])
def test_maml_plays_its_tasks_in_groups_that_fit(num_envs: int, opened: int) -> None:
    """Six tasks of three rollouts; all rollouts of a task are together, and groups are of one size."""
    seen: list[int] = []
    options = MAMLOptions(
        width=8, meta_batch_size=6, rollouts_per_task=3, num_envs=num_envs, outer="policy-gradient", inner_steps=1
    )

    def note(_locals: Any, _globals: Any) -> None:
        seen.append(Rig.open_rigs)

    Rig.open_rigs = 0
    agent = MAML(rigs(), options, device="cpu").learn(1, callback=note)
    assert set(seen) == {opened}
    assert agent.num_timesteps == 2 * 6 * 3 * 4  # before and after the inner step, each episode of four steps
    assert Rig.open_rigs == 0


def test_trajectories_of_groups_are_those_of_all_tasks() -> None:
    from metarl.tasks.batch import Tasks
    from metarl.trials.trajectories import Trajectories

    def part(count: int, steps: int, value: float) -> Trajectories:
        tasks = Tasks({"k": torch.full((count,), value)}, spaces.Dict({"k": spaces.Box(0, 9, ())}))
        x, end = torch.full((count, steps), value), torch.zeros(count, steps, dtype=torch.bool)
        end[:, -1] = True
        return Trajectories(tasks, x[..., None], x, x, end, ~end, x, torch.full((count, 1), value))

    whole = Trajectories.joined([part(2, 3, 1.0), part(1, 5, 2.0)])
    assert whole.tasks["k"].tolist() == [1, 1, 2]
    assert whole.rewards.tolist() == [[1, 1, 1, 0, 0]] * 2 + [[2] * 5]
    assert whole.terminated.tolist() == [[False, False, True, False, False]] * 2 + [[False] * 4 + [True]]
    assert not whole.dones[:2, 3:].any()
    assert whole.observations.shape == (3, 5, 1)
    assert whole.next_observation.flatten().tolist() == [1, 1, 2]


def test_families_of_simulators_open_no_more_than_they_say() -> None:
    Rig.open_rigs = 0
    seen: list[int] = []
    family = metarl.from_gym(Rig, {"load": (-1.0, 1.0)}, max_episode_steps=1, num_episodes=1)

    def note(_locals: Any, _globals: Any) -> None:
        seen.append(Rig.open_rigs)

    options = RL2Options(memory="gru", width=8, batch_steps=600, n_epochs=1, critic_epochs=0, trial_curriculum=0.0)
    assert RL2(family, options, device="cpu").learn(1, callback=note).num_timesteps == 600
    assert max(seen) == 200  # 600 trials in three rounds


def test_a_batch_of_long_trials_is_not_many_times_what_was_asked_for() -> None:
    family = metarl.from_gym(Rig, {"load": (-1.0, 1.0)}, max_episode_steps=60, num_episodes=1)
    options = RL2Options(memory="gru", width=8, batch_steps=10, n_epochs=1, critic_epochs=0, episodic_retrieval=False)
    assert RL2(family, options, device="cpu").learn(1).num_timesteps == 120  # two trials, not one for each minibatch
