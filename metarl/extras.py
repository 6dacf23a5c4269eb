"""Packages that not everybody needs: they come with an extra of metarl."""

import importlib
from types import ModuleType


def require(module: str, extra: str) -> ModuleType:
    """The module, imported now; ImportError that names the extra where it cannot be."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f"{error}; {package} comes with pip install 'metarl[{extra}]'") from error
