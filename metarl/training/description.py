"""Task distributions as plain data, for checkpoints."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from metarl.registry import Kind, build, name_of, plain_options
from metarl.tasks.distribution import TaskDistribution


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
        "family": _name(type(distribution), "distribution"),
        "options": options,
        "split_name": distribution.split_name,
        "limits": distribution.limits,
    }


def restore_distribution(description: Mapping[str, Any], source: str, trust: bool = False) -> TaskDistribution:
    """The distribution that `describe_distribution` described in the file `source`.

    Raises ValueError if its options were not plain values, or if it is not registered and `trust` is False.
    """
    if description["options"] is None:
        raise ValueError(
            f"{description['name']} cannot be made again from a checkpoint: give it as the argument `distribution`"
        )
    options = plain_options(description["options"], source)
    family = build(description["family"], options, None if trust else source)
    limits = tuple((name, tuple(low), tuple(high)) for name, low, high in description["limits"])
    return dataclasses.replace(family, split_name=description["split_name"], limits=limits)


def _name(kind: type, what: Kind) -> str:
    """The registered name of a class, else its `module:attribute`."""
    return name_of(kind, what) or f"{kind.__module__}:{kind.__qualname__}"
