"""Files that a reader never sees half written."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a file whole or not at all, readable for everybody (see `metarl.files.replacement`)."""
    with replacement(path) as file:
        file.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        file.chmod(0o644)  # temporary files are private


@contextlib.contextmanager
def replacement(path: str | Path) -> Iterator[Path]:
    """A new file to write to in the folder of `path`, whose place it takes at the end, in one step.

    It is on the disk before the rename, and the rename is before the `with` ends: a reader, or a crash at any moment,
    meets the old file or the new one. Where something is raised, the old one stays. Makes the folder if there is none.
    Raises OSError if the folder cannot be written.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacement(f"{folder}/notes.txt") as file:
    ...         _ = file.write_text("whole")
    ...     Path(f"{folder}/notes.txt").read_text()
    'whole'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    try:
        yield Path(name)
        _flush(name)
        os.replace(name, target)
        if os.name == "posix":  # elsewhere folders cannot be opened
            _flush(target.parent)
    finally:
        Path(name).unlink(missing_ok=True)


def _flush(path: str | Path) -> None:
    """Wait until the disk has the file, or the names in the folder."""
    handle = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR)  # a writer's handle, where that matters
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
