"""The command line: `metarl COMMAND ...`. Bad input ends with one line on stderr and exit code 2, never a traceback."""

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from metarl import distributed
from metarl.cli import commands
from metarl.cli.evaluate import evaluate
from metarl.cli.train import train_agent
from metarl.foreign import ForeignError, no_exit
from metarl.terminal import complain, leave_stdout

COMMANDS: dict[str, Callable[..., Any]] = {
    "list": commands.list_names,
    "train": commands.train,
    "evaluate": evaluate,
    "compare": commands.compare,
    "check": commands.check,
}


# what flags were called before; those of agents' options are in training.options
FORMER_FLAGS = {
    "--actions": "--deterministic or --stochastic",
    "--alone": "--no-baselines",
    "--option": "--env-kwargs",
}

# what bad input, a missing extra, a full disk, too little memory, diverged training or other people's code raise
USER_ERRORS = (
    ValueError,
    TypeError,
    OSError,
    ImportError,
    MemoryError,
    FloatingPointError,
    RecursionError,
    ForeignError,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 a check failed, 2 bad input, 128 + n stopped by signal n.

    The environment variable METARL_TRACEBACK shows where an error came from.
    """
    try:
        sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))
    except BrokenPipeError:  # whoever read the output has seen enough
        leave_stdout()
        sys.exit(1)
    except USER_ERRORS as error:
        if os.environ.get("METARL_TRACEBACK"):
            raise
        code, reason = 2, _line(error)
    except KeyboardInterrupt as error:
        code, reason = 130, f"interrupted {error}".strip()
    if distributed.first_to_fail():  # here the error is gone, and with it an open progress bar
        complain(f"metarl: {reason}")
    sys.exit(code)


def _never_exiting(command: Callable[..., int]) -> Callable[..., int]:
    """The command, in which other people's code cannot end the process as if all were done."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> int:
        with no_exit():
            return command(*arguments, **options)

    return run


def _line(error: BaseException) -> str:
    """The error in one line; of other people's code without the traceback, which METARL_TRACEBACK shows."""
    text = str(error).partition("\n\n")[0]  # a worker's traceback follows
    hint = " (METARL_TRACEBACK=1 shows the traceback)" if isinstance(error, ForeignError) else ""
    return (" ".join(text.split()) or type(error).__name__) + hint


def _run(arguments: list[str]) -> int:
    renamed = [f"{flag} is now called {new}" for flag, new in FORMER_FLAGS.items() if flag in arguments]
    if renamed:
        raise ValueError("; ".join(renamed))
    if len(arguments) > 1 and arguments[0] == "train" and not arguments[1].startswith("-"):
        return train_agent(arguments[1], arguments[2:])  # only now is it known which flags there are
    code: int = tyro.extras.subcommand_cli_from_dict(
        {name: command if name == "train" else _never_exiting(command) for name, command in COMMANDS.items()},
        prog="metarl",
        description="Meta-reinforcement learning: train on families of tasks, measure adaptation to unseen ones.",
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone, tyro.conf.PositionalMetavarFromFieldName),
    )
    return code
