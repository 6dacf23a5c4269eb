"""Random tabular MDPs: the prior, the dynamics, and the returns of random actions and of the known optimum."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from metarl.envs.tabular import TabularMDP
from metarl.seeding import generator

MDP = TabularMDP()


def test_the_prior_has_its_moments() -> None:
    tasks = MDP.sample(2000, generator(0))
    rewards, transitions = tasks["rewards"], tasks["transitions"]
    assert rewards.mean().item() == pytest.approx(1, abs=0.02)
    assert rewards.std().item() == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(transitions.sum(-1), torch.ones(2000, 10, 5))
    assert transitions.var().item() == pytest.approx(0.1 * 0.9 / 11, rel=0.02)  # of a uniform Dirichlet
    peaked = TabularMDP(split_name="ood").sample(2000, generator(0))["transitions"]
    assert peaked.var().item() == pytest.approx(0.1 * 0.9 / 2, rel=0.02)  # of Dirichlet(.1, ..., .1)


def test_rewards_and_successors_follow_the_task(device: str) -> None:
    """Two states, two actions: action 0 stays and pays 2 + noise, action 1 leads to state 1 in three of four cases."""
    mdp, count = TabularMDP(states=2, actions=2, max_episode_steps=3), 40_000
    transitions = [[[1.0, 0.0], [0.25, 0.75]], [[0.0, 1.0], [0.0, 1.0]]]
    tasks = mdp.tasks(rewards=[[[2.0, -1.0], [0.0, 4.0]]], transitions=[transitions]).repeat(count)
    env = mdp.vector_env(count, device)
    env.set_tasks(tasks)
    assert not env.reset(seed=0)[0].any()
    state, reward, *_ = env.step(torch.zeros(count, dtype=torch.int64, device=device))
    assert not state.any()
    assert reward.mean().item() == pytest.approx(2, abs=0.025)
    assert reward.std().item() == pytest.approx(1, abs=0.025)
    state, reward, *_ = env.step(torch.ones(count, dtype=torch.int64, device=device))
    assert reward.mean().item() == pytest.approx(-1, abs=0.025)
    assert state.float().mean().item() == pytest.approx(0.75, abs=0.012)
    _, reward, terminated, truncated, info = env.step(torch.ones(count, dtype=torch.int64, device=device))
    assert reward[state == 1].mean().item() == pytest.approx(4, abs=0.03)
    assert (info["final_obs"][state == 1] == 1).all()
    assert truncated.all()
    assert not terminated.any()


def test_random_actions_and_the_known_optimum(episode_returns: Callable[..., Tensor]) -> None:
    """10 per episode at random; 21.840 with the MDP known, by backward induction over the ten steps."""
    tasks, stream = MDP.sample(4000, generator(0)), generator(1)
    value, plan = torch.zeros(4000, 10), []
    for _ in range(10):
        q = tasks["rewards"] + torch.einsum("nsat,nt->nsa", tasks["transitions"], value)
        value, action = q.max(-1)
        plan.append(action)
    assert value[:, 0].mean().item() == pytest.approx(21.84, abs=4 * value[:, 0].std().item() / 4000**0.5)

    best = episode_returns(MDP, tasks, lambda state, env: plan.pop().gather(1, state[:, None])[:, 0])
    gap = best - value[:, 0]
    assert gap.mean().item() == pytest.approx(0, abs=4 * gap.std().item() / 4000**0.5)
    blind = episode_returns(MDP, tasks, lambda state, env: torch.randint(5, state.shape, generator=stream))
    assert blind.mean().item() == pytest.approx(10, abs=4 * blind.std().item() / 4000**0.5)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="states, actions >= 2"):
        TabularMDP(states=1)
    with pytest.raises(ValueError, match="rows of a simplex"):
        MDP.where(transitions=(0, 0.5))
    narrow = MDP.where(rewards=(0, 1)).sample(100, generator(0))["rewards"]
    assert narrow.min() >= 0
    assert narrow.max() <= 1
