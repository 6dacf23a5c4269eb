"""Dark key-to-door: what is paid when, by hand, and the return of a known layout, counted and played."""

from itertools import product

import numpy as np
import pytest
import torch

import metarl
from metarl.agents.classical.key_to_door import KnownKeyAndDoor
from metarl.envs.dark_key_to_door import DarkKeyToDoor
from metarl.evaluation.evaluator import evaluate

AD, AMAGO = DarkKeyToDoor(), DarkKeyToDoor("amago")
STAY, UP, RIGHT, DOWN, LEFT = range(5)


def test_the_door_opens_with_the_key_only(device: str) -> None:
    """From the centre (4, 4): the door at (4, 5), the key at (5, 4)."""
    env = AD.vector_env(1, device)
    env.set_tasks(AD.tasks(key=[[5, 4]], door=[[4, 5]]))
    assert env.reset(seed=0)[0].tolist() == [40]
    way = [(UP, 41, 0), (STAY, 41, 0), (DOWN, 40, 0), (RIGHT, 49, 1), (STAY, 49, 0), (LEFT, 40, 0)]
    for action, cell, expected in way:
        seen, reward, terminated, *_ = env.step(torch.tensor([action], device=device))
        assert (seen.item(), reward.item(), terminated.item()) == (cell, expected, False)
    seen, reward, terminated, _, info = env.step(torch.tensor([UP], device=device))
    assert (seen.item(), reward.item(), terminated.item()) == (40, 1, True)
    assert info["final_obs"].item() == 41


def test_a_search_begins_anew_after_the_door() -> None:
    """Start (0, 0), key (1, 0) and door (1, 1): three steps and the way back, for 500 steps."""
    env = AMAGO.vector_env(1)
    env.set_tasks(AMAGO.tasks(key=[[1, 0]], door=[[1, 1]], start=[[0, 0]]))
    env.reset(seed=0)
    rewards, cells = [], []
    for step in range(500):
        seen, reward, terminated, truncated, _ = env.step(torch.tensor([[RIGHT, UP, STAY][step % 3]]))
        rewards.append(reward.item())
        cells.append(seen.item())
        assert not terminated
        assert truncated.item() == (step == 499)
    assert cells[:6] == [8, 9, 0, 8, 9, 0]
    assert rewards == ([1.0, 1.0, 0.0] * 167)[:500]


def test_the_return_of_a_known_layout() -> None:
    """The doors of AMAGO by another count, over all starts, keys and doors (a simulation had 49.19)."""
    assert AD.known_layout_return() == 2.0
    assert AD.optimal_return().total == 20.0
    assert AD.optimal_return().kind == "bound"
    cells = np.array(list(product(range(8), repeat=2)))
    steps = np.maximum(np.abs(cells[:, None] - cells[None]).sum(-1), 1)
    around = steps[:, :, None] + steps[None] + 1
    doors = (501 // around).mean()  # the last way back may be missing
    keys = ((500 + around - steps[:, :, None]) // around).mean()
    assert doors == pytest.approx(49.16, abs=0.005)
    assert AMAGO.known_layout_return() == pytest.approx(doors + keys)


@pytest.mark.parametrize(("family", "tasks"), [(AD, 300), (AMAGO, 64)], ids=["ad", "amago"])
def test_who_knows_the_layout_gets_it(family: DarkKeyToDoor, tasks: int) -> None:
    result = evaluate(KnownKeyAndDoor(family, tasks), family.split("test"), tasks)
    if family is AD:
        assert result.totals.tolist() == [20.0] * tasks
    error = result.totals.std() / tasks**0.5
    assert abs(result.totals.mean() - family.optimal_return().total) <= 4 * error
    assert family.expert(1) is None


def test_key_and_door_in_one_cell_take_two_steps() -> None:
    env = AD.vector_env(1)
    env.set_tasks(AD.tasks(key=[[4, 4]], door=[[4, 4]]))
    env.reset(seed=0)
    steps = [env.step(torch.tensor([STAY])) for _ in range(2)]
    assert [step[1].item() for step in steps] == [1, 1]
    assert [step[2].item() for step in steps] == [False, True]


def test_options_and_limits() -> None:
    assert (AD.num_episodes, AMAGO.num_episodes) == (10, 1)
    near = AMAGO.where(start=(0, 0), key=(0, 0), door=(0, 0))
    assert isinstance(near, DarkKeyToDoor)
    assert near.known_layout_return() == pytest.approx(167 + 167)
    with pytest.raises(ValueError, match="need variant 'ad' or 'amago', got '9x9'"):
        metarl.make("dark-key-to-door", variant="9x9")
    with pytest.raises(ValueError, match="no cell of the key"):
        AD.where(key=(0.2, 0.8)).sample(1, metarl.seeding.generator(0))
