"""Code of other people, such as their environments: whatever comes out of it, it is told where it came from."""

import contextlib
import traceback
from collections.abc import Iterator


class ForeignError(RuntimeError):
    """Code that is not metarl's own raised something, or called exit(); the text says where and in which task."""


def told(error: BaseException, where: str) -> BaseException:
    """What to raise in place of `error`: a ValueError, a KeyboardInterrupt or else a ForeignError that says `where`.

    A KeyboardInterrupt may be a Ctrl-C, and stays one. An `exit()` in the middle of training would look like its end.

    >>> told(ZeroDivisionError("division by zero"), "environment 3 of walk-v1, task {'wind': 0.5}")
    ForeignError("environment 3 of walk-v1, task {'wind': 0.5}: ZeroDivisionError: division by zero")
    """
    if isinstance(error, KeyboardInterrupt):
        return KeyboardInterrupt(f"in {where}")
    kind = ValueError if isinstance(error, ValueError) else ForeignError
    return kind(f"{where}: {described(error)}")


@contextlib.contextmanager
def no_exit() -> Iterator[None]:
    """Inside, nobody ends the process by `exit()`: a ForeignError instead, which a script or CI does not overlook."""
    try:
        yield
    except (SystemExit, GeneratorExit) as error:
        raise ForeignError(described(error)) from error


def described(error: BaseException) -> str:
    """Type and text of an error, and the line where it was raised; of an exit() what it is."""
    name = "it called exit(), SystemExit" if isinstance(error, SystemExit) else type(error).__name__
    text = f"{name}: {error}" if str(error) else name
    frames = [] if isinstance(error, ValueError) else traceback.extract_tb(error.__traceback__)
    return f"{text}, at {frames[-1].filename}:{frames[-1].lineno}" if frames else text
