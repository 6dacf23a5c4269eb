"""The layout promises: what is installed, what imports what, and examples in docstrings that run."""

import ast
import doctest
import importlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {"metarl": ROOT / "metarl", "metarl.envs": ROOT / "envs", "metarl.agents": ROOT / "agents"}
FILES = [(package, path) for package, folder in SOURCES.items() for path in sorted(folder.glob("*.py"))]
MODULES = [package if path.stem == "__init__" else f"{package}.{path.stem}" for package, path in FILES]

# what a package must never import; the core reaches the other two by name only
FORBIDDEN = {
    "metarl": ("metarl.envs", "metarl.agents"),
    "metarl.envs": ("metarl.agents",),
    "metarl.agents": ("metarl.envs",),
}


def imported_modules(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize(("package", "path"), FILES, ids=MODULES)
def test_imports_point_towards_the_core(package: str, path: Path) -> None:
    wrong = {
        name for name in imported_modules(path) if f"{name}.".startswith(tuple(f"{f}." for f in FORBIDDEN[package]))
    }
    assert not wrong


def test_imports_are_relative_to_nothing() -> None:
    """`from . import x` would break where a folder is mapped to another name, and hide from the check above."""
    relative = [
        f"{path}:{node.lineno}"
        for _, path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


@pytest.mark.parametrize("folder", SOURCES.values(), ids=str)
def test_folders_are_flat(folder: Path) -> None:
    """A sub-package that pyproject.toml does not list would be missing from the wheel."""
    assert [p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and p.name != "__pycache__"] == []


@pytest.mark.parametrize("name", ["envs", "agents"])
def test_links_let_type_checkers_see_the_mapped_folders(name: str) -> None:
    assert (ROOT / "metarl" / name).is_symlink()
    assert (ROOT / "metarl" / name).resolve() == ROOT / name


def test_wheel_holds_every_module_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("metarl", "envs", "agents"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    build = "import setuptools.build_meta as backend; backend.build_wheel('.')"
    result = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    names = zipfile.ZipFile(next(source.glob("*.whl"))).namelist()
    expected = {f"{package.replace('.', '/')}/{path.name}" for package, path in FILES} | {"metarl/py.typed"}
    assert {name for name in names if ".dist-info/" not in name} == expected


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_run(module: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert failed == 0
