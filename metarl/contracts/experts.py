"""The clauses that the expert of a task distribution keeps, where it names one."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, final

import torch
from gymnasium import spaces
from torch import Tensor

from metarl.contracts import policies as policy_contract
from metarl.contracts.clauses import Clause, check, examine
from metarl.contracts.policies import PolicyProbe
from metarl.contracts.probe import LONGEST_EPISODE, Probe, explore
from metarl.tasks.policies import AdaptivePolicy, PrivilegedPolicy, Transition

TASKS = 64  # in which the expert and random actions are compared
MARGIN = 3.0  # standard errors by which the expert's mean return may fall short of theirs
NO_EXPERT = "the family names none"


def expert_is_a_policy(probe: Probe) -> str:
    """The expert is a PrivilegedPolicy that keeps every clause of `metarl.policy_contract`."""
    expert: Any = probe.distribution.expert(1, probe.device)
    if expert is None:
        return NO_EXPERT
    check(isinstance(expert, PrivilegedPolicy), f"expert(...) must give a PrivilegedPolicy, got {expert!r}")
    trial = PolicyProbe(lambda num_tasks: _expert(probe, num_tasks), probe.distribution, probe.seed, probe.device)
    broken = [str(finding) for finding in examine(policy_contract.CLAUSES, trial) if not finding.ok]
    check(not broken, "; ".join(broken))
    return type(expert).__name__


def expert_advises_what_it_does(probe: Probe) -> str:
    """Continuous actions lie in the space; of discrete ones it takes that with the largest of its values."""
    if probe.distribution.expert(1, probe.device) is None:
        return NO_EXPERT
    expert, space = _expert(probe, TASKS), probe.distribution.action_space
    for action, values, _ in _episode(expert, probe):
        if isinstance(space, spaces.Box):
            check(values is None, "values(...) must be None where actions are continuous")
            low, high = (torch.as_tensor(bound, device=action.device) for bound in (space.low, space.high))
            outside = ((action < low) | (action > high)).flatten(1).any(1)
            check(not outside.any(), f"the action {action[outside][:1].tolist()} lies outside {space}")
        elif isinstance(space, spaces.Discrete):
            _require_best(values, action - int(space.start), int(space.n))
    return ""


def expert_beats_chance(probe: Probe) -> str:
    """In the same tasks the mean return of an episode is no less than that of random actions, but for noise."""
    if probe.distribution.expert(1, probe.device) is None:
        return NO_EXPERT
    ours, chance = (_returns(policy, probe) for policy in (_expert(probe, TASKS), _Chance(probe)))
    gain, error = (ours - chance).mean().item(), (ours - chance).std().item() / math.sqrt(TASKS)
    text = f"{ours.mean().item():.4g} an episode, random actions {chance.mean().item():.4g}"
    check(gain >= -MARGIN * error, f"{text}: whoever imitates this expert learns to do badly")
    return text


CLAUSES = (
    Clause("the expert keeps the contract of policies", expert_is_a_policy),
    Clause("the expert advises what it does, inside the action space", expert_advises_what_it_does),
    Clause("the expert is no worse than random actions", expert_beats_chance),
)


class Step(NamedTuple):
    """One step of TASKS episodes."""

    action: Tensor  # [TASKS, ...]
    values: Tensor | None  # [TASKS, actions] the expert's, before the action
    reward: Tensor  # [TASKS] zero where the first episode is over


@final
class _Chance(AdaptivePolicy):
    """Random actions, a new draw at each step."""

    def __init__(self, probe: Probe) -> None:
        super().__init__(TASKS, probe.device)
        self._space = probe.distribution.action_space
        self._generator = probe.generator("chance")

    def begin(self, mask: Tensor | None = None) -> None:
        """Nothing to forget."""

    def act(self, observation: Tensor) -> Tensor:
        return explore(self._space, 1, TASKS, self._generator)[0].to(self.device)

    def observe(self, transition: Transition) -> None:
        """Nothing to learn."""


def _expert(probe: Probe, num_tasks: int) -> PrivilegedPolicy:
    expert = probe.distribution.expert(num_tasks, probe.device)
    assert expert is not None
    return expert


def _episode(policy: AdaptivePolicy, probe: Probe) -> Iterator[Step]:
    """One episode of the policy in each of the same TASKS tasks."""
    env = probe.distribution.vector_env(TASKS, probe.device)
    env.set_tasks(probe.tasks(TASKS, "expert").to(probe.device))
    if isinstance(policy, PrivilegedPolicy):
        policy.set_tasks(env.tasks)
    policy.begin()
    observation, running = env.reset(seed=probe.env_seed)[0].clone(), torch.ones(TASKS, device=env.device)
    try:
        for _ in range(min(probe.distribution.horizon, LONGEST_EPISODE)):
            values = policy.values(observation) if isinstance(policy, PrivilegedPolicy) else None
            action = policy.act(observation)
            following, reward, terminated, truncated, info = env.step(action)
            yield Step(action, values, reward * running)
            policy.observe(Transition(observation, action, reward, terminated, truncated, info["final_obs"]))
            observation, running = following.clone(), running * ~(terminated | truncated)
    finally:
        env.close()


def _returns(policy: AdaptivePolicy, probe: Probe) -> Tensor:
    """Return [TASKS] of the episode."""
    return torch.stack([step.reward.double() for step in _episode(policy, probe)]).sum(0)


def _require_best(values: Tensor | None, index: Tensor, num_actions: int) -> None:
    """ContractError unless `values` [TASKS, num_actions] are finite and largest at `index` [TASKS]."""
    check(values is not None, "values(...) must hold a value for each discrete action, got None")
    assert values is not None
    expected = (len(index), num_actions)
    check(tuple(values.shape) == expected, f"values need shape {expected}, got {tuple(values.shape)}")
    check(values.isfinite().all(), "values must be finite")
    taken = values.gather(1, index[:, None])[:, 0]
    check((taken >= values.amax(1)).all(), "act(...) takes an action that is not the best by values(...)")
