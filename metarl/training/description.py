"""What a checkpoint says besides its tensors: the agent, its settings and its task distribution as plain data."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

from metarl.registry import Kind, build, name_of, plain_options
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.prior_tasks import PriorTasks


@final
@dataclass(frozen=True)
class Description:
    """The fields of a checkpoint's description, each of its type."""

    agent: str
    options: Mapping[str, Any]
    distribution: Mapping[str, Any]
    seed: int
    updates: int
    num_timesteps: int
    processes: int = 1


def read_description(values: Mapping[str, Any], source: str) -> Description:
    """The description in the file `source`. Raises ValueError, naming file and field, for one that is not as it should.

    >>> read_description({"agent": "rl2", "seed": "x"}, "a.safetensors")
    Traceback (most recent call last):
    ...
    ValueError: a.safetensors is damaged: options must be names with values, got nothing
    """
    agent = values.get("agent")
    if not isinstance(agent, str):
        raise ValueError(f"{source}: the agent must be a name, got {agent!r}")
    options = plain_options(read_field(values, "options", dict, source), source)
    distribution = read_field(values, "distribution", dict, source)
    read_field(distribution, "name", str, source)
    counts = {name: read_field(values, name, int, source) for name in ("seed", "updates", "num_timesteps")}
    counts["processes"] = read_field({"processes": 1, **values}, "processes", int, source)
    for name, low in (("updates", 0), ("num_timesteps", 0), ("processes", 1)):
        if counts[name] < low:
            raise ValueError(f"{source} is damaged: {name} must be at least {low}, got {counts[name]}")
    return Description(agent, options, distribution, **counts)


KINDS = {dict: "names with values", str: "a text", int: "an integer", list: "a list"}


def read_field(values: Mapping[str, Any], name: str, kind: type, source: str) -> Any:
    """The value under `name`; ValueError naming the file `source` if there is none or it is no `kind`."""
    value = values.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        got = repr(value) if name in values else "nothing"
        raise ValueError(f"{source} is damaged: {name} must be {KINDS[kind]}, got {got}")
    return value


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots.

    >>> flattened({"seed": 0, "net": {"width": 8}})
    {'seed': 0, 'net.width': 8}
    """
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= flattened(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return leaves


def differences(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In words, where the settings in a file differ from those of `now`; groups that one of them lacks are left out."""
    mine: dict[str, Any] = json.loads(json.dumps(now))
    theirs, ours = (flattened({name: x[name] for name in mine if name in kept}) for x in (kept, mine))
    return [
        f"{name} {theirs.get(name)!r}, not {ours.get(name)!r}"
        for name in theirs | ours
        if theirs.get(name) != ours.get(name)
    ]


@contextlib.contextmanager
def blamed_on(source: str, let_through: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """What goes wrong inside the `with` is the fault of the file `source`: a ValueError that says so."""
    try:
        yield
    except Exception as error:
        if isinstance(error, (OSError, ImportError, MemoryError, *let_through)):
            raise
        if isinstance(error, ValueError) and source in str(error):
            raise
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{source}: what it says cannot be made again: {reason}") from error


def describe_distribution(distribution: TaskDistribution) -> dict[str, Any]:
    """What a checkpoint keeps of a distribution: name, class, options, split and limits.

    `options` is None if they are not plain values; the distribution cannot be made again from these.
    """
    try:
        options = plain_options(distribution.options, distribution.name)
    except ValueError:
        options = None
    return {
        "name": distribution.name,
        "family": name_in_files(type(distribution), "distribution"),
        "options": options,
        "split_name": distribution.split_name,
        "limits": distribution.limits,
    }


def ranges(distribution: TaskDistribution) -> dict[str, Any]:
    """What decides the tasks and trials beside the options, in words: a family of a user's own may have been edited.

    >>> import metarl
    >>> ranges(metarl.make("point-navigation"))["horizon"]
    100
    """
    parts = {name: str(box) for name, box in distribution.task_space.items()}
    if isinstance(distribution, PriorTasks):
        given = {"train": distribution.parameters, "test": distribution.test or {}, "ood": distribution.ood or {}}
        parts = {f"{split}.{name}": str(prior) for split, priors in given.items() for name, prior in priors.items()}
    free = {"free_episodes": distribution.free_episodes} if distribution.free_episodes else {}
    return {**parts, "horizon": distribution.horizon, "num_episodes": distribution.num_episodes, **free}


def restore_distribution(description: Mapping[str, Any], source: str, trust: bool = False) -> TaskDistribution:
    """The distribution that `describe_distribution` described in the file `source`.

    Raises ValueError if its options were not plain values, or if it is not registered and `trust` is False.
    """
    if description.get("options", {}) is None:
        raise ValueError(
            f"{source}: {description['name']} cannot be made again from a checkpoint: "
            "give it as the argument `distribution`"
        )
    options = plain_options(read_field(description, "options", dict, source), source)
    family = description.get("family")
    if not isinstance(family, str):
        raise ValueError(f"{source}: the distribution must be a name, got {family!r}")
    split, limits = read_field(description, "split_name", str, source), read_field(description, "limits", list, source)
    with blamed_on(source, (TypeError,)):  # that the name stands for something else
        made = build(family, options, None if trust else source)
    with blamed_on(source):
        pairs = tuple((name, tuple(low), tuple(high)) for name, low, high in limits)
        return dataclasses.replace(made, split_name=split, limits=pairs)


def name_in_files(kind: type, what: Kind) -> str:
    """The registered name of a class, else its `module:attribute`."""
    return name_of(kind, what) or f"{kind.__module__}:{kind.__qualname__}"
