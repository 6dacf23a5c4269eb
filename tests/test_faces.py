"""The doors for users: what each hands on is there, under the same name for type checkers and at run time."""

import ast
import importlib

import pytest
from source_files import source_files

FACES = ["metarl.agents", "metarl.engines", "metarl.evaluation", "metarl.tasks"]


@pytest.mark.parametrize("face", FACES)
def test_what_is_listed_is_handed_on(face: str) -> None:
    module = importlib.import_module(face)
    assert dir(module) == sorted(module.__all__)
    assert [name for name in module.__all__ if getattr(getattr(module, name), "__name__", name) != name] == []


@pytest.mark.parametrize("face", FACES)
def test_type_checkers_see_the_same_names(face: str) -> None:
    tree = ast.parse(source_files()[face].read_text(encoding="utf-8"))
    (seen,) = [node for node in tree.body if isinstance(node, ast.If)]
    names = {a.name: node.module for node in seen.body if isinstance(node, ast.ImportFrom) for a in node.names}
    assert sorted(names) == sorted(importlib.import_module(face).__all__)
    for name, place in names.items():
        assert getattr(importlib.import_module(str(place)), name) is getattr(importlib.import_module(face), name)


def test_a_name_that_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError, match=r"module 'metarl\.agents' has no attribute 'RL3'"):
        importlib.import_module("metarl.agents").RL3  # noqa: B018
