"""The evaluator counts every step once, in the right task and episode, and refuses what would spoil the count."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import metarl
from metarl.engines.native import NativeDistribution
from metarl.evaluation.evaluator import evaluate
from metarl.evaluation.results import Evaluation
from metarl.files import write_atomically
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import OptimalReturn, Step, TaskVectorEnv
from metarl.tasks.policies import AdaptivePolicy, PrivilegedPolicy, Transition
from metarl.trials.recording import record_trial


class Constant(AdaptivePolicy):
    """Always the same action; counts what it was told."""

    def __init__(self, num_tasks: int, action: Any = 0, device: str = "cpu") -> None:
        super().__init__(num_tasks, device)
        self.action = torch.as_tensor(action, device=device)
        self.begun = 0
        self.observed: list[Transition] = []

    def begin(self, mask: Tensor | None = None) -> None:
        self.begun += 1

    def act(self, observation: Tensor) -> Tensor:
        return self.action.expand(self.num_tasks, *self.action.shape)

    def observe(self, transition: Transition) -> None:
        self.observed.append(transition)


class BestArm(PrivilegedPolicy):
    """An oracle: pulls the arm it was told is best."""

    def begin(self, mask: Tensor | None = None) -> None:
        pass

    def set_tasks(self, tasks: Tasks) -> None:
        self.best: Tensor = tasks["means"].argmax(1)

    def act(self, observation: Tensor) -> Tensor:
        return self.best

    def values(self, observation: Tensor) -> None:
        return None

    def observe(self, transition: Transition) -> None:
        pass


@dataclass(frozen=True)
class Countdown(NativeDistribution):
    """Every action costs the task's `pace`; the episode ends when 6 are used up. `broken_at` poisons a total."""

    broken_at: float = -1.0
    poison: str = "reward"

    @property
    def name(self) -> str:
        return "countdown-v1"

    @property
    def observation_space(self) -> Any:
        return metarl.make("bernoulli-bandit").observation_space

    @property
    def action_space(self) -> Any:
        return metarl.make("bernoulli-bandit").action_space

    @property
    def task_space(self) -> Any:
        from gymnasium import spaces

        return spaces.Dict({"pace": spaces.Box(1, 6, (), np.int64)})

    @property
    def horizon(self) -> int:
        return 4

    @property
    def num_episodes(self) -> int:
        return 3

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"pace": torch.arange(num_tasks) % 3 + 1}

    def initial_state(self, tasks: Tasks, generator: torch.Generator) -> Tensor:
        return torch.zeros(len(tasks), device=tasks.device)

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        poisoned = (state == self.broken_at) & (self.poison == "observation")
        return torch.where(poisoned, torch.nan, state)[:, None]

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        following = state + tasks["pace"]
        poisoned = (following == self.broken_at) & (self.poison == "reward")
        return following, torch.where(poisoned, torch.inf, tasks["pace"].float()), following >= 6

    def frame(self, state: Tensor, task: Tasks) -> np.ndarray:
        return np.full((2, 2, 3), int(state[0]), np.uint8)

    def optimal_return(self, num_episodes: int | None = None) -> OptimalReturn:
        episodes = num_episodes or self.num_episodes
        return OptimalReturn((6.0,) * episodes, 6.0 * episodes, "bound")


@pytest.mark.parametrize("slots", [1, 4, 7, 20])
def test_returns_and_steps_of_staggered_episodes(slots: int, device: str) -> None:
    # pace 1 is truncated after 4 steps with return 4; pace 2 and 3 end after 3 and 2 steps with return 6
    policy = Constant(slots, device=device)
    result = evaluate(policy, Countdown(), num_tasks=7)
    returns, steps = np.array([4, 6, 6, 4, 6, 6, 4]), np.array([4, 3, 2, 4, 3, 2, 4])
    np.testing.assert_array_equal(result.returns, np.repeat(returns[:, None], 3, 1))
    np.testing.assert_array_equal(result.steps, np.repeat(steps[:, None], 3, 1))
    np.testing.assert_array_equal(result.ended[:, -1], 3 * steps)
    assert policy.begun == -(-7 // slots)
    assert result.success is None


def test_step_curve_averages_the_trials_that_last_so_long() -> None:
    result = evaluate(Constant(4), Countdown(), num_tasks=3)
    assert result.step_counts.tolist() == [3] * 6 + [2] * 3 + [1] * 3
    assert result.step_rewards.tolist() == [2.0] * 6 + [1.5] * 3 + [1.0] * 3
    np.testing.assert_allclose(result.step_errors[[0, 6, 9]], [1 / 3**0.5, 0.5, 0.0])
    assert (result.step_rewards * result.step_counts).sum() == result.returns.sum()


def test_policy_observes_where_its_action_led_before_the_reset() -> None:
    policy = Constant(1)
    evaluate(policy, Countdown(), num_tasks=1, num_episodes=2)
    ends = [step for step in policy.observed if bool(step.done)]
    assert [float(step.next_observation) for step in ends] == [4.0, 4.0]  # one task: pace 1, truncated after 4 steps
    assert [bool(step.terminated) for step in ends] == [False, False]
    assert [float(step.observation) for step in policy.observed] == [0.0, 1.0, 2.0, 3.0] * 2


def test_every_policy_meets_the_same_tasks_and_another_seed_others() -> None:
    bandits = metarl.make("bernoulli-bandit")
    first = evaluate(Constant(8), bandits, num_tasks=10, seed=1)
    again = evaluate(Constant(5, 2), bandits, num_tasks=10, seed=1)
    other = evaluate(Constant(8), bandits, num_tasks=10, seed=2)
    test = evaluate(Constant(8), bandits.split("test"), num_tasks=10, seed=1)
    assert first.tasks == again.tasks
    assert first.tasks != other.tasks
    assert first.tasks != test.tasks
    assert test.split == "test"
    repeated = evaluate(Constant(8), bandits, num_tasks=10, seed=1)
    np.testing.assert_array_equal(first.returns, repeated.returns)


def test_oracle_is_told_the_tasks_of_every_batch() -> None:
    result = evaluate(BestArm(64), metarl.make("bernoulli-bandit"), num_tasks=400, num_episodes=20)
    expected, error = 20 * 5 / 6, 20 * (1 / 36 / 400 * 5 / 7 + 1 / 8 / 8000) ** 0.5  # the largest of five uniforms
    assert result.totals.mean() == pytest.approx(expected, abs=5 * error)
    assert result.privileged
    assert Evaluation.from_json(result.to_json()).privileged


class Reporting(TaskVectorEnv):
    """Wraps the native engine and reports success at the second step of tasks of pace 2."""

    def __init__(self, env: TaskVectorEnv) -> None:
        super().__init__(env.distribution, env.num_envs, env.device)
        self.env = env

    def _tasks_changed(self, mask: Tensor | None) -> None:
        self.env.set_tasks(self.tasks, mask)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Tensor) -> Step:
        observation, reward, terminated, truncated, info = self.env.step(actions)
        return observation, reward, terminated, truncated, {**info, "success": info["final_obs"][:, 0] == 4}


def test_success_counts_at_any_step_of_the_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    native = Countdown.vector_env
    monkeypatch.setattr(Countdown, "vector_env", lambda self, *sizes: Reporting(native(self, *sizes)))
    result = evaluate(Constant(2), Countdown(), num_tasks=3)
    assert result.success is not None
    assert result.success.tolist() == [[True] * 3, [True] * 3, [False] * 3]  # 1+1+1+1, 2+2, never
    result.success[0, 1:] = False
    assert result.success_after(1).tolist() == [0, 1, 0]
    assert result.success_after(0).tolist() == pytest.approx([1 / 3, 1, 0])
    for episodes in (-1, 3):
        with pytest.raises(ValueError, match=rf"none of the 3 episodes comes after {episodes} of adaptation"):
            result.success_after(episodes)
    result.success[0, 1:] = True
    curve = result.success_curve()
    assert curve is not None
    np.testing.assert_allclose(curve.value, 2 / 3)
    assert "66.7%" in result.table()


@pytest.mark.parametrize("poison", ["reward", "observation"])
def test_values_that_are_not_finite_name_their_place(poison: str) -> None:
    with pytest.raises(
        ValueError, match=rf"{poison} that is not finite, in task 2, episode 1 at step 0.*'pace': \[3\]"
    ):
        evaluate(Constant(4), Countdown(broken_at=3.0, poison=poison), num_tasks=3)


def test_broken_values_after_the_last_episode_do_not_count() -> None:
    # only pace 1 reaches 3, in its fourth step, when the trials of pace 2 and 3 go on in any case
    with pytest.raises(ValueError, match="task 0, episode 1 at step 2"):
        evaluate(Constant(1), Countdown(broken_at=3.0), num_tasks=1)
    assert evaluate(Constant(1), Countdown(broken_at=5.0), num_tasks=1).returns.sum() == 12


@pytest.mark.parametrize(
    ("name", "action", "message"),
    [
        ("bernoulli-bandit", [0, 1], r"action of shape \(2, 2\) instead of \(2,\)"),
        ("bernoulli-bandit", 5, r"action outside Discrete\(5\), in task 0, episode 1 at step 0"),
        ("point-navigation", [0.0, float("nan")], "action that is not finite, in task 0.*'goal'"),
    ],
)
def test_impossible_actions_are_refused(name: str, action: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(Constant(2, action), metarl.make(name), num_tasks=2)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="num_episodes"):
        evaluate(Constant(2), Countdown(), num_tasks=2, num_episodes=0)
    with pytest.raises(ValueError, match="num_tasks"):
        evaluate(Constant(2), Countdown(), num_tasks=0)


def test_summaries_of_known_returns() -> None:
    result = evaluate(Constant(3), Countdown(), num_tasks=3)
    assert result.curve().value.tolist() == pytest.approx([16 / 3] * 3)
    assert result.total().value == pytest.approx(16)
    assert [float(x) for x in result.gap()] == [0.0, 0.0, 0.0]
    assert result.regret == pytest.approx(2.0)
    regret = result.regret_curve()
    assert regret is not None
    assert regret.tolist() == pytest.approx([2 / 3] * 3)


def test_json_keeps_everything(tmp_path: Path) -> None:
    result = evaluate(Constant(3, [0.05, -0.02]), metarl.make("point-navigation"), num_tasks=3, num_episodes=2)
    result.save(tmp_path / "folder" / "evaluation.json")
    loaded = Evaluation.load(tmp_path / "folder" / "evaluation.json")
    assert loaded.to_json() == result.to_json()
    np.testing.assert_array_equal(loaded.returns, result.returns)
    assert loaded.returns.dtype == result.returns.dtype
    assert loaded.tasks == result.tasks
    counted = evaluate(Constant(2), Countdown(), num_tasks=2)
    assert Evaluation.from_json(counted.to_json()).optimal == counted.optimal
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["evaluation.json"]


def test_many_task_parameters_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metarl.evaluation.evaluator.MOST_TASK_VALUES", 2)
    assert evaluate(Constant(3), Countdown(), num_tasks=2).tasks is not None
    assert evaluate(Constant(3), Countdown(), num_tasks=3).tasks is None


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    text = evaluate(Constant(2), Countdown(), num_tasks=2).to_json()
    for damaged in (text[: len(text) // 2], "[]", "{}", text.replace('"format": 1', '"format": 99')):
        path.write_text(damaged)
        with pytest.raises(ValueError, match=r"evaluation\.json: not an evaluation"):
            Evaluation.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result"
    write_atomically(path, "old")

    def full(source: str, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_aligns_and_shows_the_optimum() -> None:
    lines = evaluate(Constant(3), Countdown(), num_tasks=3, name="steady").table().splitlines()
    assert lines[0] == ("countdown-v1 (broken_at=-1.0, poison=reward) · train split · 3 episodes · 3 tasks · seed 0")
    assert lines[2].split() == ["policy", "ep", "1", "ep", "2", "ep", "3", "trial", "±", "s.e.", "regret"]
    assert lines[4].split() == ["steady", "5.333", "5.333", "5.333", "16.0", "±", "2.0", "2.000"]
    assert lines[5].split() == ["optimum", "(bound)", "6.000", "6.000", "6.000", "18.00", "0.000"]
    assert len({len(line) for line in lines[2:]}) == 1


def test_a_long_trial_shows_few_episodes() -> None:
    from metarl.evaluation.formatting import shown_episodes

    assert shown_episodes(4) == [0, 1, 2, 3]
    assert len(shown_episodes(500)) <= 8
    assert shown_episodes(500)[0] == 0
    assert shown_episodes(500)[-1] == 499


@pytest.mark.parametrize("slots", [1, 3])
def test_recorded_trial_holds_every_step(slots: int) -> None:
    grid = metarl.make("grid-navigation")
    trial = record_trial(Constant(slots, 2), grid, grid.tasks(goal=[[4, 0]]), num_episodes=2, name="right")
    assert trial.observations.tolist() == [0, 5, 10, 15, *[20] * 11] * 2
    assert trial.next_observations.tolist() == [5, 10, 15, *[20] * 12] * 2
    assert trial.rewards.sum() == pytest.approx(2 * (12 - 0.3))
    assert trial.episodes() == [slice(0, 15), slice(15, 30)]
    assert trial.frames is not None
    assert trial.frames.shape == (30, 100, 100, 3)
    assert trial.policy == "right"


def test_recorded_trial_takes_one_task() -> None:
    with pytest.raises(ValueError, match="one task"):
        record_trial(Constant(1), Countdown(), Countdown().tasks(pace=[1, 2]))
