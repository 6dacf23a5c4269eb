"""The layout promises: what is installed, and examples in docstrings that run."""

import doctest
import importlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from source_files import ROOT, source_files

FILES = source_files()


def test_every_folder_is_listed() -> None:
    """A sub-package that pyproject.toml does not list would be missing from the wheel."""
    listed = re.search(r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE | re.DOTALL)
    assert listed
    packages = {name if path.stem == "__init__" else name.rpartition(".")[0] for name, path in FILES.items()}
    assert sorted(re.findall(r'"(.+?)"', listed[1])) == sorted(packages)


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
    expected = {
        name.replace(".", "/") + ("/__init__.py" if path.stem == "__init__" else ".py") for name, path in FILES.items()
    } | {"metarl/py.typed"}
    assert {name for name in names if ".dist-info/" not in name} == expected


@pytest.mark.parametrize("module", FILES)
def test_examples_in_docstrings_run(module: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert failed == 0
