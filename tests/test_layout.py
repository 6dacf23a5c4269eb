"""The house: which room may import which, no circles, small files. ARCHITECTURE.md explains the table."""

import graphlib
import re

import pytest
from source_files import ROOT, imports, source_files

FILES = source_files()
ARROWS = {name: imports(path, FILES) - {name} for name, path in FILES.items()}

# the ground: one idea a file, no room
GROUND = {
    "seeding",
    "files",
    "imports",
    "devices",
    "spaces",
    "priors",
    "distributed",
    "cuda_graphs",
    "finite",
    "foreign",
    "terminal",
    "scalars",
}
ROOMS: dict[str, set[str]] = {  # room -> rooms it may import, beside its own files; lowest first
    **{name: set() for name in GROUND},
    "devices": {"distributed"},
    "imports": {"foreign"},
    "adaptation": GROUND,
    "functional": GROUND,
    "tasks": GROUND,
    "trials": GROUND | {"tasks"},
    "engines": GROUND | {"tasks"},
    "optima": GROUND | {"tasks"},
    "sb3": GROUND | {"tasks"},
    "nn": GROUND | {"tasks", "trials"},
    "evaluation": GROUND | {"tasks", "trials", "engines"},
    "envs": GROUND | {"tasks", "functional", "engines", "optima", "evaluation"},
    "agents.catalogue": set(),
    "registry": GROUND | {"tasks", "agents.catalogue", "envs"},
    "training": GROUND | {"tasks", "trials", "registry", "sb3"},
    "reports": GROUND | {"tasks", "trials", "evaluation", "training"},
    "contracts": GROUND | {"tasks", "trials", "engines", "training"},
    "testing": GROUND | {"tasks", "trials", "training", "contracts"},
    "agents.classical": GROUND | {"tasks", "trials", "functional", "optima"},
    "agents.outer_loop": GROUND | {"tasks", "trials", "functional", "nn", "training"},
    "agents.gradient": GROUND | {"tasks", "trials", "functional", "nn", "adaptation", "training"},
    "agents.sb3": GROUND | {"tasks", "trials", "functional", "nn", "adaptation", "training", "sb3"},
    "agents.in_context": GROUND | {"tasks", "trials", "functional", "nn", "training", "engines", "agents.outer_loop"},
    "agents": {"imports", "agents.classical", "agents.gradient", "agents.in_context", "agents.sb3"},  # a face
    "runs": GROUND | {"tasks", "trials", "evaluation", "training", "reports", "registry"},
    "cli": GROUND
    | {"tasks", "trials", "engines", "evaluation", "training", "reports", "registry", "contracts", "runs", "testing"},
    "metarl": GROUND | {"tasks", "trials", "engines", "evaluation", "training", "registry", "runs"},
    "__main__": {"cli"},
}


def room(module: str) -> str:
    """`metarl.nn.attention` -> `nn`, `metarl.agents.gradient.maml` -> `agents.gradient`."""
    parts = module.split(".")[1:]
    if not parts:
        return "metarl"
    return ".".join(parts[:2]) if parts[0] == "agents" and len(parts) > 1 else parts[0]


@pytest.mark.parametrize("module", FILES)
def test_a_room_imports_only_what_the_table_allows(module: str) -> None:
    here = room(module)
    wrong = {name for name in ARROWS[module] if room(name) not in ROOMS[here] | {here}}
    assert not wrong


def test_the_table_has_no_circle_and_no_room_that_is_gone() -> None:
    assert list(graphlib.TopologicalSorter(ROOMS).static_order())  # CycleError names the circle
    assert set(ROOMS) == {room(module) for module in FILES}


def test_files_import_each_other_in_one_order() -> None:
    """Imports for types and inside functions count: what needs both of two files is one idea in two places."""
    assert list(graphlib.TopologicalSorter(ARROWS).static_order())


def test_nothing_inside_imports_a_face() -> None:
    """An `__init__` hands public names on to users; inside, a name is imported from where it stands."""
    faces = {name for name, path in FILES.items() if path.stem == "__init__"} - {"metarl.envs", "metarl.agents"}
    assert {module: arrows & faces for module, arrows in ARROWS.items() if arrows & faces} == {}


def test_the_picture_is_the_table() -> None:
    """Every room of the table stands in ARCHITECTURE.md."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w.]+)/?`", text))
    assert set(ROOMS) - {"metarl", "__main__", "agents"} <= named


def test_tests_are_no_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_files_are_small() -> None:
    """Past this size a module holds two ideas."""
    assert not [name for name, path in FILES.items() if len(path.read_text(encoding="utf-8").splitlines()) > 330]
