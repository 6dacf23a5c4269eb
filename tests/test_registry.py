"""Names of distributions, and families by their place."""

from pathlib import Path
from typing import Any

import gymnasium
import pytest

import metarl
from metarl.imports import import_attribute
from metarl.registry import adapted, agents, baselines, distributions, families, find


def test_every_known_name_can_be_made_here_and_by_gymnasium() -> None:
    for name in distributions():
        assert metarl.make(name).name.startswith(name)
        gymnasium.make(f"metarl/{name}-v1").reset(seed=0)


@pytest.mark.filterwarnings("ignore:.*maximum and minimum values are equal")  # where Meta-World hides its goal
@pytest.mark.parametrize("name", adapted())
def test_families_from_other_packages_too(name: str) -> None:
    try:
        family = metarl.make(name)
    except ImportError as missing:
        pytest.skip(str(missing))
    assert family.name.startswith(name)
    gymnasium.make(f"metarl/{name}-v1").close()


def test_unknown_names_list_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown distribution 'grid-navigatoin'; did you mean 'grid-navigation'"):
        metarl.make("grid-navigatoin")
    with pytest.raises(ValueError, match="Known: bernoulli-bandit, tabular-mdp, "):
        metarl.make("chess")
    with pytest.raises(ValueError, match=r"unknown agent 'x'\. Known: rl2"):
        find("x", {"rl2": "a:b"}, "agent")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bernoulli-bandit", {"legs": 3}, "bernoulli-bandit: .*unexpected keyword argument 'legs'"),
        ("no_such_module:family", {}, "no module 'no_such_module'; is its folder on the Python path"),
        ("drift_family:drfit", {}, "module drift_family has no 'drfit'"),
        ("drift_family:drift", {"steps": 3}, r"is an instance and takes no options, got \['steps'\]"),
    ],
)
def test_bad_names_and_options_say_which(user_project: Path, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metarl.make(name, **options)


def test_a_family_is_found_at_its_place(user_project: Path) -> None:
    assert metarl.make("drift_family:drift").name == "drift-v1"  # an instance
    assert metarl.make("metarl.envs.bandit:BernoulliBandit", arms=4).options["arms"] == 4  # a class
    with pytest.raises(TypeError, match=r"must give a metarl\.TaskDistribution, got Drift"):
        metarl.make("drift_family:Drift")


def test_tables_name_things_that_exist() -> None:
    for table in (families(), agents(), baselines()):
        for place in table.values():
            assert callable(import_attribute(place))
