import contextlib
import errno
import math
import os
import resource
from collections.abc import Iterator
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

OTHER_TYPES = (
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.bool,
    torch.uint8,
    torch.complex64,
)


@contextlib.contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """Inside, no file grows beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "step": torch.tensor(3, dtype=torch.int64)}
    save_checkpoint(tmp_path / "new" / "c.safetensors", tensors, {"agent": "x", "numbers": [1, 2]})
    loaded, description = load_checkpoint(tmp_path / "new" / "c.safetensors")
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert description["agent"] == "x"
    assert description["numbers"] == [1, 2]


def test_a_failed_save_leaves_the_last_checkpoint_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.ones(2)}, {})
    with no_room_beyond(10_000), pytest.raises(OSError, match=r"c\.safetensors'"):
        save_checkpoint(path, {"a": torch.zeros(10_000)}, {})
    assert torch.equal(load_checkpoint(path)[0]["a"], torch.ones(2))
    assert [file.name for file in tmp_path.iterdir()] == ["c.safetensors"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_of_somebody_else_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.ones(2)}, {})
    path.chmod(0)
    with pytest.raises(PermissionError, match=r"Permission denied: .*c\.safetensors"):
        load_checkpoint(path)


def test_an_error_of_the_disk_is_not_called_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.ones(2)}, {})

    def stale(*arguments: object, **options: object) -> bytes:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

    monkeypatch.setattr(Path, "read_bytes", stale)
    with pytest.raises(OSError, match=r"[Ss]tale"):
        load_checkpoint(path)


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


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """In the header as in the tensors."""
    path = tmp_path / "c.safetensors"
    save_checkpoint(path, {"a": torch.linspace(0, 1, 7), "b": torch.arange(3)}, {"agent": "x", "seed": 3})
    content, (tensors, description) = path.read_bytes(), load_checkpoint(path)
    harmless = 0
    for bit in range(0, 8 * len(content), 7):
        path.write_bytes(flipped(content, bit))
        try:
            loaded, said = load_checkpoint(path)
        except ValueError as error:
            assert str(error).startswith(str(path))  # noqa: PT017 - or nothing is raised
        else:  # such as an e of a number that became E
            harmless += 1
            assert said == description
            assert all(torch.equal(loaded[name], x) and loaded[name].dtype == x.dtype for name, x in tensors.items())
    assert harmless < 3


def test_a_checkpoint_of_the_format_before_is_read(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_file({"a": torch.ones(2)}, path, {"metarl": '{"format": 2}'})
    assert torch.equal(load_checkpoint(path)[0]["a"], torch.ones(2))
    save_file({"a": torch.ones(2)}, path, {"metarl": '{"format": 3}'})
    with pytest.raises(ValueError, match="checksum"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.tensor([1.0, math.nan]), "a is not finite"),
        (torch.tensor([1.0, -math.inf]), "a is not finite"),
        *((torch.ones(2).to(kind), f"a is {kind}") for kind in OTHER_TYPES),
    ],
    ids=str,
)
def test_what_cannot_be_learned_from_is_named(given: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=f"here does not fit this agent: {words}"):
        check_tensors("here", {"a": given}, {"a": torch.ones(2)})


@pytest.mark.parametrize("name", ["adam.0.exp_avg_sq", "adam.3.step"])
def test_what_adam_never_has_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is negative"):
        check_tensors("here", {name: -torch.ones(2)}, {name: torch.ones(2)})


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
