"""Success and own measures in infos, of single environments, of vector environments and in evaluations."""

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

import metarl
from metarl.agents.classical.uniform import RandomPolicy
from metarl.engines.info_numbers import batch_success, concatenated, joined, measures_in, success_in
from metarl.engines.vector_tasks import VectorTasks
from metarl.evaluation.results import Evaluation
from metarl.reports.page import write_report
from metarl.sb3 import TaskVecEnv


@pytest.mark.parametrize(
    ("info", "success"),
    [
        ({"success": True}, 1.0),
        ({"is_success": np.bool_(False)}, 0.0),
        ({"success": 1}, 1.0),
        ({"success": np.array([0.0])}, 0.0),
        ({"success": torch.tensor(1)}, 1.0),
        ({"success": None, "is_success": 1.0}, 1.0),
    ],
)
def test_success_is_one_or_zero(info: dict[str, Any], success: float) -> None:
    assert success_in(info) == success


@pytest.mark.parametrize("info", [{}, {"success": math.nan}, {"is_success": np.float32("nan")}, {"success": None}])
def test_success_may_be_unknown(info: dict[str, Any]) -> None:
    assert math.isnan(success_in(info))


@pytest.mark.parametrize("value", [0.7, -1, 2, "True", "", [True], np.ones(2), {}])
def test_what_is_no_success_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="must be True or False, 1 or 0, got"):
        success_in({"success": value})


def test_measures_are_the_single_numbers() -> None:
    info = {
        "power": np.float32(0.5),
        "hit": True,
        "count": np.array(3),
        "picture": np.zeros((2, 2)),
        "words": "far",
        "nested": {"x": 1.0},
        "unknown": math.nan,
        "success": 1,
        "TimeLimit.truncated": False,
    }
    assert measures_in(info) == {"power": 0.5, "hit": 1.0, "count": 3.0}


class Arm(gymnasium.Env[Any, Any]):
    """Three steps: at the goal in the second only where `slips`; heat in every step, a grade at the end."""

    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, slips: int = 0, render_mode: str | None = None) -> None:
        self.slips = slips

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        info: dict[str, Any] = {"heat": 10.0 * self.t, "is_success": self.t == 2 or (self.t == 3 and not self.slips)}
        if self.t == 3 and not self.slips:
            info["grade"] = 7
        return np.zeros(1, np.float32), 0.0, False, self.t == 3, info


def arms(**options: Any) -> Any:
    from metarl.priors import Integers

    return metarl.from_gym(Arm, {"slips": Integers(0, 1)}, max_episode_steps=3, share_tasks=True, **options)


def measured(**options: Any) -> Evaluation:
    family = arms(**options)
    return metarl.evaluate(RandomPolicy(family, 12), family, num_tasks=12, num_episodes=2, name="hand")


def test_measures_of_several_groups_are_those_of_all_environments() -> None:
    parts = [joined([{"heat": 1.0}, {}]), joined([{"grade": 7.0}]), {}]
    found = concatenated(parts, [2, 1, 2])
    assert sorted(found) == ["grade", "heat"]
    np.testing.assert_array_equal(found["heat"], [1, np.nan, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(found["grade"], [np.nan, np.nan, 7, np.nan, np.nan])


def test_an_evaluation_keeps_success_at_the_end_and_the_environments_measures() -> None:
    result = measured()
    assert result.tasks is not None
    slips = np.array(result.tasks["slips"], bool)
    assert slips.any()
    assert not slips.all()
    assert result.success is not None
    assert result.success.all()
    assert result.success_at_end is not None
    assert (result.success_at_end == ~slips[:, None]).all()
    assert (result.measures["heat"] == 20).all()  # the mean of 10, 20 and 30
    assert (result.measures["grade"][~slips] == 7).all()  # told at the last step only
    assert np.isnan(result.measures["grade"][slips]).all()
    assert result.measure_curve("grade").value.tolist() == [7, 7]
    with pytest.raises(ValueError, match=r"no measure 'speed'; there are \['grade', 'heat'\]"):
        result.measure_curve("speed")


def test_measures_survive_a_file_and_stand_in_tables_and_on_the_page(tmp_path: Any) -> None:
    result = measured()
    result.save(tmp_path / "result.json")
    again = Evaluation.load(tmp_path / "result.json")
    for name, values in result.measures.items():
        np.testing.assert_array_equal(again.measures[name], values)
    np.testing.assert_array_equal(again.success_at_end, result.success_at_end)
    table = result.table()
    assert "solved last" in table
    assert "at its end" in table
    assert any(line.split() == ["heat,", "hand", "20.00", "20.00"] for line in table.splitlines())
    page = write_report(tmp_path / "report.html", title="arms", evaluations=[result]).read_text(encoding="utf-8")
    assert "heat, hand" in page
    assert page.count("own measure in each episode") == 2


def test_an_older_result_has_neither_and_loads() -> None:
    text = measured().to_json().replace('"success_at_end"', '"ignored"')
    import json

    fields = json.loads(text)
    del fields["ignored"], fields["measures"]
    old = Evaluation.from_json(json.dumps(fields))
    assert old.success_at_end is None
    assert old.measures == {}
    assert "at its end" not in old.table()


def test_stable_baselines3_is_told_the_measures() -> None:
    env = TaskVecEnv(arms(), num_envs=2)
    env.reset()
    infos = env.step(np.zeros(2, int))[3]
    assert [info["heat"] for info in infos] == [10.0, 10.0]


class Batch(gymnasium.vector.VectorEnv[Any, Any, Any]):
    """Steps a batch itself; the last info of an episode is in final_info."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.t = num_envs, np.zeros(num_envs, int)
        self.single_observation_space, self.single_action_space = spaces.Box(0, 9, (1,)), spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        self.t[mask] = 0
        return self.t[:, None].astype(np.float32), {}

    def step(self, actions: Any) -> Any:
        self.t += 1
        ended, now = self.t == 2, self.t.copy()
        self.t[ended] = 0
        last = now[:, None].astype(np.float32)
        infos: dict[str, Any] = {"heat": 5.0 * now, "_heat": ~ended, "final_obs": last, "power": np.zeros((4, 3))}
        infos["final_info"] = {"heat": 100.0 * np.ones(self.num_envs), "success": ended}
        observation = self.t[:, None].astype(np.float32)
        return observation, np.zeros(self.num_envs), np.zeros(self.num_envs, bool), ended, infos


def test_measures_of_a_vector_environment_come_from_the_infos_of_their_step() -> None:
    family = VectorTasks("batch-v1", Batch, {"k": (0.0, 1.0)}, apply=lambda envs, tasks: None, max_episode_steps=2)
    result = metarl.evaluate(RandomPolicy(family, 4), family, num_tasks=4, num_episodes=2)
    assert set(result.measures) == {"heat"}
    assert (result.measures["heat"] == (5 + 100) / 2).all()
    assert result.success is not None
    assert result.success.all()
    with pytest.raises(ValueError, match="must be True or False"):
        batch_success({"success": np.array([0.5, 1.0])}, np.zeros(2, bool))
