"""Files that a reader never sees half written."""

import contextlib
import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write a file whole or not at all (see `metarl.files.replacement`)."""
    with replacement(path) as file:
        file.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextlib.contextmanager
def replacement(path: str | Path) -> Iterator[Path]:
    """A new file to write to in the folder of `path`, whose place it takes at the end, in one step.

    It is on the disk before the rename, and the rename is before the `with` ends: a reader, or a crash at any moment,
    meets the old file or the new one. Where something is raised, the old one stays. The umask says who may read it. A
    link stays a link, and what it leads to is replaced. Makes the folder if there is none, and removes what writers of
    the same file left that were killed. Raises OSError, which names the file, if it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacement(f"{folder}/notes.txt") as file:
    ...         _ = file.write_text("whole")
    ...     Path(f"{folder}/notes.txt").read_text()
    'whole'
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in leftovers(target.parent, target.name):
        _remove_unless_in_use(leftover)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    with _named(path), _in_use(temporary):
        yield temporary
        _flush(temporary)
        os.replace(temporary, target)
        if os.name == "posix":  # elsewhere folders cannot be opened
            _flush(target.parent)


def leftovers(folder: Path, name: str | None = None) -> list[Path]:
    """Unfinished files of `replacement` in a folder, of the file `name` or of any."""
    wanted = re.compile(rf"\.{'.+' if name is None else re.escape(name)}\.[0-9a-f]{{8}}\.part")
    return [file for file in folder.iterdir() if wanted.fullmatch(file.name)]


@contextlib.contextmanager
def _in_use(temporary: Path) -> Iterator[None]:
    """A new file that is locked as long as its writer lives, and gone at the end."""
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    try:
        if sys.platform == "win32":  # nobody may rename or remove an open file there
            os.close(handle)
        else:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        if sys.platform != "win32":
            os.close(handle)
        temporary.unlink(missing_ok=True)


def _remove_unless_in_use(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            temporary.unlink()
            return
        handle = os.open(temporary, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()
        finally:
            os.close(handle)


@contextlib.contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Errors of the operating system name this file: a full disk names none, others the unfinished one."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def _flush(path: Path) -> None:
    """Wait until the disk has the file, or the names in the folder."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)  # a writer's handle, where that matters
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
