"""The clauses that every task distribution keeps."""

import json
import re
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.contracts.checkers import CLAUSES as CHECKERS
from metarl.contracts.clauses import SETTINGS_KEPT, Clause, check, untouched_by
from metarl.contracts.environments import DYNAMICS, ENDS, INFLUENCES
from metarl.contracts.experts import CLAUSES as EXPERT
from metarl.contracts.probe import SLOTS, Probe, explore
from metarl.engines.gym_attributes import stale_attributes
from metarl.spaces import is_plain, kinds
from metarl.tasks.batch import Tasks

MANY = 512  # tasks drawn from each split to look for an overlap
TOLD = 0.1  # share of a first observation's variance that may be the task's: physics that moves before it is looked at
DRAW = "Let reset(seed=...) call super().reset(seed=seed), and draw from self.np_random only"
BEYOND = 0.5  # by how much of its width an observation may leave its Box: bounds of physics are often approximate


def describes_itself(probe: Probe) -> str:
    """The name ends in a version; spaces, horizon and episodes are there and of sensible kinds."""
    it = probe.distribution
    check(re.search(r"-v\d+$", it.name), f"{it.name!r} should end in a version, such as -v1")
    check(
        it.horizon >= 1 and it.num_episodes >= 1,
        f"horizon {it.horizon} and episodes {it.num_episodes} must be at least 1",
    )
    check(
        0 <= it.free_episodes < it.num_episodes,
        f"free_episodes {it.free_episodes} must leave at least one of {it.num_episodes} episodes",
    )
    for role, space in (("observation", it.observation_space), ("action", it.action_space)):
        check(is_plain(space, role), f"the {role} space must be {kinds(role)}, got {space}")
    for name, space in it.task_space.items():
        check(isinstance(space, spaces.Box) and space.is_bounded(), f"parameter {name!r} needs a bounded Box: {space}")
    return f"{it.name}, splits {', '.join(it.splits)}"


def tasks_survive_json(probe: Probe) -> str:
    """Tasks written to JSON and read again are the same tasks."""
    for split in probe.distribution.splits:
        tasks = probe.tasks(SLOTS, "json", split=split)
        check(len(tasks) == SLOTS, f"asked for {SLOTS} tasks, got {len(tasks)}")
        copy = probe.distribution.tasks(**json.loads(json.dumps(tasks.to_json())))
        check(_rows(copy) == _rows(tasks), f"the {split} tasks differ after JSON")
    return ""


def sampling_is_reproducible(probe: Probe) -> str:
    """One stream draws the same tasks each time; streams of other splits draw others."""
    for split in probe.distribution.splits:
        once, again = (probe.tasks(SLOTS, "sample", split=split) for _ in range(2))
        check(_rows(once) == _rows(again), f"two equal generators drew different {split} tasks")
    train, test = (probe.tasks(SLOTS, "sample", split=split) for split in ("train", "test"))
    check(
        _rows(train) != _rows(test), "train and test drew the same tasks from equal generators: their streams are one"
    )
    other = probe.tasks(SLOTS, "another sample")
    check(_rows(other) != _rows(probe.tasks(SLOTS, "sample")), "two different generators drew the same tasks")
    return ""


def train_and_test_are_disjoint(probe: Probe) -> str:
    """No task of the test split is a task of the training split, unless the family says so."""
    train, test = (set(_rows(probe.tasks(MANY, "overlap", split=split))) for split in ("train", "test"))
    shared = len(train & test)
    if probe.distribution.splits_share_tasks:
        return f"{shared} of {len(test)} test tasks are training tasks, as the family declares"
    check(
        not shared,
        f"{shared} of {len(test)} test tasks are training tasks: keep values for the test split (from_gym: test=...), "
        "or declare that they are shared (splits_share_tasks; from_gym: share_tasks=True)",
    )
    return f"{len(train)} and {len(test)} tasks"


def same_task_same_dynamics(probe: Probe) -> str:
    """The same actions in the same task, from the same seed, lead to the same trajectory."""
    pair = probe.pair
    copy = probe.distribution.tasks(**pair.one.to_json()).repeat(SLOTS)
    again = probe.record(copy, pair.actions)
    check(
        again.equals(pair.recording_one),
        f"the same task, seed and actions went another way the second time, {again.parting(pair.recording_one)}: "
        f"does something keep its state between environments, or draw without the seed? {DRAW}",
    )
    return ""


def tasks_differ(probe: Probe) -> str:
    """The same actions lead to other trajectories in at least one other task."""
    pair = probe.pair
    first, later = pair.differs_at_first, pair.differs_later
    check(
        first or later,
        "no two tasks differ in an observation, reward or end under equal seeds and actions: "
        "does the task reach the environment?",
    )
    check(
        later,
        "tasks differ in the first episode, and not after a soft reset: does reset() without a task draw another one, "
        "or go back to a default? The task must stay until the next one is set",
    )
    check(first, "tasks differ after a soft reset only: does the task reach the environment before its first reset?")
    return ""


def derived_values_follow(probe: Probe) -> str:
    """What an environment computed from a parameter is computed anew when the parameter changes."""
    envs = [probe.distribution.env(task) for task in (probe.pair.one, probe.pair.other)]
    for env in envs:
        env.reset(seed=probe.env_seed)
    stale = stale_attributes(*(env.unwrapped for env in envs))
    for env in envs:
        env.close()
    kept = "; ".join(f"{name}, computed from {' and '.join(sorted(sources))}" for name, sources in stale.items())
    check(
        not stale,
        f"the task leaves behind what the constructor computed: {kept}; "
        "set it too in a function, apply=..., or build a new environment for each task, apply='kwargs'",
    )
    return ""


def first_observation_tells_nothing(probe: Probe) -> str:
    """The first observation does not depend on the task, unless the family says so."""
    firsts = []
    for name in ("one", "other"):
        tasks = probe.tasks(4 * SLOTS, "first observation", name)
        env = probe.distribution.vector_env(len(tasks), probe.device)
        env.set_tasks(tasks)
        firsts.append(env.reset(seed=probe.env_seed)[0].clone())
        env.close()
    one, other = (first.reshape(4 * SLOTS, -1).double() for first in firsts)
    moved = (one - other).square().mean(0) / 2  # the variance between tasks under equal seeds
    share = (moved / one.var(0).clamp(min=1e-12)).max().item()
    if probe.distribution.observations_show_tasks:
        return f"{min(share, 1):.0%} of the variance of an entry, as the family declares"
    check(
        share <= TOLD,
        f"under equal seeds the first observation depends on the task: {min(share, 1):.0%} of an entry's variance; "
        "an agent that is told the task has nothing to find out. Take it out of the observation, or declare that it "
        "shows (observations_show_tasks; from_gym: show_tasks=True)",
    )
    return f"{share:.1%} of the variance of an entry" if share else ""


def values_are_sound(probe: Probe) -> str:
    """Rewards are finite, observations finite and inside their space."""
    for recording in (probe.pair.recording_one, probe.pair.recording_other, probe.long):
        check(recording.reward.dtype == torch.float32, f"rewards must be float32, got {recording.reward.dtype}")
        check(recording.reward.isfinite().all(), "a reward is NaN or infinite")
        for part in (recording.terminated, recording.truncated):
            check(part.dtype == torch.bool, f"terminated and truncated must be bool, got {part.dtype}")
        for name in ("first", "observation", "final_obs"):
            _require_inside(probe.distribution.observation_space, getattr(recording, name), name)
    return ""


def episodes_restart_in_the_same_step(probe: Probe) -> str:
    """An episode that ends starts the next one at once, and the info keeps its last observation."""
    recording = probe.long
    done = recording.done
    check(not (recording.terminated & recording.truncated).any(), "a step is both terminated and truncated")
    going_on = recording.observation[~done] == recording.final_obs[~done]
    check(going_on.all(), "final_obs differs from the observation where the episode goes on")
    initial = probe.pair.recording_one.first.flatten(0, 1)
    if (initial == initial[0]).all():
        check((recording.observation[done] == initial[0]).all(), "after an end comes no first observation")
    elif done.any():
        moved = recording.observation[done] != recording.final_obs[done]
        check(
            moved.any(),
            "after an end comes its last observation again, instead of the first of a new episode: does reset() put "
            "everything back?",
        )
    return f"{int(done.sum())} episodes"


def slots_keep_their_own_tasks(probe: Probe) -> str:
    """A slot plays the same trajectory whatever the tasks of the other slots are."""
    pair = probe.pair
    even = torch.arange(SLOTS) % 2 == 0
    for mask in (even, ~even):
        mixed = pair.one.repeat(SLOTS).where(mask, pair.other.repeat(SLOTS))
        recording = probe.record(mixed, pair.actions)
        for part, pure in ((mask, pair.recording_one), (~mask, pair.recording_other)):
            same = recording.slots(part).equals(pure.slots(part))
            check(
                same,
                "an environment goes another way when those beside it are in another task: is something shared between "
                "them: a class attribute, a variable of the module, a mutable default argument, a random stream?",
            )
    return ""


def hard_reset_spares_the_others(probe: Probe) -> str:
    """Tasks set in some slots leave the episodes of the other slots as they were."""
    env = probe.distribution.vector_env(SLOTS, probe.device)
    old, new = (probe.tasks(SLOTS, "hard reset", name).to(probe.device) for name in ("old", "new"))
    mask = torch.arange(SLOTS, device=probe.device) % 2 == 0
    env.set_tasks(old)
    env.reset(seed=probe.env_seed)
    actions = explore(probe.distribution.action_space, 1, SLOTS, probe.generator("hard reset")).to(probe.device)
    before = env.step(actions[0])[0].clone()
    env.set_tasks(new, mask)
    check(
        _rows(env.tasks) == _rows(new.where(mask, old)), "set_tasks(tasks, mask) set other tasks than the masked ones"
    )
    after = env.reset(options={"reset_mask": mask})[0]
    env.close()
    check((after[~mask] == before[~mask]).all(), "reset with a reset_mask moved a slot outside the mask")
    return ""


def horizon_holds(probe: Probe) -> str:
    """Every episode is over after `horizon` steps."""
    horizon = probe.distribution.horizon
    longest = int(probe.long.ages.max())
    if len(probe.long.ages[0]) <= horizon:
        return f"seen in {longest} of {horizon} steps only"
    check(
        longest <= horizon,
        f"an episode goes on after its horizon of {horizon} steps: let the environment return truncated=True there, or "
        "give max_episode_steps=...",
    )
    return f"{longest} of at most {horizon} steps"


def single_env_is_alike(probe: Probe) -> str:
    """One environment plays the trajectory of a vector of one, and keeps its task over resets."""
    it, task = probe.distribution, probe.tasks(1, "single")
    values = {name: value[0].numpy() for name, value in task.parameters.items()}
    env, vector = it.env(), it.vector_env(1, probe.device)
    for name, single in (("observation", vector.single_observation_space), ("action", vector.single_action_space)):
        own = getattr(env, f"{name}_space")
        check(own == single, f"the {name} spaces of env() and vector_env(1) differ: {own} and {single}")
    vector.close()
    env.reset(seed=1, options={"task": values})
    kept = _walk(env, probe, None)
    env.close()
    named = it.env(task)
    again = _walk(named, probe, {"task": values})
    named.close()
    check(
        kept == again,
        "an environment that was given its task by reset(options={'task': ...}) and reset once more goes another way "
        f"than one that was made for it, under equal seeds: does it keep the task? {DRAW}",
    )
    return ""


def randomness_is_its_own(probe: Probe) -> str:
    """Sampling and stepping leave the global random state as it was."""

    def use() -> None:
        actions = explore(probe.distribution.action_space, 8, 2, probe.generator("global"))
        probe.record(probe.tasks(2, "global"), actions)
        _walk(probe.distribution.env(), probe, None)

    untouched_by(use, f": other code that draws from it goes another way. {DRAW}")
    return ""


CLAUSES = (
    Clause("spaces, horizon and a versioned name", describes_itself),
    Clause("tasks lie in bounds and survive JSON", tasks_survive_json),
    Clause("sampling is reproducible, splits draw apart", sampling_is_reproducible),
    Clause("train and test tasks do not overlap", train_and_test_are_disjoint),
    *DYNAMICS,
    Clause("same task and seed, same dynamics", same_task_same_dynamics),
    Clause("two tasks differ", tasks_differ),
    *INFLUENCES,
    Clause("what a constructor derives follows the task", derived_values_follow),
    Clause("the first observation does not leak the task", first_observation_tells_nothing),
    Clause("values are finite and in their spaces", values_are_sound),
    Clause("no episode outlasts the horizon", horizon_holds),
    Clause("episodes restart in the same step, with final_obs", episodes_restart_in_the_same_step),
    *ENDS,
    Clause("slots never mix their tasks", slots_keep_their_own_tasks),
    Clause("a masked hard reset spares the other slots", hard_reset_spares_the_others),
    Clause("one environment is like a vector of one and keeps its task", single_env_is_alike),
    *EXPERT,
    *CHECKERS,
    Clause("the global random state is untouched", randomness_is_its_own, about="random"),
    SETTINGS_KEPT,
)


def _rows(tasks: Tasks) -> list[bytes]:
    """Every task as bytes, exactly."""
    columns = [values.cpu().reshape(len(tasks), -1).numpy() for _, values in sorted(tasks.parameters.items())]
    return [b"".join(column[i].tobytes() for column in columns) for i in range(len(tasks))]


def _require_inside(space: spaces.Space[Any], values: Tensor, name: str) -> None:
    rows = values.reshape(-1, *(space.shape or ())).numpy()
    if isinstance(space, spaces.Box):
        check(rows.dtype == space.dtype, f"{name} must be {space.dtype}, got {rows.dtype}")
        margin = BEYOND * (space.high - space.low)
        inside = ((rows >= space.low - margin) & (rows <= space.high + margin)).reshape(len(rows), -1).all(1)
    else:
        inside = np.array([space.contains(row) for row in rows])
    check(inside.all(), f"{name} {rows[inside.argmin()]} ({rows.dtype}) lies outside {space}: widen the space, or clip")


def _walk(env: "gymnasium.Env[Any, Any]", probe: Probe, options: dict[str, Any] | None) -> list[Any]:
    """What happens in `env` from a reset on, until the episode ends; ContractError where a type is wrong."""
    actions = explore(probe.distribution.action_space, probe.steps, 1, probe.generator("walk"))
    observation, _ = env.reset(seed=2, options=options)
    seen = [np.array(observation).tolist()]
    for action in actions[:, 0].numpy():
        observation, reward, terminated, truncated, _ = env.step(action)
        check(env.observation_space.contains(observation), f"{observation} lies outside {env.observation_space}")
        check(isinstance(reward, float), f"a reward must be a float, got {type(reward).__name__}")
        seen.append([np.array(observation).tolist(), reward, terminated, truncated])
        if terminated or truncated:
            break
    return seen
