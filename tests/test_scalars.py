"""Numbers of numpy and torch in options, seeds and evaluations are numbers of Python once they are in."""

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import metarl
from metarl.agents import MAML, RL2, MAMLOptions, RandomPolicy, RL2Options
from metarl.scalars import python_scalar
from metarl.training.checkpoints import load_checkpoint


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.float32(0.1), 0.1),
        (np.float64(0.1), 0.1),
        (np.bool_(True), True),
        (np.array(4), 4),
        (torch.tensor(2.5), 2.5),
        (torch.tensor(7), 7),
        ((np.int64(1), (np.float32(0.3), "x")), (1, (0.3, "x"))),
        ("text", "text"),
        (None, None),
    ],
)
def test_a_number_is_pythons(value: Any, plain: Any) -> None:
    found = python_scalar(value)
    assert found == plain
    assert type(found) is type(plain)
    json.dumps(found)


@pytest.mark.parametrize("value", [np.zeros(3), [np.int64(1)], torch.zeros(2)])
def test_what_is_no_single_number_stays(value: Any) -> None:
    assert python_scalar(value) is value


def test_what_was_trained_with_numbers_of_numpy_is_saved_and_is_the_same(tmp_path: Path) -> None:
    family = metarl.make("bernoulli-bandit", arms=np.int64(3), pulls=torch.tensor(4))
    ours = RL2Options(
        memory="gru",
        width=np.int16(8),
        batch_steps=np.int64(48),
        num_minibatches=cast(Any, torch.tensor(2)),
        learning_rate=np.float32(1e-3),
        episodic_retrieval=cast(Any, np.bool_(False)),
    )
    plain = RL2Options(
        memory="gru", width=8, batch_steps=48, num_minibatches=2, learning_rate=1e-3, episodic_retrieval=False
    )
    assert ours == plain
    one = RL2(family, ours, seed=np.int64(5), device="cpu").learn(np.int64(48))
    other = RL2(metarl.make("bernoulli-bandit", arms=3, pulls=4), plain, seed=5, device="cpu").learn(48)
    assert all(torch.equal(a, b) for a, b in zip(one.state().values(), other.state().values(), strict=True))
    one.save(tmp_path / "agent.safetensors")
    description = load_checkpoint(tmp_path / "agent.safetensors")[1]
    assert description["seed"] == 5
    assert description["distribution"]["options"] == {"arms": 3, "pulls": 4}
    assert RL2.load(tmp_path / "agent.safetensors", "cpu").options == plain


def test_options_of_other_agents_take_them_too_and_keep_their_bounds() -> None:
    assert MAMLOptions(inner_lr=(np.float32(0.1), 0.05), inner_steps=np.int64(2)).inner_lr == (0.1, 0.05)
    with pytest.raises(ValueError, match="width must be an integer at least 1, got 0"):
        RL2Options(width=np.int64(0))
    with pytest.raises(ValueError, match="width must be an integer"):
        RL2Options(width=np.float64(2.5))


def test_an_evaluation_by_numbers_of_numpy_is_saved(tmp_path: Path) -> None:
    family = metarl.make("bernoulli-bandit", arms=np.int64(2), pulls=3)
    policy = RandomPolicy(family, np.int64(4))
    result = metarl.evaluate(policy, family, num_tasks=np.int32(4), seed=np.int64(2))
    result.save(tmp_path / "result.json")
    fields = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert fields["seed"] == 2
    assert fields["options"]["arms"] == 2
    same = metarl.evaluate(RandomPolicy(family, 4), family, num_tasks=4, seed=2)
    assert (same.returns == result.returns).all()


@pytest.mark.parametrize("agent", [RL2, MAML])
def test_another_default_dtype_is_refused_with_what_to_do(agent: Any) -> None:
    family = metarl.make("bernoulli-bandit", arms=2, pulls=3)
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(ValueError, match=r"default dtype is torch.float64: call torch.set_default_dtype"):
            agent(family, device="cpu")
    finally:
        torch.set_default_dtype(torch.float32)
