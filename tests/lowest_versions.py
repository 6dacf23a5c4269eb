"""What `make lowest` installs: the lowest version that each bound of metarl allows, and the torch that is there.

    python tests/lowest_versions.py test mujoco

The arguments are extras, whose bounds are taken as well.
"""

import re
import sys
from collections.abc import Collection, Iterable
from importlib.metadata import requires, version

PROJECT = "metarl-toolkit"
# make's TORCH chooses torch, which is installed before: builds are large, and an old one does not fit a new Python.
# An extra that refers to the project itself names no version; its parts are asked for by their own names.
LEFT_OUT = ("torch", PROJECT)


def lowest_versions(requirements: Iterable[str], extras: Collection[str]) -> list[str]:
    """Requirements without a marker, and those of `extras`, each pinned to its bound.

    Raises ValueError where a requirement without a marker has no lower bound.
    """
    pins = []
    for requirement in requirements:
        package, _, marker = requirement.partition(";")
        extra = re.search(r"extra == ['\"]([\w-]+)", marker)
        name = re.match(r"[\w.-]+", package)
        bound = re.search(r"[>=]=([\w.]+)", package)
        if name is None or (bound is None and not marker):
            raise ValueError(f"a requirement needs a lower bound, name>=version, got {requirement!r}")
        if name[0] not in LEFT_OUT and (not marker or (extra and extra[1] in extras)):
            pins.append(re.split(r"[<>=!~]", package)[0].strip() + (f"=={bound[1]}" if bound else ""))
    return pins


if __name__ == "__main__":
    print("\n".join([f"torch=={version('torch')}", *lowest_versions(requires(PROJECT) or (), sys.argv[1:])]))
