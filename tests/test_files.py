"""A file is the old one or the new one, whole, at every moment; and once written it is on the disk."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from metarl.files import replacement, write_atomically
from metarl.training.checkpoints import load_checkpoint, save_checkpoint

OLD, NEW = torch.zeros(1000), torch.ones(2000)


def save(path: Path, value: torch.Tensor) -> None:
    save_checkpoint(path, {"a": value}, {})


def write(path: Path, value: torch.Tensor) -> None:
    write_atomically(path, value.numpy().tobytes())


WRITERS = pytest.mark.parametrize("writer", [save, write], ids=["checkpoint", "text"])


@WRITERS
def test_a_reader_of_the_old_file_reads_it_to_its_end(writer: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "file"
    writer(path, OLD)
    before = path.read_bytes()
    with path.open("rb") as reader:
        half = reader.read(len(before) // 2)
        writer(path, NEW)
        assert half + reader.read() == before
    assert path.read_bytes() != before


@WRITERS
def test_the_new_file_is_whole_and_on_the_disk_before_it_takes_the_name(
    writer: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between any two steps meets a whole file: the disk has the bytes, then the name, then the folder."""
    path = tmp_path / "file"
    writer(tmp_path / "expected", NEW)
    writer(path, OLD)
    steps: list[tuple[str, int]] = []
    fsync, rename = os.fsync, os.replace

    def flush(handle: int) -> None:
        steps.append(("flush", os.fstat(handle).st_ino))
        fsync(handle)

    def replace(source: Any, target: Any) -> None:
        assert Path(source).read_bytes() == (tmp_path / "expected").read_bytes()
        steps.append(("rename", os.stat(source).st_ino))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", replace)
    writer(path, NEW)
    new, folder = path.stat().st_ino, tmp_path.stat().st_ino
    assert steps == [("flush", new), ("rename", new), ("flush", folder)]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_before_the_rename_leaves_the_last_checkpoint(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "file", OLD)

    def crash(*arguments: object) -> None:
        raise OSError("the power is gone")

    monkeypatch.setattr(os, step, crash)
    with pytest.raises(OSError, match="power"):
        save(tmp_path / "file", NEW)
    assert torch.equal(load_checkpoint(tmp_path / "file")[0]["a"], OLD)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_whatever_stops_the_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    with replacement(path) as file:
        file.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacement(path) as file:  # noqa: PT012 - it stops in the middle
        file.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]
