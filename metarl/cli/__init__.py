"""The command line."""

from metarl.cli.entry import COMMANDS, main

__all__ = ["COMMANDS", "main"]
