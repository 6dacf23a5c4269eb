"""Tasks as attributes of an environment, and what else has to change with them."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeGuard

import gymnasium
import numpy as np


def set_attributes(env: "gymnasium.Env[Any, Any]", task: Mapping[str, Any]) -> None:
    """Set the attributes of `env.unwrapped` that `task` names, and what is derived from them where that is known."""
    inner = env.unwrapped
    for name, value in task.items():
        setattr(inner, name, value)
    for kind in type(inner).__mro__:
        recipe = RECIPES.get(f"{kind.__module__}:{kind.__qualname__}")
        if recipe is not None:
            for name, value in recipe(inner, task).items():
                setattr(inner, name, value)


def require_attributes(env: "gymnasium.Env[Any, Any]", names: Collection[str]) -> None:
    """ValueError unless all `names` are attributes of `env.unwrapped` that can be set there.

    It lists the numbers of the object for those that are missing, and says where an attribute is that the object only
    hands on: set outside, it would not reach what reads it.
    """
    inner = env.unwrapped
    missing = sorted(name for name in names if not hasattr(inner, name))
    if missing:
        known = sorted(name for name in dir(inner) if name[0] != "_" and _is_number(getattr(inner, name, None)))
        raise ValueError(
            f"{type(inner).__name__} has no attribute {', '.join(missing)}; its numbers: {', '.join(known)}"
        )
    for name in sorted(names):
        if not _is_own(inner, name):
            raise ValueError(
                f"{type(inner).__name__} has no {name} of its own: it hands on the one of {_owner(inner, name)}; "
                "set it there by a function: apply=lambda env, task: ..."
            )
        if _is_read_only(inner, name):
            raise ValueError(f"{name} of {type(inner).__name__} is a property that cannot be set: name what it reads")


def _is_own(instance: Any, name: str) -> bool:
    """Whether setting the attribute changes what reading it gives: it is the object's, its class's, or set by it."""
    kinds = type(instance).__mro__
    return (
        name in getattr(instance, "__dict__", {})
        or any(name in vars(kind) for kind in kinds)
        or any("__setattr__" in vars(kind) for kind in kinds if kind is not object)
    )


def _owner(instance: Any, name: str) -> str:
    """Which attribute of an object has the attribute `name`, in words."""
    found = (key for key, value in vars(instance).items() if hasattr(value, name))
    return f"its attribute {next(found, '(not found)')}"


def _is_read_only(instance: Any, name: str) -> bool:
    found = next((vars(kind)[name] for kind in type(instance).__mro__ if name in vars(kind)), None)
    return isinstance(found, property) and found.fset is None


def derived_attributes(kind: type) -> dict[str, frozenset[str]]:
    """Which attributes a class's constructors compute from other attributes of the same object, by their source.

    `self.total = self.pole + self.cart` makes {"total": {"pole", "cart"}}; what is computed from derived ones depends
    on all that they depend on. Classes whose source cannot be read say nothing.
    """
    direct: dict[str, set[str]] = {}
    for each in reversed(kind.__mro__):
        assignments = _assignments(each)
        # `self.pole = pole` makes the argument another name of the attribute
        names = {value.id: target for target, value in assignments if isinstance(value, ast.Name)}
        for target, value in assignments:
            direct.setdefault(target, set()).update(_own_attributes(value, names))
    return {name: frozenset(sources) for name in direct if (sources := _sources(name, direct) - {name})}


def stale_attributes(one: Any, other: Any) -> dict[str, frozenset[str]]:
    """Derived numbers that are equal in two objects of a class although numbers they derive from differ: what of it.

    Given the same environment in two tasks, these kept the value that the constructor gave them.
    """

    def differs(name: str) -> bool:
        first, second = getattr(one, name, None), getattr(other, name, None)
        return _is_number(first) and _is_number(second) and not np.array_equal(first, second)

    changed = {
        name: frozenset(filter(differs, sources))
        for name, sources in derived_attributes(type(one)).items()
        if _is_number(getattr(one, name, None)) and not differs(name)
    }
    return {name: sources for name, sources in changed.items() if sources}


def _cart_pole(env: Any, task: Mapping[str, Any]) -> dict[str, float]:
    return {"total_mass": env.masspole + env.masscart, "polemass_length": env.masspole * env.length}


def _acrobot(env: Any, task: Mapping[str, Any]) -> dict[str, float]:
    """The center of a link stays at half its length; the moments of inertia are the environment's own."""
    halves = {f"LINK_COM_POS_{i}": getattr(env, f"LINK_LENGTH_{i}") / 2 for i in (1, 2)}
    return {name: half for name, half in halves.items() if name not in task}


def _lunar_lander(env: Any, task: Mapping[str, Any]) -> dict[str, bool]:
    """Wind blows in tasks that say how strong it is."""
    return {"enable_wind": True} if {"wind_power", "turbulence_power"} & set(task) and "enable_wind" not in task else {}


# What gymnasium's environments derive from their attributes. Pendulum, the mountain cars and BipedalWalker read theirs
# at every step or reset and derive nothing.
RECIPES: dict[str, Callable[[Any, Mapping[str, Any]], Mapping[str, Any]]] = {
    "gymnasium.envs.classic_control.cartpole:CartPoleEnv": _cart_pole,
    "gymnasium.envs.classic_control.acrobot:AcrobotEnv": _acrobot,
    "gymnasium.envs.box2d.lunar_lander:LunarLander": _lunar_lander,
}


def _assignments(kind: type) -> list[tuple[str, ast.expr]]:
    """`self.name = value` in the constructor of one class, in their order."""
    constructor = vars(kind).get("__init__")
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(constructor)))  # type: ignore[arg-type]
    except (TypeError, OSError, SyntaxError):  # not written in Python, or not in a file
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            pairs = (pair for target in node.targets for pair in _unpacked(target, node.value))
            found += [(name, value) for target, value in pairs if (name := _own_attribute(target))]
        elif isinstance(node, ast.AnnAssign) and node.value is not None and (name := _own_attribute(node.target)):
            found.append((name, node.value))
    return found


def _unpacked(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """`a, b = x, y` as a = x and b = y."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def _own_attributes(value: ast.expr, names: Mapping[str, str]) -> set[str]:
    """Attributes that an expression reads, also by the `names` of arguments that were assigned to them."""
    read = {name for node in ast.walk(value) if (name := _own_attribute(node))}
    return read | {names[node.id] for node in ast.walk(value) if isinstance(node, ast.Name) and node.id in names}


def _own_attribute(node: ast.AST) -> str:
    """The name in `self.name`, empty for anything else."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return node.attr
    return ""


def _sources(name: str, direct: Mapping[str, set[str]]) -> set[str]:
    """All that `name` depends on, through whatever lies between."""
    reached, waiting = set[str](), list(direct.get(name, ()))
    while waiting:
        source = waiting.pop()
        if source not in reached:
            reached.add(source)
            waiting += direct.get(source, ())
    return reached


def _is_number(value: object) -> TypeGuard[int | float | np.number[Any] | np.ndarray[Any, Any]]:
    if isinstance(value, np.ndarray):
        return np.issubdtype(value.dtype, np.number)
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
