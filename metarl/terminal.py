"""What is said on a terminal. It may go at any moment, by a broken connection or a closed pipe, and work goes on."""

import contextlib
import os
import sys
from typing import Any, TextIO, final

from tqdm import tqdm


def say(text: str) -> None:
    """Print a line on stdout; nothing where nobody reads it."""
    try:
        print(text, flush=True)
    except (OSError, ValueError):  # ValueError: a file that was closed
        leave_stdout()


def complain(text: str) -> None:
    """Print a line on stderr; nothing where nobody reads it."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def leave_stdout() -> None:
    """Send what is still to be printed nowhere: at its exit Python would complain that nobody reads it."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def progress(*arguments: Any, disable: bool = False, **options: Any) -> Any:
    """A bar of tqdm on stderr, with its arguments; none where there is no stderr."""
    return tqdm(*arguments, disable=disable or sys.stderr is None, file=_Lenient(sys.stderr), **options)


@final
class _Lenient:
    """A stream to which writing never fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
