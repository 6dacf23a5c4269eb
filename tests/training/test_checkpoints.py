from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from metarl.training.checkpoints import (
    adam_state,
    check_tensors,
    load_adam_state,
    load_checkpoint,
    pack,
    packed,
    save_checkpoint,
    unpack,
)


def test_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "step": torch.tensor(3, dtype=torch.int64)}
    save_checkpoint(tmp_path / "new" / "c.safetensors", tensors, {"agent": "x", "numbers": [1, 2]})
    loaded, description = load_checkpoint(tmp_path / "new" / "c.safetensors")
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert description["agent"] == "x"
    assert description["numbers"] == [1, 2]


def test_a_failed_save_leaves_the_last_checkpoint_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.ones(2)}, {})

    def full_disk(*arguments: object) -> None:
        Path(str(arguments[1])).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("metarl.training.checkpoints.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {"a": torch.zeros(2)}, {})
    assert torch.equal(load_checkpoint(path)[0]["a"], torch.ones(2))
    assert [file.name for file in tmp_path.iterdir()] == ["c.safetensors"]


def test_what_is_not_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint here"):
        load_checkpoint(tmp_path / "absent")
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.ones(1000)}, {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged"):
        load_checkpoint(path)
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="not a metarl checkpoint"):
        load_checkpoint(path)
    save_file({"a": torch.ones(2)}, path, {"metarl": '{"format": 99}'})
    with pytest.raises(ValueError, match="format 99"):
        load_checkpoint(path)


def test_differences_are_named() -> None:
    given = {"a": torch.ones(2), "b": torch.ones(3)}
    expected = {"a": torch.ones(4), "c": torch.ones(3)}
    with pytest.raises(ValueError, match=r"here .* missing c; unknown b; a is \(2,\), expected \(4,\)"):
        check_tensors("here", given, expected)


def test_adam_goes_on_exactly() -> None:
    def made() -> tuple[torch.nn.Parameter, torch.optim.Adam]:
        parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        return parameter, torch.optim.Adam([parameter], lr=0.1, fused=True)

    def step(parameter: torch.nn.Parameter, optimiser: torch.optim.Adam) -> None:
        optimiser.zero_grad()
        parameter.square().sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    parameter, optimiser = made()
    fresh = adam_state(optimiser)
    step(parameter, optimiser)
    assert adam_state(optimiser).keys() == fresh.keys()
    copy, copied = made()
    copy.data.copy_(parameter.data)
    load_adam_state(copied, adam_state(optimiser))
    step(parameter, optimiser)
    step(copy, copied)
    assert torch.equal(parameter, copy)


def test_modules_are_packed_by_name_and_unpacked() -> None:
    """A name that begins like another's, and one that stands inside, belong to neither."""
    policy, policy_2 = torch.nn.Sequential(torch.nn.Linear(2, 1)), torch.nn.Linear(1, 1)
    state = pack(policy=policy, policy_2=policy_2) | {"no.policy.bias": torch.zeros(1)}
    assert list(state) == ["policy.0.weight", "policy.0.bias", "policy_2.weight", "policy_2.bias", "no.policy.bias"]
    assert list(packed(state, "policy")) == ["0.weight", "0.bias"]
    layer, other_2 = torch.nn.Linear(2, 1), torch.nn.Linear(1, 1)
    unpack(state, policy=torch.nn.Sequential(layer), policy_2=other_2)
    assert torch.equal(layer.weight, state["policy.0.weight"])
    assert torch.equal(other_2.bias, policy_2.bias)
