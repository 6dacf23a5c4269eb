"""Numbers that environments tell in their infos: success, and measures of their own."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

SUCCESS = ("success", "is_success")  # the names that environments give it
LEFT_OUT = {*SUCCESS, "TimeLimit.truncated"}


def success_in(info: Mapping[str, Any]) -> float:
    """1 or 0 as the info of one step says, NaN where it says nothing or NaN.

    Raises ValueError for anything else: a share of the way is no success, and a text is no number.
    """
    value = next((info[name] for name in SUCCESS if info.get(name) is not None), math.nan)
    number = _number(value)
    if number is None or not (math.isnan(number) or number in (0, 1)):
        raise ValueError(
            f"success in the info must be True or False, 1 or 0, got {value!r}; a share of the way belongs under "
            "another name, where it is a measure"
        )
    return number


def measures_in(info: Mapping[str, Any]) -> dict[str, float]:
    """The single numbers in the info of one step but success, by name. NaN counts as not told."""
    found = {str(name): _number(value) for name, value in info.items() if name not in LEFT_OUT}
    return {name: value for name, value in found.items() if value is not None and not math.isnan(value)}


def joined(rows: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """Measures of n environments, each [n] in float64: NaN where an environment told nothing."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, math.nan) for row in rows]) for name in names}


def concatenated(parts: Sequence[Mapping[str, np.ndarray]], sizes: Iterable[int]) -> dict[str, np.ndarray]:
    """Measures of groups of environments, each [size], as those of all of them."""
    names = dict.fromkeys(name for part in parts for name in part)
    counts = list(sizes)
    return {
        name: np.concatenate(
            [p[name] if name in p else np.full(n, math.nan) for p, n in zip(parts, counts, strict=True)]
        )
        for name in names
    }


def batch_success(infos: Mapping[str, Any], ended: np.ndarray) -> np.ndarray:
    """`success_in` for the infos of a vector environment, [n]; of the slots that `ended` it is told in `final_info`."""
    return np.array([success_in(row) for row in _rows(infos, ended, SUCCESS)])


def batch_measures(infos: Mapping[str, Any], ended: np.ndarray) -> dict[str, np.ndarray]:
    """`measures_in` for the infos of a vector environment, each [n]."""
    names = {*infos, *infos.get("final_info", {})} - {"final_info", "final_obs"}
    told = [name for name in names if not name.startswith("_")]
    return joined([measures_in(row) for row in _rows(infos, ended, sorted(told))])


def _rows(infos: Mapping[str, Any], ended: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """What the infos say under these names, as one dictionary for each environment."""
    rows: list[dict[str, Any]] = [{} for _ in ended]
    for source, slots in ((infos, ~ended), (infos.get("final_info", {}), ended)):
        for name in names:
            values = source.get(name)
            if not isinstance(values, np.ndarray | list | tuple) or len(values) != len(ended):
                continue
            told = slots & np.asarray(source.get(f"_{name}", True), bool)
            for slot in np.flatnonzero(told):
                rows[slot][name] = values[slot]
    return rows


def _number(value: Any) -> float | None:
    """A single number as float; None for anything else, booleans in words included."""
    if isinstance(value, bool | int | float | np.bool_ | np.number):
        return float(value)
    if hasattr(value, "shape") and value.shape in ((), (1,)) and hasattr(value, "item"):
        return _number(value.item())
    return None
