"""The clauses about what an environment does with tasks, actions and ends."""

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from metarl.contracts.clauses import Clause, check
from metarl.contracts.probe import ROUNDS, SLOTS, Probe, Recording, explore
from metarl.engines.gym_env import TaskEnv, reset_result, step_result
from metarl.finite import first_broken
from metarl.spaces import is_flattened
from metarl.tasks.batch import Tasks

MANY = 32  # tasks of each split that are played
FEW = 16  # steps for which they are
TOLERATED = 0.05  # rounding of an observation, in its deviations
JITTER = 1e-10  # of a number that is meant to be constant, relative to it


def speaks_gymnasium(probe: Probe) -> str:
    """The step is asked of the environment itself: wrappers around it would fail in words of their own."""
    env: Any = probe.distribution.env(probe.tasks(1, "single"))
    reset_result(env.reset(seed=probe.env_seed))
    raw = env.unwrapped
    raw.action_space.seed(probe.env_seed)
    step_result(raw.step(raw.action_space.sample()))
    env.close()
    return ""


def every_task_can_be_played(probe: Probe) -> str:
    """Random actions can be played to the end of an episode in tasks of every split."""
    for split in probe.distribution.splits:
        tasks = probe.tasks(MANY, "many", split=split)
        env = probe.distribution.vector_env(MANY, probe.device)
        try:
            env.set_tasks(tasks.to(probe.device))
            env.reset(seed=probe.env_seed)
            for action in explore(probe.distribution.action_space, FEW, MANY, probe.generator("many")):
                _check_finite(env.step(action.to(probe.device)), tasks)
        finally:
            env.close()
    return f"{MANY} tasks of each split"


def _check_finite(step: Any, tasks: Tasks) -> None:
    values = {"observation": step[0], "reward": step[1]}
    if broken := first_broken(values):
        what, slot = broken
        check(False, f"{what} {values[what][slot].tolist()} in the task {tasks[slot].to_json()}")


def float32_is_enough(probe: Probe) -> str:
    """Agents see observations in float32, where what changes little around a large number is rounded away."""
    env = probe.distribution.env(probe.tasks(1, "single"))
    if not isinstance(env, TaskEnv):
        return "its observations are tensors"
    env.reset(seed=probe.env_seed)
    own, rows = env.env, []
    own.action_space.seed(probe.env_seed)
    for _ in range(min(probe.distribution.horizon, FEW)):
        observation, _, terminated, truncated, _ = own.step(own.action_space.sample())
        rows.append(_numbers(own.observation_space, observation))
        if terminated or truncated:
            break
    env.close()
    seen = np.array(rows)
    rounding = np.abs(seen - seen.astype(np.float32)).max(0)
    changing = seen.std(0) > JITTER * np.abs(seen).max(0)
    lost = np.flatnonzero(changing & (rounding > TOLERATED * seen.std(0)))
    change, middle = (float(values[lost[:1]].sum()) for values in (seen.std(0), seen.mean(0)))
    check(
        not len(lost),
        f"observations change by {change:.3g} around {middle:.6g} in the entries {lost[:8].tolist()} (flattened), and "
        "float32 rounds that away: take a constant off in a wrapper, as gymnasium.wrappers.TransformObservation can",
    )
    return ""


def _numbers(space: Any, observation: Any) -> np.ndarray:
    """An observation as a vector of float64."""
    flat = spaces.flatten(space, observation) if is_flattened(space, "observation") else observation
    return np.asarray(flat, np.float64).ravel()


def vectors_speak_gymnasium(probe: Probe) -> str:
    """Gymnasium has no checker for vector environments; this is what its documentation asks of them."""
    env = probe.distribution.vector_env(3, probe.device)
    check(isinstance(env, gymnasium.vector.VectorEnv), f"{type(env).__name__} must be a gymnasium.vector.VectorEnv")
    check(
        env.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP,
        'metadata["autoreset_mode"] must be AutoresetMode.SAME_STEP',
    )
    check(env.num_envs == 3, f"asked for 3 environments, num_envs says {env.num_envs}")
    for role in ("observation", "action"):
        single, batch = getattr(env, f"single_{role}_space"), getattr(env, f"{role}_space")
        check(batch == batch_space(single, 3), f"{role}_space must be a batch of three {single}, got {batch}")
    env.set_tasks(probe.tasks(3, "vector").to(probe.device))
    observation, info = reset_result(env.reset(seed=probe.env_seed))
    action = explore(probe.distribution.action_space, 1, 3, probe.generator("vector"))[0].to(probe.device)
    stepped, *ends, info = env.step(action)
    for name, values in (("observation", observation), ("observation", stepped), ("final_obs", info["final_obs"])):
        check(values.shape == env.observation_space.shape, f"{name} of a batch has the shape {tuple(values.shape)}")
    for name, values in zip(("reward", "terminated", "truncated"), ends, strict=True):
        check(tuple(values.shape) == (3,), f"{name} of three environments has the shape {tuple(values.shape)}")
    env.close()
    return ""


def actions_matter(probe: Probe) -> str:
    """Other actions lead to other observations or rewards."""
    pair, steps = probe.pair, probe.steps
    for number in range(ROUNDS):
        others = explore(probe.distribution.action_space, steps, SLOTS, probe.generator("other actions", number))
        if probe.record(pair.one.repeat(SLOTS), others).differences(pair.recording_one).any():
            return ""
    check(False, "no observation, reward or end depends on the actions: does step(action) ignore its argument?")
    return ""


def parameters_matter(probe: Probe) -> str:
    """Each task parameter alone changes the trajectory of some task."""
    names = sorted(probe.distribution.task_space.keys())
    if len(names) == 1:
        return "there is one"
    silent = [name for name in names if not _matters(probe, name)]
    check(
        not silent,
        f"{' and '.join(map(repr, silent))} made no difference in {ROUNDS * SLOTS} pairs of tasks that differ in it "
        "alone: is it spelt as the environment spells it, does reset() overwrite it, does only the constructor read it "
        "(apply='kwargs')? Where it acts but rarely, skip this clause",
    )
    return ", ".join(names)


def _matters(probe: Probe, name: str) -> bool:
    """Whether tasks that differ in this parameter alone go apart, under equal seeds and actions."""
    for number in range(ROUNDS):
        tasks, others = (probe.tasks(SLOTS, "parameter", name, number, side) for side in ("one", "other"))
        changed = Tasks({**tasks.parameters, name: others[name]}, tasks.space)
        if torch.equal(tasks[name], others[name]):
            continue
        actions = explore(probe.distribution.action_space, probe.steps, SLOTS, probe.generator("parameter", number))
        if probe.record(tasks, actions).differences(probe.record(changed, actions)).any():
            return True
    return False


def tasks_leave_nothing_behind(probe: Probe) -> str:
    """A task that is set again plays as it did the first time."""
    pair = probe.pair
    later = probe.record(pair.one.repeat(SLOTS), pair.actions, before=pair.other.repeat(SLOTS))
    check(
        later.equals(pair.recording_one),
        "an environment that was in another task before it goes another way than a new one, under equal seeds and "
        f"actions, {later.parting(pair.recording_one)}: does reset() put everything back, and does apply set values "
        "instead of changing those that are there?",
    )
    return ""


def ends_are_told_apart(probe: Probe) -> str:
    """A time limit is reported as truncated, an end of the task as terminated."""
    recordings, horizon = (probe.long, probe.pair.recording_one, probe.pair.recording_other), probe.distribution.horizon
    ended = _ages(recordings, "terminated")
    check(
        horizon == 1 or len(ended) < 2 or min(ended) < horizon,
        f"every end came as terminated after exactly {horizon} steps, which looks like a time limit: that is "
        "terminated=False, truncated=True, since the task did not end there. If it did, skip this clause",
    )
    early = [age for age in _ages(recordings, "truncated") if age < horizon]
    return f"truncated after {min(early)} of {horizon} steps: was that an end of time?" if early else ""


def _ages(recordings: tuple[Recording, ...], kind: str) -> list[int]:
    """How many steps the episodes had taken that ended this way."""
    return [age for each in recordings for age in each.ages[getattr(each, kind)].tolist()]


def returned_values_stay(probe: Probe) -> str:
    """Arrays that step and reset returned are not written into later."""
    env = probe.distribution.vector_env(SLOTS, probe.device)
    env.set_tasks(probe.pair.one.repeat(SLOTS).to(probe.device))
    kept: list[tuple[Tensor, Tensor]] = []
    first, _ = env.reset(seed=probe.env_seed)
    for action in explore(probe.distribution.action_space, FEW, SLOTS, probe.generator("kept")):
        observation, reward, terminated, truncated, info = env.step(action.to(probe.device))
        values = (first, observation, reward, terminated, truncated, info["final_obs"])
        kept += [(value, value.clone()) for value in values]
    env.close()
    same = all(torch.equal(value, copy) for value, copy in kept)
    check(same, "step writes into tensors that it returned before: return new ones, whoever has them may keep them")
    return ""


DYNAMICS = (
    Clause("reset and step return what gymnasium asks for", speaks_gymnasium),
    Clause("every task can be played", every_task_can_be_played),
    Clause("observations keep their differences in float32", float32_is_enough),
    Clause("the vector environment keeps gymnasium's conventions", vectors_speak_gymnasium),
)


INFLUENCES = (
    Clause("every parameter makes a difference", parameters_matter),
    Clause("actions make a difference", actions_matter),
    Clause("a task leaves nothing behind", tasks_leave_nothing_behind),
)


ENDS = (
    Clause("ends of the task and of time are told apart", ends_are_told_apart),
    Clause("what was returned stays as it is", returned_values_stay),
)
