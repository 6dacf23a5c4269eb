"""Which source is measured. Needs nothing but Python."""

import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def source(commit: str | None) -> dict[str, Any]:
    """The commit that is measured, and whether the files differ from it; `commit` and None where there is no git."""
    said = [_git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no", ":!experiments/results")]
    return {"commit": said[0] or commit, "dirty": None if said[1] is None else said[1] != ""}


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
