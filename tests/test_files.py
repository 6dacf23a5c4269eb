"""A file is the old one or the new one, whole, at every moment; and once written it is on the disk."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from metarl.files import leftovers, replacement, write_atomically
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


@WRITERS
@pytest.mark.parametrize("umask", [0o077, 0o027, 0o022, 0o002])
def test_the_umask_says_who_may_read(writer: Callable[..., None], umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        writer(tmp_path / "file", OLD)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask


@WRITERS
def test_a_link_stays_a_link(writer: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "file")
    writer(tmp_path / "link", OLD)
    writer(tmp_path / "link", NEW)
    writer(tmp_path / "expected", NEW)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere" / "file").read_bytes() == (tmp_path / "expected").read_bytes()


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    ready, go_on = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with replacement(tmp_path / "file") as file:
            file.write_text("ha")
            os.write(ready[1], b".")
            os.read(go_on[0], 1)  # killed here
        os._exit(1)
    os.read(ready[0], 1)
    write_atomically(tmp_path / "other", "whole")
    write_atomically(tmp_path / "file", "whole")
    assert len(leftovers(tmp_path)) == 1  # its writer still lives
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    write_atomically(tmp_path / "other", "whole")
    assert len(leftovers(tmp_path)) == 1  # not of this file
    write_atomically(tmp_path / "file", "whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "other"]


def test_an_error_of_the_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*report\.html'"):
        write_atomically(tmp_path / "report.html", "text")
