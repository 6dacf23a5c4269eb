"""Every source file of the three packages and what it imports, for the tests of the layout."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = {"metarl": ROOT / "metarl", "metarl.envs": ROOT / "envs", "metarl.agents": ROOT / "agents"}


def source_files() -> dict[str, Path]:
    """Module name -> file; a package goes by its own name. The links from one folder to another are not followed."""
    return {
        ".".join([package, *path.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__"): path
        for package, folder in FOLDERS.items()
        for path in sorted(folder.rglob("*.py"))
        if not any(parent.is_symlink() for parent in path.parents)
    }


def imports(path: Path, modules: dict[str, Path]) -> set[str]:
    """The `modules` that a file imports: at its head, for types, inside functions, and by `import_module("name")`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names |= set(_named(node))
    # `from package import module` imports the module; `from module import name` the module that has the name
    return {name if name in modules else name.rpartition(".")[0] for name in names} & set(modules)


def _named(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "`from . import x` would break where a folder is mapped to another name"
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str))
