"""MuJoCo families against gymnasium's own v5 environments, and the two ways of stepping them against each other."""

import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

import metarl
from metarl.engines.mujoco_simulation import Batched, OneByOne, load_model, simulate
from metarl.engines.mujoco_tasks import MujocoTasks
from metarl.engines.mujoco_vector import MujocoEnv
from metarl.imports import installation
from metarl.testing import check_distribution

NO_CONTACT = {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}
Parts = dict[str, float]


def velocity_reward(info: Parts, task: dict[str, Any], env: Any) -> float:
    return float(-abs(info["x_velocity"] - task["velocity"]) + 0.5 * info["reward_ctrl"])


def direction_reward(info: Parts, task: dict[str, Any], env: Any) -> float:
    return float(info["x_velocity"] * task["direction"] + 0.5 * info["reward_ctrl"])


def ant_direction_reward(info: Parts, task: dict[str, Any], env: Any) -> float:
    return float(info["x_velocity"] * task["direction"] + info["reward_survive"] + info["reward_ctrl"])


def ant_goal_reward(info: Parts, task: dict[str, Any], env: Any) -> float:
    goal = task["distance"] * np.array([np.cos(task["angle"]), np.sin(task["angle"])])
    return float(-np.abs(env.data.body("torso").xpos[:2] - goal).sum() + 0.2 * info["reward_ctrl"])


def humanoid_reward(info: Parts, task: dict[str, Any], env: Any) -> float:
    along = info["x_velocity"] * np.cos(task["angle"]) + info["y_velocity"] * np.sin(task["angle"])
    return float(1.25 * along + info["reward_survive"] + info["reward_ctrl"])


def body_reward(info: Parts, task: dict[str, Any], env: Any) -> float:
    return info["reward_forward"] + info["reward_survive"] + info["reward_ctrl"]


def change_body(env: Any, task: dict[str, Any]) -> None:
    model = env.model
    model.body_mass[1:] *= task["mass"]
    model.body_inertia[1:] *= task["inertia"][:, None]
    model.geom_friction[:] *= task["friction"][:, None]
    model.dof_damping[:] *= task["damping"]
    mujoco.mj_setConst(model, env.data)


def nothing(env: Any, task: dict[str, Any]) -> None: ...


ORIGINALS: list[tuple[str, str, dict[str, Any], Callable[..., float], Callable[..., None]]] = [
    ("half-cheetah-velocity", "HalfCheetah-v5", {}, velocity_reward, nothing),
    ("half-cheetah-velocity-3", "HalfCheetah-v5", {}, velocity_reward, nothing),
    ("half-cheetah-direction", "HalfCheetah-v5", {}, direction_reward, nothing),
    ("ant-direction", "Ant-v5", NO_CONTACT, ant_direction_reward, nothing),
    (
        "ant-goal",
        "Ant-v5",
        {**NO_CONTACT, "exclude_current_positions_from_observation": False, "terminate_when_unhealthy": False},
        ant_goal_reward,
        nothing,
    ),
    ("hopper-body", "Hopper-v5", {}, body_reward, change_body),
    ("walker-2d-body", "Walker2d-v5", {}, body_reward, change_body),
    ("humanoid-direction", "Humanoid-v5", NO_CONTACT, humanoid_reward, nothing),
]


@pytest.mark.parametrize(("name", "original", "options", "reward", "change"), ORIGINALS, ids=lambda x: str(x)[:24])
def test_an_episode_equals_gymnasiums(
    name: str, original: str, options: dict[str, Any], reward: Callable[..., float], change: Callable[..., None]
) -> None:
    """One family member beside the original in the same task, from the same seed, to the end of an episode."""
    family = metarl.make(name)
    ours = family.env()
    for seed in range(2):
        theirs = gymnasium.make(original, max_episode_steps=family.horizon, **options)
        first, _ = ours.reset(seed=seed)
        assert isinstance(ours, MujocoEnv)
        assert ours.task is not None
        task = {key: values[0].numpy() for key, values in ours.task.parameters.items()}
        inner: Any = theirs.unwrapped
        change(inner, task)
        begun, _ = theirs.reset(seed=seed)
        np.testing.assert_array_equal(first, begun.astype(np.float32))
        rng, steps, done = np.random.default_rng(seed), 0, False
        while not done:
            action = rng.uniform(-0.4, 0.4, ours.action_space.shape).astype(np.float32)
            got, paid, terminated, truncated, _ = ours.step(action)
            expected, _, fell, late, info = theirs.step(action)
            np.testing.assert_array_equal(got, expected.astype(np.float32))
            assert paid == pytest.approx(reward(info, task, inner), abs=1e-5)
            assert (terminated, truncated) == (fell, late and not fell)
            steps, done = steps + 1, terminated or truncated
        assert steps > 5
        theirs.close()


def episode(family: metarl.TaskDistribution, num_envs: int = 3, steps: int = 230) -> list[torch.Tensor]:
    env = family.vector_env(num_envs)
    env.set_tasks(family.sample(num_envs, torch.Generator().manual_seed(0)))
    generator = torch.Generator().manual_seed(1)
    seen = [env.reset(seed=5)[0]]
    for _ in range(steps):
        observation, reward, *ends, _ = env.step(2 * torch.rand(num_envs, 6, generator=generator) - 1)
        seen += [observation, reward, *ends]
    return seen


@pytest.mark.parametrize("name", ["half-cheetah-velocity", "walker-2d-body"])
def test_without_the_batch_the_numbers_are_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batched = episode(metarl.make(name))
    monkeypatch.setitem(sys.modules, "mujoco.batch", None)  # as in a mujoco before 3.17
    assert all(torch.equal(one, other) for one, other in zip(batched, episode(metarl.make(name)), strict=True))


def test_an_older_mujoco_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco.batch", None)
    check_distribution(metarl.make("hopper-body"))


def cheetah_model() -> Any:
    family = metarl.make("half-cheetah-velocity")
    assert isinstance(family, MujocoTasks)
    return family.model


@pytest.mark.parametrize("kind", [Batched, OneByOne])
def test_divergence_is_noticed_where_it_happens(kind: type) -> None:
    if kind is Batched:
        pytest.importorskip("mujoco.batch")
    model = cheetah_model()
    simulations = kind(model, 3)
    qvel = np.zeros((3, model.nv))
    qvel[1, 1] = -1e8  # into the ground
    simulations.restart(np.arange(3), np.tile(model.qpos0, (3, 1)), qvel)
    assert simulations.step(5).tolist() == [False, True, False]
    assert simulations.step(5).tolist() == [False, False, False]


def test_a_diverged_episode_ends_and_pays_nothing() -> None:
    pytest.importorskip("mujoco.batch")  # velocities can be written from outside there only
    family = metarl.make("half-cheetah-velocity")
    env = family.vector_env(2)
    env.set_tasks(family.sample(2, torch.Generator().manual_seed(0)))
    env.reset(seed=0)
    env.simulations.qvel[1] = 1e12  # type: ignore[attr-defined]
    first, reward, terminated, truncated, info = env.step(torch.zeros(2, 6))
    assert terminated.tolist() == info["diverged"].tolist() == [False, True]
    assert not truncated.any()
    assert reward[1] == 0
    assert first.abs().max() < 10


def test_changing_one_simulation_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    model = cheetah_model()
    batched = simulate(model, 2)
    monkeypatch.setitem(sys.modules, "mujoco.batch", None)
    for simulations in (batched, simulate(model, 2)):
        simulations.change({"body_mass": 2 * model.body_mass[None]}, np.array([1]))
        one, other = (simulations.snapshot(row)[0] for row in (0, 1))
        np.testing.assert_array_equal(one.body_mass, model.body_mass)
        np.testing.assert_array_equal(other.body_mass, 2 * model.body_mass)
        np.testing.assert_allclose(other.body_subtreemass, 2 * model.body_subtreemass)


def test_a_missing_mujoco_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(ImportError, match=re.escape(installation("mujoco"))):
        load_model("any.xml")


def test_what_mujoco_says_of_a_model_is_a_warning_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cheetah = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / "half_cheetah.xml"
    text = cheetah.read_text(encoding="utf-8")
    file = tmp_path / "robot.xml"
    file.write_text(text if "settotalmass" in text else text.replace("<compiler ", "<compiler settotalmass='14' "))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert load_model(str(file)).nq == 9
    assert all("robot.xml" in str(warning.message) for warning in seen)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["robot.xml"]
