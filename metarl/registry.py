"""Names of task distributions and agents; the core never imports them, it loads them by name."""

import importlib
from difflib import get_close_matches
from typing import Any, cast

import gymnasium

from metarl.plugins import Kind, Plugin, find_plugin, plugins
from metarl.tasks import TaskDistribution


def make(name: str, **options: Any) -> TaskDistribution:
    """The task distribution called `name`, or the one at `package.module:attribute` (an instance, class or function).

    Names are those of `metarl list`: metarl's own, and what installed packages add (`metarl.plugins`).

    >>> make("grid-navigation").horizon
    15

    Raises ValueError for an unknown name (it lists the known ones) or an option the family does not have.
    """
    target = resolve(name, "distribution")
    if isinstance(target, TaskDistribution):
        if options:
            raise ValueError(f"{name} is an instance and takes no options, got {sorted(options)}")
        return target
    try:
        distribution = target(**options)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error
    if not isinstance(distribution, TaskDistribution):
        raise TypeError(f"{name} must give a metarl.TaskDistribution, got {type(distribution).__name__}")
    return distribution


def resolve(name: str, kind: Kind) -> Any:
    """What `name` stands for: `module:attribute`, a name of metarl's own, or one that an installed package adds.

    ValueError where nothing goes by that name, or what does cannot be imported.
    """
    if ":" in name:
        return import_attribute(name)
    table = own(kind)
    if name in table:
        return import_attribute(table[name])
    plugin = find_plugin(name, kind)
    if plugin is not None:
        return load_plugin(plugin)
    return find(name, table | {each.name: each.place for each in plugins(kind)}, kind)  # says what there is


def load_plugin(plugin: Plugin) -> Any:
    """What a plugin adds; ValueError, naming the package, if that cannot be imported for whatever reason."""
    try:
        return import_attribute(plugin.place)
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"{plugin.name}: {plugin.place} of the package {plugin.package} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error


def distributions() -> dict[str, str]:
    """Name -> `module:attribute` of metarl's own task distributions, stepped in batches."""
    return cast(dict[str, str], importlib.import_module("metarl.envs").DISTRIBUTIONS)


def adapted() -> dict[str, str]:
    """Name -> `module:attribute` of families made from other packages; making one may need an extra."""
    return cast(dict[str, str], importlib.import_module("metarl.envs").ADAPTED)


def families() -> dict[str, str]:
    """All that `make` knows by name."""
    return {**distributions(), **adapted()}


def own(kind: Kind) -> dict[str, str]:
    """The names of metarl's own of which there may be others, from installed packages."""
    return {"distribution": families, "agent": agents}[kind]()


def agents() -> dict[str, str]:
    """Name -> `module:attribute` of the agents that learn."""
    return cast(dict[str, str], importlib.import_module("metarl.agents").AGENTS)


def learners() -> dict[str, str]:
    """Name -> `module:attribute` of the classical learners, which need no meta-training."""
    return cast(dict[str, str], importlib.import_module("metarl.agents").LEARNERS)


def find(name: str, table: dict[str, str], what: str) -> str:
    """The entry of `table` under `name`; ValueError lists the known names and suggests the nearest."""
    if name not in table:
        near = get_close_matches(name, table, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown {what} {name!r}{hint} Known: {', '.join(table)}")
    return table[name]


def import_attribute(path: str) -> Any:
    """What `package.module:attribute` names; ValueError says which half is missing."""
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: no module {error.name!r}; is its folder on the Python path?") from error
    if not hasattr(module, attribute):
        raise ValueError(f"{path}: module {module_name} has no {attribute!r}")
    return getattr(module, attribute)


def register_gymnasium() -> None:
    """Register every family with gymnasium as `metarl/NAME-v1`; `import metarl` does it."""
    for name in families():
        gymnasium.register(f"metarl/{name}-v1", entry_point="metarl.registry:gymnasium_env", kwargs={"family": name})


def gymnasium_env(family: str, render_mode: str | None = None, **options: Any) -> "gymnasium.Env[Any, Any]":
    """One environment of a family; without `reset(options={"task": ...})` every reset draws a task."""
    return make(family, **options).env(render_mode=render_mode)
