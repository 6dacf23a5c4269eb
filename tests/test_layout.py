"""No circles among the modules: each can be imported first."""

import ast
import graphlib
from pathlib import Path

from slow_tests import SLOW

ROOT = Path(__file__).parent.parent
FOLDERS = {"metarl": ROOT / "metarl", "metarl.envs": ROOT / "envs", "metarl.agents": ROOT / "agents"}
FILES = {
    package if path.stem == "__init__" else f"{package}.{path.stem}": path
    for package, folder in FOLDERS.items()
    for path in sorted(folder.glob("*.py"))
}


def imports(path: Path) -> set[str]:
    """Modules of this project that a file imports when it is loaded; not those for types or inside functions."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & set(FILES) or {node.module or ""}
    return found & set(FILES)


def test_modules_import_each_other_in_one_order() -> None:
    graph = {name: imports(path) - {name} for name, path in FILES.items()}
    assert list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the circle


def test_tests_are_no_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_modules_of_the_core_are_small() -> None:
    """Past this size a module holds two ideas."""
    assert not [name for name, path in FILES.items() if len(path.read_text(encoding="utf-8").splitlines()) > 400]


def test_the_list_of_slow_tests_names_tests() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    for name, _, test in (entry.partition("::") for entry in SLOW):
        assert name in files
        assert not test or f"def {test}(" in files[name]
