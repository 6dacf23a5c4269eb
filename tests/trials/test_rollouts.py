from dataclasses import replace

import pytest
import torch

import metarl
from metarl.trials.rollouts import check_finite
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
