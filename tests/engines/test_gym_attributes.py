"""Tasks as attributes: what gymnasium's environments derive from them, and constructors that hide such things."""

from typing import Any

import gymnasium
import numpy as np
import pytest

import metarl
from metarl.engines.gym_attributes import derived_attributes, set_attributes, stale_attributes
from metarl.testing import check_distribution, distribution_findings


def test_a_cart_pole_is_as_if_built_with_the_task() -> None:
    env = gymnasium.make("CartPole-v1")
    inner: Any = env.unwrapped
    set_attributes(env, {"masspole": 0.5, "length": 1.5})
    assert inner.total_mass == pytest.approx(1.5)
    assert inner.polemass_length == pytest.approx(0.75)
    env.reset(seed=0)
    heavy = env.step(0)[0]
    set_attributes(env, {"masspole": 0.1, "length": 0.5})
    env.reset(seed=0)
    ordinary = gymnasium.make("CartPole-v1")
    ordinary.reset(seed=0)
    np.testing.assert_array_equal(env.step(0)[0], ordinary.step(0)[0])
    assert not np.array_equal(heavy, env.step(0)[0])


def test_the_center_of_a_link_is_at_half_its_length() -> None:
    env = gymnasium.make("Acrobot-v1")
    inner: Any = env.unwrapped
    set_attributes(env, {"LINK_LENGTH_1": 1.5})
    assert (inner.LINK_COM_POS_1, inner.LINK_COM_POS_2) == (0.75, 0.5)
    set_attributes(env, {"LINK_LENGTH_2": 2.0, "LINK_COM_POS_2": 0.3})
    assert inner.LINK_COM_POS_2 == 0.3
    assert type(inner).LINK_COM_POS_1 == 0.5  # other environments stay as they are


def test_wind_blows_where_a_task_says_how_strong() -> None:
    pytest.importorskip("Box2D")
    env = gymnasium.make("LunarLander-v3")
    inner: Any = env.unwrapped
    set_attributes(env, {"gravity": -5.0})
    assert not inner.enable_wind
    set_attributes(env, {"wind_power": 10.0})
    assert inner.enable_wind
    env.reset(seed=0)
    assert tuple(inner.world.gravity) == (0, -5)


class Spring(gymnasium.Env[Any, Any]):
    """Computes its frequency once, and from it a period."""

    observation_space = gymnasium.spaces.Box(-10, 10, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self) -> None:
        self.stiffness: float = 1.0
        self.mass = 1.0
        self.offset = 0.5
        self.frequency = (self.stiffness / self.mass) ** 0.5
        self.period = 6.28 / self.frequency

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0.0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.time += 0.1
        x = np.sin(self.frequency * self.time) + self.mass * action[0]
        return np.array([x], np.float32), float(x), False, False, {}


class StiffSpring(Spring):
    def __init__(self, stiffness: float = 4.0) -> None:
        super().__init__()
        self.energy = self.stiffness / 2


def test_what_constructors_derive_is_read_from_their_source() -> None:
    assert derived_attributes(Spring) == {
        "frequency": {"stiffness", "mass"},
        "period": {"frequency", "stiffness", "mass"},
    }
    assert derived_attributes(StiffSpring)["energy"] == {"stiffness"}
    assert derived_attributes(dict) == {}


class Pole:
    def __init__(self, mass: float = 1.0, length: float = 2.0, friction: float = 0.1) -> None:
        self.mass, self.length = mass, length
        self.moment = mass * length**2
        self.loss = friction


def test_an_argument_is_another_name_of_the_attribute_it_becomes() -> None:
    assert derived_attributes(Pole) == {"moment": {"mass", "length"}}


def test_derived_values_that_stay_behind_are_found() -> None:
    one, other = Spring(), Spring()
    assert stale_attributes(one, other) == {}
    other.mass = 2.0
    assert stale_attributes(one, other) == {"frequency": {"mass"}, "period": {"mass"}}
    other.frequency = 0.7
    assert stale_attributes(one, other) == {"period": {"mass", "frequency"}}
    other.period = 9.0
    assert stale_attributes(one, other) == {}


def test_a_number_may_stay_the_same_on_another_map() -> None:
    class Maze:
        def __init__(self, tiles: str) -> None:
            self.tiles = np.array(list(tiles))
            self.size = len(self.tiles)

    assert derived_attributes(Maze) == {"size": {"tiles"}}
    assert stale_attributes(Maze("SFG"), Maze("SHG")) == {}


def test_check_names_what_a_task_leaves_behind() -> None:
    family = metarl.from_gym(Spring, parameters={"mass": (0.5, 2.0)}, max_episode_steps=20)
    broken = [finding for finding in distribution_findings(family) if not finding.ok]
    assert [finding.title for finding in broken] == ["what a constructor derives follows the task"]
    assert "frequency, computed from mass" in broken[0].detail

    def whole(env: Any, task: dict[str, Any]) -> None:
        spring = env.unwrapped
        spring.mass = task["mass"]
        spring.frequency = (spring.stiffness / spring.mass) ** 0.5
        spring.period = 6.28 / spring.frequency

    check_distribution(metarl.from_gym(Spring, parameters={"mass": (0.5, 2.0)}, apply=whole, max_episode_steps=20))


FAMILIES: dict[str, dict[str, tuple[float, float]]] = {
    "CartPole-v1": {"length": (0.25, 1.5), "masspole": (0.05, 0.5)},
    "Pendulum-v1": {"g": (5, 15), "m": (0.5, 1.5), "l": (0.5, 1.5)},
    "Acrobot-v1": {"LINK_LENGTH_1": (0.5, 1.5), "LINK_LENGTH_2": (0.5, 1.5)},
    "MountainCarContinuous-v0": {"power": (0.001, 0.002)},
    "LunarLander-v3": {"gravity": (-11, -5), "wind_power": (0, 20)},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_gymnasiums_own_environments_keep_the_contract(name: str) -> None:
    if name.startswith("LunarLander"):
        pytest.importorskip("Box2D")
    check_distribution(metarl.from_gym(name, parameters=FAMILIES[name]))


class Remote(gymnasium.Env[Any, Any]):
    """Hands on the attributes of a simulator that lies inside."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self) -> None:
        self.simulator = Spring()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["simulator"], name)

    @property
    def weight(self) -> float:
        return 9.81 * float(self.simulator.mass)


class Through(Remote):
    """Hands on what is set, too."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "simulator":
            self.__dict__[name] = value
        else:
            setattr(self.__dict__["simulator"], name, value)


class Slotted(gymnasium.Env[Any, Any]):
    """Keeps its number in a slot, and another one in its class."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Discrete(2)
    __slots__ = ("mass",)
    GRAVITY = 9.81

    def __init__(self) -> None:
        self.mass = 1.0


def test_an_attribute_that_is_only_handed_on_is_refused_with_its_place() -> None:
    with pytest.raises(ValueError, match=r"Remote has no mass of its own: .*its attribute simulator.*apply=lambda"):
        metarl.from_gym(Remote, {"mass": (0.5, 2.0)}, max_episode_steps=5)
    with pytest.raises(ValueError, match="weight of Remote is a property that cannot be set"):
        metarl.from_gym(Remote, {"weight": (0.5, 2.0)}, max_episode_steps=5)


@pytest.mark.parametrize(("make", "name"), [(Through, "mass"), (Slotted, "mass"), (Slotted, "GRAVITY")])
def test_an_attribute_that_setting_reaches_is_taken(make: Any, name: str) -> None:
    family = metarl.from_gym(make, {name: (0.5, 2.0)}, max_episode_steps=5)
    env: Any = make()
    set_attributes(env, {name: 1.75})
    assert getattr(getattr(env, "simulator", env) if make is Through else env, name) == 1.75
    assert family.horizon == 5
