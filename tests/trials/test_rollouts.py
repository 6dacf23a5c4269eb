from dataclasses import replace

import pytest
import torch

import metarl
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.trials.rollouts import check_finite, collect
from metarl.trials.trajectories import Trajectories


def test_what_is_not_finite_is_named_with_environment_step_and_task(device: str) -> None:
    tasks = metarl.make("point-navigation").tasks(goal=[[0.25, 0.5], [0.5, 0.25]]).to(device)
    numbers, ends = torch.zeros(2, 3, device=device), torch.zeros(2, 3, dtype=torch.bool, device=device)
    sound = Trajectories(
        tasks,
        torch.zeros(2, 3, 2, device=device),
        numbers,
        numbers,
        ends,
        ends,
        numbers,
        torch.zeros(2, 2, device=device),
    )
    check_finite(sound)
    rewards, observations = numbers.clone(), sound.observations.clone()
    rewards[1, 2], observations[1, 0, 1] = torch.inf, torch.nan
    where = r"environment 1, in the task {'goal': \[\[0.5, 0.25\]\]}"
    with pytest.raises(ValueError, match=rf"gave reward inf at step 2 of {where}"):
        check_finite(replace(sound, rewards=rewards))
    with pytest.raises(ValueError, match=rf"gave observation \[0.0, nan\] at step 0 of {where}"):
        check_finite(replace(sound, rewards=rewards, observations=observations))


def test_one_episode_of_each_is_the_start_of_a_long_rollout() -> None:
    """It stops at the step at which the last environment ends its first episode."""
    family = metarl.make("frozen-lake")
    agent = RL2(family, RL2Options(memory="gru", width=8, num_layers=1), device="cpu")
    rollouts = []
    for one_episode in (True, False):
        env = family.vector_env(3)
        env.set_tasks(family.sample(3, torch.Generator().manual_seed(0)))
        policy = agent.policy(3, deterministic=False)
        rollouts.append(collect(policy, env, family.horizon, seed=0, one_episode=one_episode))
    short, long = rollouts
    steps = short.num_steps
    assert steps < family.horizon
    assert long.dones[:, :steps].any(1).all()
    assert not long.dones[:, : steps - 1].any(1).all()
    assert torch.equal(short.actions, long.actions[:, :steps])
    assert torch.equal(short.next_observation, long.observations[:, steps])
