"""Importing by name: attributes of modules, and packages that come with an extra."""

import importlib
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from metarl.foreign import described

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


def import_extra(module: str, extra: str) -> ModuleType:
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


def import_attribute(path: str) -> Any:
    """What `package.module:attribute` names.

    Raises ValueError, which says which half is missing, and ImportError if the module cannot be imported.
    """
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: no module {error.name!r}; is its folder on the Python path?") from error
    except (ImportError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise ImportError(f"{path}: importing {module_name} failed: {described(error)}") from error
    if not hasattr(module, attribute):
        raise ValueError(f"{path}: module {module_name} has no {attribute!r}")
    return getattr(module, attribute)


def hand_on(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that hands on `names` (name -> module), each imported on first use."""

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(names[name]), name)

    return get, lambda: sorted(names)
