"""The clauses that every adaptive policy keeps, judged on a stream of transitions with staggered hard resets."""

import functools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from gymnasium import spaces
from torch import Tensor

from metarl import seeding
from metarl.contracts.clauses import SETTINGS_KEPT, Clause, check, untouched_by
from metarl.contracts.probe import env_seed, explore
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import AdaptivePolicy, PrivilegedPolicy, Transition
from metarl.training.agent import Agent

SLOTS = 6
LONGEST = 24  # steps of the stream


FIRST, SECOND = 2, 5  # when the slots 1 and 4, and then the slots 2 and 4, begin a new task


CLOSE = 1e-3  # continuous actions may differ by rounding: caches are filled in another order
PolicyFactory = Callable[[int], AdaptivePolicy]


class StreamStep(NamedTuple):
    """One step of the stream."""

    step: int
    begun: Tensor  # [B] slots whose trial starts here
    tasks: Tasks
    transition: Transition


@final
@dataclass(frozen=True)
class PolicyProbe:
    """Policies of one source under examination, all fed the same transitions, whatever they choose to do."""

    make: PolicyFactory
    distribution: TaskDistribution
    seed: int
    device: torch.device | str
    agent: Agent | None = None

    @property
    def stream(self) -> list[StreamStep]:
        """The recorded stream, in tensors of its own: a policy that writes into them spoils this copy only."""
        return [m._replace(transition=Transition(*(part.clone() for part in m.transition))) for m in self._recorded]

    @functools.cached_property
    def _recorded(self) -> list[StreamStep]:
        """Transitions of exploring actions; two slots start a new task at FIRST, one of them and another at SECOND."""
        steps = min(LONGEST, self.distribution.horizon * self.distribution.num_episodes)
        generator = seeding.generator(self.seed, "contract", "policy")
        actions = explore(self.distribution.action_space, steps, SLOTS, generator).to(self.device)
        env = self.distribution.vector_env(SLOTS, self.device)
        moments = []
        for step, action in enumerate(actions):
            begun = starts(step).to(self.device)
            if begun.any():
                env.set_tasks(self.distribution.sample(SLOTS, generator), begun)
                seed = None if step else env_seed(self.seed)
                observation = env.reset(seed=seed, options={"reset_mask": begun})[0].clone()
            following, reward, terminated, truncated, info = env.step(action)
            ends = (reward.clone(), terminated.clone(), truncated.clone(), info["final_obs"].clone())
            moments.append(StreamStep(step, begun, env.tasks, Transition(observation, action, *ends)))
            observation = following.clone()
        env.close()
        return moments

    def actions(self, moments: list[StreamStep], policy: AdaptivePolicy | None = None) -> list[Tensor]:
        """What a new policy would do at each moment; its random streams restart at every step."""
        policy = self.make(SLOTS) if policy is None else policy
        return [action.clone() for action in self.feed(policy, moments)]

    def feed(self, policy: AdaptivePolicy, moments: list[StreamStep]) -> Iterator[Tensor]:
        generators = list(_generators(policy))
        for moment in moments:
            if moment.begun.any():
                if isinstance(policy, PrivilegedPolicy):
                    policy.set_tasks(moment.tasks)
                policy.begin(moment.begun)
            for generator in generators:
                generator.manual_seed(seeding.stream_seed(self.seed, moment.step))
            yield policy.act(moment.transition.observation)
            policy.observe(moment.transition)


def starts(step: int) -> Tensor:
    """[SLOTS] true where a trial starts at this step of the stream."""
    slots = {0: range(SLOTS), FIRST: (1, 4), SECOND: (2, 4)}.get(step, ())
    return torch.tensor([slot in slots for slot in range(SLOTS)])


def acts_in_the_space(trial: PolicyProbe) -> str:
    """Actions have the shape of the action space and lie in it."""
    space = trial.distribution.action_space
    for action in trial.actions(trial.stream):
        require_actions(action, space, SLOTS)
    return ""


def require_actions(action: Tensor, space: spaces.Space[Any], count: int) -> None:
    """ContractError unless `action` holds `count` actions of `space`; a Box may be left, the environment clips."""
    expected = (count, *(space.shape or ()))
    check(tuple(action.shape) == expected, f"actions need shape {expected}, got {tuple(action.shape)}")
    if isinstance(space, spaces.Box):
        check(action.is_floating_point() and action.isfinite().all(), f"actions must be finite floats, got {action}")
    else:
        check(not action.is_floating_point(), f"actions of {space} must be integers, got {action.dtype}")
        inside = all(space.contains(row) for row in action.cpu().long().numpy())
        check(inside, f"actions {action.tolist()} lie outside {space}")


def acts_reproducibly(trial: PolicyProbe) -> str:
    """Two new policies act alike on the same stream of transitions."""
    once, again = trial.actions(trial.stream), trial.actions(trial.stream)
    check(all(torch.equal(a, b) for a, b in zip(once, again, strict=True)), "two new policies act differently")
    return ""


def leaves_its_input_alone(trial: PolicyProbe) -> str:
    """Observations and transitions that the policy was given are not changed."""
    given = trial.stream
    trial.actions(given)
    for moment, kept in zip(given, trial.stream, strict=True):
        same = all(torch.equal(a, b) for a, b in zip(moment.transition, kept.transition, strict=True))
        check(same, "act or observe wrote into the tensors it was given")
    return ""


def begin_forgets(trial: PolicyProbe) -> str:
    """A slot after `begin` acts like the same slot of a policy that was made just then."""
    actions, told = trial.actions(trial.stream), False
    for step in (FIRST, SECOND):
        if step >= len(actions):
            return "the trials are too short for a hard reset"
        rest = trial.stream[step:]
        new = trial.actions([rest[0]._replace(begun=torch.ones_like(rest[0].begun)), *rest[1:]])
        same = _alike(actions[step:], new, starts(step))
        check(same, f"slots begun at step {step} act otherwise than in a new policy")
        told = told or not _alike(actions[step:], trial.actions(_never_begun(trial))[step:], starts(step))
    return "" if told else "not to be seen: the actions do not depend on the task before"


def begin_spares_the_others(trial: PolicyProbe) -> str:
    """Slots that never begin again act as if no slot ever had."""
    untouched = ~(starts(FIRST) | starts(SECOND))
    same = _alike(trial.actions(trial.stream), trial.actions(_never_begun(trial)), untouched)
    check(same, "begin(mask) changed what slots outside the mask do")
    return ""


def _never_begun(trial: PolicyProbe) -> list[StreamStep]:
    """The stream for a policy that gets no hard reset after the first task."""
    first = trial.stream[0].tasks
    return [m._replace(begun=torch.full_like(m.begun, m.step == 0), tasks=first) for m in trial.stream]


def begin_means_all(trial: PolicyProbe) -> str:
    """`begin()` without a mask forgets every slot."""
    policy = trial.make(SLOTS)
    trial.actions(trial.stream, policy)
    if isinstance(policy, PrivilegedPolicy):
        policy.set_tasks(trial.stream[0].tasks)
    policy.begin()
    used = trial.actions([trial.stream[0]._replace(begun=torch.zeros_like(trial.stream[0].begun))], policy)
    new = trial.actions(trial.stream[:1])
    check(_alike(used, new, starts(0)), "after begin() a used policy acts otherwise than a new one")
    return ""


def a_batch_of_one_works(trial: PolicyProbe) -> str:
    """A policy of one slot acts as the same slot of a larger batch."""
    policy = trial.make(1)
    alone = [
        StreamStep(m.step, m.begun[:1], m.tasks[:1], Transition(*(part[:1] for part in m.transition)))
        for m in trial.stream
    ]
    for moment in alone:
        if moment.begun.any():
            if isinstance(policy, PrivilegedPolicy):
                policy.set_tasks(moment.tasks)
            policy.begin()
        require_actions(policy.act(moment.transition.observation), trial.distribution.action_space, 1)
        policy.observe(moment.transition)
    return ""


def randomness_is_its_own(trial: PolicyProbe) -> str:
    """Acting and learning leave the global random state as it was."""
    _ = trial.stream
    untouched_by(lambda: trial.actions(trial.stream))
    return ""


def saving_keeps_the_policy(trial: PolicyProbe) -> str:
    """An agent that was saved and loaded gives policies that act the same."""
    if trial.agent is None:
        return "a policy alone is not saved"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent"
        trial.agent.save(path)
        loaded = type(trial.agent).load(path, device=trial.agent.device, distribution=trial.agent.distribution)
    actions = replace(trial, make=loaded.policy).actions(trial.stream)
    check(_alike(actions, trial.actions(trial.stream), starts(0)), "a saved and loaded agent acts otherwise")
    return ""


CLAUSES = (
    Clause("act gives actions of the space", acts_in_the_space),
    Clause("new policies act alike", acts_reproducibly),
    Clause("act and observe leave their input alone", leaves_its_input_alone),
    Clause("begin(mask) forgets those slots, staggered too", begin_forgets),
    Clause("begin(mask) spares the other slots", begin_spares_the_others),
    Clause("begin() forgets all slots", begin_means_all),
    Clause("a batch of one works", a_batch_of_one_works),
    Clause("the global random state is untouched", randomness_is_its_own, about="random"),
    SETTINGS_KEPT,
    Clause("save and load keep the policy", saving_keeps_the_policy),
)


def _alike(some: list[Tensor], others: list[Tensor], mask: Tensor) -> bool:
    """Whether the actions in the masked slots are the same, up to rounding."""
    pairs = [(a[mask.to(a.device)], b[mask.to(b.device)]) for a, b in zip(some, others, strict=True)]
    return all(torch.allclose(a.double(), b.double(), rtol=CLOSE, atol=CLOSE) for a, b in pairs)


def _generators(holder: object, seen: set[int] | None = None) -> Iterator[torch.Generator]:
    """Every torch generator that an object holds, in its attributes and containers."""
    seen = set() if seen is None else seen
    if id(holder) in seen or isinstance(holder, type):
        return
    seen.add(id(holder))
    if isinstance(holder, torch.Generator):
        yield holder
    parts = holder if isinstance(holder, list | tuple) else holder.values() if isinstance(holder, dict) else ()
    for part in (*parts, *getattr(holder, "__dict__", {}).values()):
        yield from _generators(part, seen)
