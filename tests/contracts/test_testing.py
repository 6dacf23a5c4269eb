"""Each flaw that a contract check is there for, and the clause that finds it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

import metarl
from metarl.contracts.clauses import ContractError
from metarl.engines.native import NativeDistribution, NativeVectorEnv
from metarl.tasks.batch import Tasks
from metarl.tasks.policies import AdaptivePolicy, Transition
from metarl.testing import agent_findings, check_agent, check_distribution, distribution_findings

BANDIT = metarl.make("bernoulli-bandit")


@dataclass(frozen=True)
class Line(NativeDistribution):
    """A point on a line that is drawn to an unseen slope, with a flaw to choose."""

    flaw: str = ""

    @property
    def name(self) -> str:
        return "line" if self.flaw == "no version" else "line-v1"

    @property
    def observation_space(self) -> spaces.Box:
        low, high = (-1.0, 0.5) if self.flaw == "outside" else (-50.0, 50.0)
        return spaces.Box(low, high, (1,), np.float32)

    @property
    def action_space(self) -> spaces.Box:
        return spaces.Box(-1, 1, (1,), np.float32)

    @property
    def task_space(self) -> spaces.Dict:
        return spaces.Dict({"slope": spaces.Box(-1, np.inf if self.flaw == "unbounded" else 1, (), np.float32)})

    @property
    def horizon(self) -> int:
        return 7

    @property
    def num_episodes(self) -> int:
        return 3

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        if self.flaw == "global draws":
            return {"slope": torch.rand(num_tasks)}
        slope = 2 * torch.rand(num_tasks, generator=generator, device=generator.device) - 1
        return {"slope": slope.sign() if self.flaw == "two tasks only" else slope}

    def initial_state(self, tasks: Tasks, generator: torch.Generator) -> Tensor:
        return torch.zeros(len(tasks), 1, device=tasks.device)

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        if self.flaw == "wide":
            return state.double()
        return state + tasks["slope"][:, None] if self.flaw == "leak" else state

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        slope: Tensor = tasks["slope"]
        if self.flaw == "ignored task":
            slope = torch.zeros_like(slope)
        if self.flaw == "mixed slots":
            slope = slope.roll(1)
        if self.flaw == "global noise":
            slope = slope + torch.rand(len(tasks))
        following = state + action + slope[:, None]
        reward = -following[:, 0].abs() / (0 if self.flaw == "infinite" else 1)
        return following, reward.double() if self.flaw == "float64" else reward, slope > 2

    def frame(self, state: Tensor, task: Tasks) -> np.ndarray:
        return np.zeros((1, 1, 3), np.uint8)


def broken(family: metarl.TaskDistribution) -> set[str]:
    return {finding.title for finding in distribution_findings(family) if not finding.ok}


def test_a_sound_family_passes(device: str) -> None:
    check_distribution(Line(), seed=3, device=device)


@pytest.mark.parametrize(
    ("flaw", "clause"),
    [
        ("no version", "spaces, horizon and a versioned name"),
        ("unbounded", "spaces, horizon and a versioned name"),
        ("two tasks only", "train and test tasks do not overlap"),
        ("global draws", "sampling is reproducible, splits draw apart"),
        ("global noise", "same task and seed, same dynamics"),
        ("global noise", "the global random state is untouched"),
        ("ignored task", "two tasks differ"),
        ("leak", "the first observation does not leak the task"),
        ("infinite", "values are finite and in their spaces"),
        ("float64", "values are finite and in their spaces"),
        ("outside", "values are finite and in their spaces"),
        ("wide", "values are finite and in their spaces"),
        ("wide", "one environment is like a vector of one and keeps its task"),
        ("wide", "gymnasium's environment checker passes"),
        ("wide", "Stable-Baselines3's environment checker passes"),
        ("mixed slots", "slots never mix their tasks"),
    ],
)
def test_a_flawed_family_is_found_out(flaw: str, clause: str) -> None:
    assert clause in broken(Line(flaw=flaw))


def test_a_flaw_breaks_its_own_clause_only() -> None:
    assert broken(Line(flaw="leak")) == {"the first observation does not leak the task"}
    assert broken(Line(flaw="mixed slots")) == {"slots never mix their tasks"}


SET_TASKS, RESET, STEP = NativeVectorEnv.set_tasks, NativeVectorEnv.reset, NativeVectorEnv.step


def set_all_tasks(env: NativeVectorEnv, tasks: Tasks, mask: Tensor | None = None) -> None:
    SET_TASKS(env, tasks)


def reset_all(env: NativeVectorEnv, *, seed: int | None = None, options: Any = None) -> Any:
    return RESET(env, seed=seed)


def reset_to_new_tasks(env: NativeVectorEnv, *, seed: int | None = None, options: Any = None) -> Any:
    if seed is None:
        SET_TASKS(env, env.distribution.sample(env.num_envs, torch.Generator().manual_seed(0)))
    return RESET(env, seed=seed, options=options)


def step_without_restart(env: NativeVectorEnv, actions: Tensor) -> Any:
    _, *middle, info = STEP(env, actions)
    return info["final_obs"], *middle, info


def step_without_end(env: NativeVectorEnv, actions: Tensor) -> Any:
    observation, reward, terminated, truncated, info = STEP(env, actions)
    return observation, reward, terminated & False, truncated & False, info


def step_in_one_buffer(env: NativeVectorEnv, actions: Tensor) -> Any:
    observation, *others = STEP(env, actions)
    if not hasattr(env, "buffer"):
        vars(env)["buffer"] = torch.empty_like(observation)
    return vars(env)["buffer"].copy_(observation), *others


def step_in_columns(env: NativeVectorEnv, actions: Tensor) -> Any:
    observation, reward, *others = STEP(env, actions)
    return observation, reward[:, None], *others


def step_with_both_ends(env: NativeVectorEnv, actions: Tensor) -> Any:
    observation, reward, _, truncated, info = STEP(env, actions)
    return observation, reward, truncated, truncated, info


def step_with_stale_final_obs(env: NativeVectorEnv, actions: Tensor) -> Any:
    before = env.state.clone()
    *others, info = STEP(env, actions)
    return *others, info | {"final_obs": before}


@pytest.mark.parametrize(
    ("method", "flawed", "clause"),
    [
        ("set_tasks", set_all_tasks, "a masked hard reset spares the other slots"),
        ("reset", reset_all, "a masked hard reset spares the other slots"),
        ("reset", reset_to_new_tasks, "two tasks differ"),
        ("step", step_without_restart, "episodes restart in the same step, with final_obs"),
        ("step", step_with_both_ends, "episodes restart in the same step, with final_obs"),
        ("step", step_with_stale_final_obs, "episodes restart in the same step, with final_obs"),
        ("step", step_in_columns, "the vector environment keeps gymnasium's conventions"),
        ("step", step_in_one_buffer, "what was returned stays as it is"),
        ("step", step_without_end, "no episode outlasts the horizon"),
    ],
)
def test_a_flawed_engine_is_found_out(
    monkeypatch: pytest.MonkeyPatch, method: str, flawed: Callable[..., Any], clause: str
) -> None:
    monkeypatch.setattr(NativeVectorEnv, method, flawed)
    assert clause in broken(Line())


def test_the_error_lists_what_is_broken() -> None:
    with pytest.raises(ContractError, match=r"(?s)line-v1 breaks 1 of \d+ clauses.*BROKEN  the first observation"):
        check_distribution(Line(flaw="leak"))
    assert issubclass(ContractError, AssertionError)


def test_clauses_can_be_skipped_by_their_titles() -> None:
    title = "the first observation does not leak the task"
    check_distribution(Line(flaw="leak"), skip=[title])
    findings = distribution_findings(Line(flaw="leak"), skip=[title])
    assert [str(finding) for finding in findings if finding.skipped] == [f"skipped {title}"]
    with pytest.raises(ValueError, match=r"no clause .*'leaks'"):
        check_distribution(Line(), skip=["leaks"])


class Preference(AdaptivePolicy):
    """Prefers the arms that paid; a sound policy with memory and randomness."""

    def __init__(self, num_tasks: int, device: str = "cpu") -> None:
        super().__init__(num_tasks, device)
        self.generator = torch.Generator(device).manual_seed(0)
        self.scores = torch.zeros(num_tasks, 5, device=device)

    def begin(self, mask: Tensor | None = None) -> None:
        self.scores[slice(None) if mask is None else mask] = 0

    def act(self, observation: Tensor) -> Tensor:
        return torch.multinomial(self.scores.softmax(-1), 1, generator=self.generator)[:, 0]

    def observe(self, transition: Transition) -> None:
        slot = torch.arange(self.num_tasks, device=self.device)
        self.scores[slot, transition.action] += 4 * transition.reward - 2


class ForgetsEverything(Preference):
    def begin(self, mask: Tensor | None = None) -> None:
        super().begin()


class NeverForgets(Preference):
    def begin(self, mask: Tensor | None = None) -> None:
        pass


class LeavesTheSpace(Preference):
    def act(self, observation: Tensor) -> Tensor:
        return super().act(observation) + 1


class GivesColumns(Preference):
    def act(self, observation: Tensor) -> Tensor:
        return super().act(observation)[:, None]


class DrawsGlobally(Preference):
    def act(self, observation: Tensor) -> Tensor:
        return torch.multinomial(self.scores.softmax(-1), 1)[:, 0]


class SpoilsItsInput(Preference):
    def observe(self, transition: Transition) -> None:
        super().observe(transition)
        transition.reward.zero_()


class CountsOnManySlots(Preference):
    def act(self, observation: Tensor) -> Tensor:
        return super().act(observation) % (self.num_tasks - 1)


def test_a_sound_policy_passes(device: str) -> None:
    check_agent(lambda num_tasks: Preference(num_tasks, device), BANDIT, device=device)


class Constant(Preference):
    def act(self, observation: Tensor) -> Tensor:
        return torch.zeros(self.num_tasks, dtype=torch.int64)


def test_a_policy_without_memory_shows_nothing_of_it() -> None:
    remarks = {finding.title: finding.detail for finding in agent_findings(Constant, BANDIT)}
    assert "not to be seen" in remarks["begin(mask) forgets those slots, staggered too"]
    remarks = {finding.title: finding.detail for finding in agent_findings(Preference, BANDIT)}
    assert remarks["begin(mask) forgets those slots, staggered too"] == ""


@pytest.mark.parametrize(
    ("policy", "clause"),
    [
        (ForgetsEverything, "begin(mask) spares the other slots"),
        (NeverForgets, "begin(mask) forgets those slots, staggered too"),
        (NeverForgets, "begin() forgets all slots"),
        (LeavesTheSpace, "act gives actions of the space"),
        (GivesColumns, "act gives actions of the space"),
        (DrawsGlobally, "the global random state is untouched"),
        (DrawsGlobally, "new policies act alike"),
        (SpoilsItsInput, "act and observe leave their input alone"),
        (CountsOnManySlots, "a batch of one works"),
    ],
)
def test_a_flawed_policy_is_found_out(policy: Callable[[int], AdaptivePolicy], clause: str) -> None:
    findings = {finding.title: finding for finding in agent_findings(policy, BANDIT)}
    assert not findings[clause].ok
    with pytest.raises(ContractError, match=f"{policy.__name__} breaks"):
        check_agent(policy, BANDIT)
