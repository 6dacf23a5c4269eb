"""Task distributions and agents that other installed packages add by name.

A package adds them in its own pyproject.toml, as entry points of the group `metarl.distributions` or `metarl.agents`:

    [project.entry-points."metarl.distributions"]
    windy-walk = "my_package.my_module:windy_walk"

Then `metarl list` shows them, and their names work wherever those of metarl's own do. A name that is metarl's own stays
so: a plugin that claims it is not found by it, which `metarl list` says, but at its place, module:attribute.
"""

from importlib.metadata import entry_points
from typing import Literal, NamedTuple

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
