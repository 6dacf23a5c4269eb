"""What is installed under which name: no text offers another project's package, and bounds are written once."""

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from lowest_versions import LEFT_OUT, PROJECT, lowest_versions

from metarl.imports import EXTRAS

ROOT = Path(__file__).parent.parent
FOLDERS = ("metarl", "envs", "agents", "experiments", "tests", ".ci", ".github")
TEXTS = sorted(
    path
    for path in (*ROOT.iterdir(), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*")))
    if (path.suffix in (".md", ".py", ".toml", ".yaml", ".yml") or path.name in ("Makefile", "run")) and path.is_file()
)
# `metarl` on PyPI is another project, and `metarl-toolkit` is not there: only a path or an address brings this one
ANOTHER_PROJECT = re.compile(
    r"""\bmetarl\\?\[  # extras of the other project, in a regular expression, too
    | \bpip\ install\ [^\n]*?(?<![\w./-])metarl(?![\w.:/-])  # the other project
    | \bpip\ install\ [^\n]*?metarl-toolkit(?!\[?[\w,]*\]?\ @\ )  # whoever takes the name on PyPI
    """,
    re.VERBOSE,
)


def load_toml() -> dict[str, Any]:
    parser = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")  # pytest brings tomli
    loaded: dict[str, Any] = parser.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return loaded


TOML = load_toml()["project"]
OPTIONAL: dict[str, list[str]] = TOML["optional-dependencies"]


@pytest.mark.parametrize(
    "text",
    [
        "pip install 'metarl[minigrid]'",
        "comes with `metarl[mujoco]`",
        r"metarl\[mujoco\]",
        "pip install metarl",
        "python -m pip install --upgrade metarl torch",
        "pip install 'metarl-toolkit[minigrid]'",
        "pip install metarl-toolkit",
    ],
)
def test_offers_of_another_project_are_recognised(text: str) -> None:
    assert ANOTHER_PROJECT.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install '.[minigrid]'",
        "pip install 'metarl-toolkit[minigrid,mujoco] @ git+URL'",
        "pip install 'metarl-toolkit @ git+URL'",
        "pip install './metarl_toolkit-0.1.0-py3-none-any.whl[minigrid]'",
        "pip install /path/to/metarl/checkout",
        "pip install . brings the command metarl.",
    ],
)
def test_this_project_is_not_taken_for_another(text: str) -> None:
    assert not ANOTHER_PROJECT.search(text)


def test_no_text_offers_the_package_of_another_project() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in TEXTS if path != Path(__file__)}
    assert {ROOT / "README.md", ROOT / "Makefile", ROOT / ".ci" / "run"} <= texts.keys()
    offers = {path: [match[0] for match in ANOTHER_PROJECT.finditer(text)] for path, text in texts.items()}
    assert {path: found for path, found in offers.items() if found} == {}


def test_extras_in_commands_exist() -> None:
    texts = [path.read_text(encoding="utf-8") for path in TEXTS]
    commands = [match for text in texts for match in re.findall(r"\binstall .*?\.\[([\w,]+)\]", text)]
    assert commands
    assert {extra for command in commands for extra in command.split(",")} <= OPTIONAL.keys()


def test_messages_name_the_packages_of_each_extra() -> None:
    wanted = {extra: tuple(packages) for extra, packages in OPTIONAL.items() if extra not in ("test", "dev")}
    assert wanted == EXTRAS


def test_the_extra_for_development_is_made_of_others_of_this_project() -> None:
    assert TOML["name"] == PROJECT
    itself = re.fullmatch(rf"{PROJECT}\[([\w,]+)\]", OPTIONAL["dev"][0])
    assert itself is not None
    assert set(itself[1].split(",")) == OPTIONAL.keys() - {"dev", "metaworld"}


def test_every_bound_of_the_core_is_tried_but_for_torch() -> None:
    pins = lowest_versions(TOML["dependencies"], ())
    names = {re.split("[<>=]", requirement)[0] for requirement in TOML["dependencies"]}
    assert {pin.partition("==")[0] for pin in pins} == names - set(LEFT_OUT)


def test_bounds_are_pinned_with_those_of_the_extras_asked_for() -> None:
    requirements = [
        "numpy<3,>=1.26",
        "torch<3,>=2.4",
        'gymnasium[mujoco]; extra == "mujoco"',
        "mujoco>=3.1; extra == 'mujoco'",
        'metarl-toolkit[mujoco]; extra == "dev"',
        'ruff==0.17.6; extra == "dev"',
        'pytest>=8; extra == "test"',
    ]
    assert lowest_versions(requirements, ["mujoco"]) == ["numpy==1.26", "gymnasium[mujoco]", "mujoco==3.1"]
    assert lowest_versions(requirements, ["dev"]) == ["numpy==1.26", "ruff==0.17.6"]


def test_a_dependency_without_a_bound_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs a lower bound.*'numpy'"):
        lowest_versions(["numpy"], ())


def test_the_lowest_torch_is_the_bound() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    torch = next(requirement for requirement in TOML["dependencies"] if requirement.startswith("torch"))
    chosen = re.search(r"^lowest: TORCH = torch==([\d.]+)$", makefile, re.MULTILINE)
    assert chosen is not None
    assert torch.startswith(f"torch>={chosen[1]},")


def test_commits_are_formatted_by_the_ruff_of_make_check() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    wanted = [requirement for requirement in OPTIONAL["dev"] if requirement.startswith("ruff")]
    assert set(re.findall(r"ruff[<>=~]+[\d.]+", hooks)) == set(wanted)
