import pytest
import torch

import metarl
from metarl.trials.trajectories import Trajectories


def test_the_mean_episode_return_leaves_out_what_did_not_end() -> None:
    tasks = metarl.make("bernoulli-bandit").sample(2, torch.Generator().manual_seed(0))
    rewards = torch.tensor([[1.0, 2.0, 4.0, 8.0], [1.0, 1.0, 1.0, 1.0]])
    terminated = torch.tensor([[0, 1, 0, 0], [0, 0, 0, 0]]).bool()
    truncated = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 1]]).bool()
    unused = torch.zeros(2, 4)
    trajectories = Trajectories(tasks, unused, unused, rewards, terminated, truncated, unused, unused[:, 0])
    assert trajectories.mean_episode_return() == pytest.approx((3 + 4 + 4) / 3)
