"""How environments are made: names, slots, what is registered anew, and what is none of gymnasium."""

import functools
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import metarl
from metarl.engines.gym_vector import EnvBatch


class Port(gymnasium.Env[Any, Any]):
    """Tells its port."""

    observation_space = spaces.Box(0, 9999, (1,), np.float32)
    action_space = spaces.Discrete(2)
    open_ports: set[int] = set()  # noqa: RUF012

    def __init__(self, gain: float = 1.0, slot: int = 0, render_mode: str | None = None) -> None:
        if slot == 666:
            raise OSError("port in use")
        self.gain, self.port = gain, 7000 + slot
        self.open_ports.add(self.port)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.array([self.port], np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.array([self.port], np.float32), self.gain, False, False, {}

    def close(self) -> None:
        self.open_ports.discard(self.port)


@pytest.mark.parametrize(("workers", "apply"), [(0, "attributes"), (0, "kwargs"), (2, "kwargs")])
def test_every_copy_is_told_its_slot(workers: int, apply: Any) -> None:
    family = metarl.from_gym(Port, {"gain": (0.0, 1.0)}, apply=apply, max_episode_steps=2, workers=workers)
    env = family.vector_env(5)
    try:
        env.set_tasks(family.sample(5, metarl.seeding.generator(0)))
        assert env.reset(seed=0)[0].flatten().tolist() == [7000, 7001, 7002, 7003, 7004]
    finally:
        env.close()
    assert not Port.open_ports


def test_where_one_copy_cannot_be_opened_the_others_are_closed() -> None:
    family = metarl.from_gym(Port, {"gain": (0.0, 1.0)}, max_episode_steps=2)
    with pytest.raises(RuntimeError, match=r"environment 666 of port-gain-v1.*port in use"):
        EnvBatch(family, 664, 3, family.slot_env)
    assert not Port.open_ports


def test_closing_goes_on_where_one_environment_cannot_be_closed() -> None:
    class Stuck(Port):
        def close(self) -> None:
            super().close()
            if self.port == 7001:
                raise RuntimeError("stuck")

    family = metarl.from_gym(Stuck, {"gain": (0.0, 1.0)}, max_episode_steps=2)
    env = family.vector_env(3)
    with pytest.raises(RuntimeError, match="stuck"):
        env.close()
    assert not Port.open_ports


def test_an_id_that_is_registered_anew_is_another_environment() -> None:
    for limit in (5, 9):
        gymnasium.register("AnewForTests-v0", lambda **options: Port(**options), max_episode_steps=limit)
        assert metarl.from_gym("AnewForTests-v0", {"gain": (0.0, 1.0)}).horizon == limit
        del gymnasium.registry["AnewForTests-v0"]


@dataclass
class Maker:
    """Callable and, as a dataclass that can be compared, without a hash."""

    gain: float = 2.0

    def __call__(self, render_mode: str | None = None) -> Port:
        return Port(self.gain)


def test_a_maker_needs_no_hash_and_each_is_its_own() -> None:
    short = metarl.from_gym(Maker(), {"gain": (0.0, 1.0)}, max_episode_steps=2)
    assert short.horizon == 2
    assert short.name == "port-gain-v1"
    assert metarl.from_gym(Maker(), {"gain": (0.0, 1.0)}, max_episode_steps=4).horizon == 4


def test_families_of_nameless_functions_are_called_after_what_they_make() -> None:
    parameters = {"length": (0.4, 0.6)}
    assert metarl.from_gym(lambda: gymnasium.make("CartPole-v1"), parameters).name == "cartpole-length-v1"
    own = metarl.from_gym(functools.partial(Port, 1.0), {"gain": (0.0, 1.0)}, max_episode_steps=3)
    assert own.name == "port-gain-v1"
    with pytest.raises(ValueError, match=r"^this family: Port has no attribute speed"):
        metarl.from_gym(lambda: Port(), {"speed": (0.0, 1.0)}, max_episode_steps=3)


class Stranger:
    """Looks like an environment and is none of gymnasium's."""

    observation_space = action_space = spaces.Discrete(2)
    gain = 0.0

    def close(self) -> None: ...


@pytest.mark.parametrize("steps", [None, 5])
def test_what_is_no_environment_of_gymnasium_is_named(steps: int | None) -> None:
    with pytest.raises(ValueError, match=r"make must return a gymnasium.Env, got an object of .*Stranger"):
        metarl.from_gym(Stranger, {"gain": (0.0, 1.0)}, max_episode_steps=steps)  # type: ignore[arg-type]


def test_numbers_of_numpy_are_taken_wherever_numbers_are() -> None:
    for make in ("CartPole-v1", lambda: gymnasium.make("CartPole-v1")):
        family = metarl.from_gym(
            make,
            {"length": (np.float32(0.5), np.float64(1.0))},
            max_episode_steps=np.int32(7),
            num_episodes=np.int64(2),
        )
        assert (family.horizon, type(family.max_episode_steps), type(family.num_episodes)) == (7, int, int)


class Unequal(Port):
    def step(self, action: Any) -> Any:
        return super().step(action)[:4]


def test_four_values_of_a_step_are_called_so_under_a_time_limit() -> None:
    env = metarl.from_gym(Unequal, {"gain": (0.0, 1.0)}, max_episode_steps=5).env()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"step must return 5 values.*terminated, truncated and info, got 4"):
        env.step(0)
