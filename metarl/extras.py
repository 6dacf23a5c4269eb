"""Packages that not everybody needs, and the command that installs them."""

import importlib
from types import ModuleType

# The optional dependencies of pyproject.toml, word for word. An installed copy may come from a checkout, a wheel or a
# repository, so that no command names metarl itself rightly in all of them; the packages have one name everywhere.
EXTRAS = {
    "tensorboard": ("tensorboard>=2.15",),
    "benchmark": ("sb3-contrib>=2.6",),
    "box2d": ("gymnasium[box2d]",),
    "mujoco": ("gymnasium[mujoco]", "mujoco>=3.1"),
    "minigrid": ("minigrid>=3.1",),
    "metaworld": ("metaworld>=3.1",),
}


def require(module: str, extra: str) -> ModuleType:
    """The module, imported now; ImportError with the command that installs the extra where it cannot be."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f"{error}; {package} comes with {installation(extra)}") from error


def installation(extra: str) -> str:
    """The command that installs what an extra of metarl consists of.

    >>> installation("mujoco")
    "pip install 'gymnasium[mujoco]' 'mujoco>=3.1'"
    """
    return " ".join(["pip install", *(f"'{package}'" for package in EXTRAS[extra])])
