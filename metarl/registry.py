"""Names of task distributions, agents and classical baselines. The core never imports them; it loads them by name.

Other packages add theirs in their own pyproject.toml, as entry points of the group `metarl.distributions` or
`metarl.agents`:

    [project.entry-points."metarl.distributions"]
    windy-walk = "my_package.my_module:windy_walk"

Then `metarl list` shows them, and their names work wherever those of metarl's own do. A name that is metarl's own stays
so: a plugin that claims it is not found by it, which `metarl list` says, but at its place, module:attribute.
"""

import importlib
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any, Literal, NamedTuple, cast

import gymnasium

from metarl.foreign import described, told
from metarl.imports import import_attribute
from metarl.tasks.distribution import TaskDistribution

Kind = Literal["distribution", "agent"]


class Plugin(NamedTuple):
    """A name that a package adds."""

    name: str
    place: str  # module:attribute
    package: str


def plugins(kind: Kind) -> list[Plugin]:
    """What installed packages add, by name; nothing of theirs is imported."""
    found = {
        Plugin(
            point.name, point.value.partition("[")[0].strip(), point.dist.name if point.dist else "an unknown package"
        )
        for point in entry_points(group=f"metarl.{kind}s")
    }
    return sorted(found)


def find_plugin(name: str, kind: Kind) -> Plugin | None:
    """The plugin of this name, if there is one; ValueError where several packages add the same name."""
    found = [plugin for plugin in plugins(kind) if plugin.name == name]
    if len(found) > 1:
        places = " or ".join(f"{plugin.place} of {plugin.package}" for plugin in found)
        raise ValueError(f"several packages add a {kind} {name!r}: say which by its place, {places}")
    return found[0] if found else None


def make(name: str, **options: Any) -> TaskDistribution:
    """The task distribution called `name`, or the one at `package.module:attribute` (an instance, class or function).

    Names are those of `metarl list`: metarl's own, and what installed packages add (`metarl.plugins`).

    >>> make("grid-navigation").horizon
    15

    Raises ValueError for an unknown name (it lists the known ones) or an option the family does not have.
    """
    return build(name, options)


def build(name: str, options: Mapping[str, Any], source: str | None = None) -> TaskDistribution:
    """The task distribution `name` with `options`; `source` as in `resolve`.

    TypeError where the name stands for something else, which is then not called.
    """
    target = resolve(name, "distribution", source)
    if isinstance(target, TaskDistribution):
        if options:
            raise ValueError(f"{name} is an instance and takes no options, got {sorted(options)}")
        return target
    wrong_class = isinstance(target, type) and not issubclass(target, TaskDistribution)
    if wrong_class or not callable(target):
        raise _wrong_kind(name, target if wrong_class else type(target))
    try:
        distribution = target(**options)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error
    except (SystemExit, GeneratorExit) as error:
        raise told(error, name) from error
    if not isinstance(distribution, TaskDistribution):
        raise _wrong_kind(name, type(distribution))
    return distribution


def resolve(name: str, kind: Kind, source: str | None = None) -> Any:
    """What `name` stands for: `module:attribute`, a name of metarl's own, or one that an installed package adds.

    `source` is the file that says the name, where nobody else does: importing runs code, so what is not registered is
    then refused. None: the caller says it.

    ValueError where nothing goes by that name, or what does may not or cannot be imported.
    """
    if not isinstance(name, str):
        raise ValueError(f"{source}: the {kind} must be a name, got {name!r}")
    if ":" in name:
        if source is not None and not registered(name, kind):
            raise ValueError(
                f"{source} names the {kind} {name!r}, which is not registered (see `metarl list`), so that opening the "
                "file would run its code: if you trust that code, say trust=True, or --trust on the command line"
            )
        return import_attribute(name)
    table = own(kind)
    if name in table:
        return import_attribute(table[name])
    plugin = find_plugin(name, kind)
    if plugin is not None:
        return load_plugin(plugin)
    return find(name, table | {each.name: each.place for each in plugins(kind)}, kind)  # says what there is


def registered(name: str, kind: Kind) -> bool:
    """Whether metarl or an installed package knows `name`, or says `module:attribute` itself."""
    known = own(kind)
    return name in {*known, *known.values()} or any(name in (plugin.name, plugin.place) for plugin in plugins(kind))


def name_of(thing: object, kind: Kind) -> str | None:
    """The registered name of a class, function or instance: what files keep, since modules move. None: it has none."""
    places = [
        *own(kind).items(),
        *((plugin.name, plugin.place) for plugin in plugins(kind) if plugin.name not in own(kind)),
    ]
    return next((name for name, place in places if _if_imported(place) is thing), None)


def plain_options(options: object, source: str) -> dict[str, Any]:
    """The options that a file says, its lists as tuples.

    ValueError naming `source` unless each is a number, a text, a bool, None or a flat list of these.
    """
    if not isinstance(options, Mapping):
        raise ValueError(f"{source}: options must be names with values, got {options!r}")
    return {name: _plain(name, value, source) for name, value in options.items()}


def load_plugin(plugin: Plugin) -> Any:
    """What a plugin adds; ValueError, naming the package, if that cannot be imported for whatever reason."""
    try:
        return import_attribute(plugin.place)
    except Exception as error:
        reason = described((isinstance(error, ImportError) and error.__cause__) or error)
        raise ValueError(
            f"{plugin.name}: {plugin.place} of the package {plugin.package} cannot be imported: {reason}"
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
    return cast(dict[str, str], importlib.import_module("metarl.agents.catalogue").AGENTS)


def baselines() -> dict[str, str]:
    """Name -> `module:attribute` of the classical baselines, which need no meta-training."""
    return cast(dict[str, str], importlib.import_module("metarl.agents.catalogue").BASELINES)


def applicable(distribution: TaskDistribution) -> list[str]:
    """The names of the baselines in `baselines()` that suit `distribution`, and `expert` if it names one.

    >>> import metarl
    >>> applicable(metarl.make("tabular-mdp"))
    ['random', 'psrl', 'beb', 'ucrl', 'expert']
    """
    return [name for name in baselines() if _applies(name, distribution)]


def find(name: str, table: dict[str, str], what: str) -> str:
    """The entry of `table` under `name`; ValueError lists the known names and suggests the nearest."""
    if name not in table:
        near = get_close_matches(name, table, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown {what} {name!r}{hint} Known: {', '.join(table)}")
    return table[name]


def register_gymnasium() -> None:
    """Register every family with gymnasium as `metarl/NAME-v1`; `import metarl` does it."""
    for name in families():
        gymnasium.register(f"metarl/{name}-v1", entry_point="metarl.registry:gymnasium_env", kwargs={"family": name})


def gymnasium_env(family: str, render_mode: str | None = None, **options: Any) -> "gymnasium.Env[Any, Any]":
    """One environment of a family; without `reset(options={"task": ...})` every reset draws a task."""
    return make(family, **options).env(render_mode=render_mode)


def _if_imported(place: str) -> Any:
    """What `module:attribute` names, or None where nobody has imported that module."""
    module, _, attribute = place.partition(":")
    return getattr(sys.modules.get(module), attribute, None)


def _plain(name: str, value: object, source: str) -> Any:
    entries = value if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(entry, (int, float, str, bool, type(None))) for entry in entries):
        raise ValueError(
            f"{source}: the option {name!r} must be a number, a text, true, false, null or a flat list of these, "
            f"got {value!r}"
        )
    return tuple(entries) if entries is value else value


def _wrong_kind(name: str, kind: type) -> TypeError:
    return TypeError(f"{name} must give a metarl.TaskDistribution, got {kind.__name__}")


def _applies(name: str, distribution: TaskDistribution) -> bool:
    try:
        import_attribute(baselines()[name]).check(distribution)
    except ValueError:
        return False
    return True
