"""Trajectories of a batch of trials."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import final

import torch
from torch import Tensor

from metarl.tasks.batch import Tasks
from metarl.trials.context import Context, trial_context


@final
@dataclass(frozen=True)
class Trajectories:
    """B trials of T steps each, batch first; tensors live on the device of the environments."""

    tasks: Tasks
    observations: Tensor  # [B, T, ...]
    actions: Tensor  # [B, T, ...] as sampled, before the environment clips them
    rewards: Tensor  # [B, T]
    terminated: Tensor  # [B, T]
    truncated: Tensor  # [B, T]
    log_probs: Tensor  # [B, T] of the actions, recorded while sampling
    next_observation: Tensor  # [B, ...] the one that step T would have begun with

    @staticmethod
    def joined(parts: Sequence["Trajectories"]) -> "Trajectories":
        """The trials of several batches as one; rows of shorter ones end in zeros, in which no episode ends."""
        if len(parts) == 1:
            return parts[0]
        longest = max(part.num_steps for part in parts)
        names = [field.name for field in fields(Trajectories) if field.name not in ("tasks", "next_observation")]
        rows = {name: torch.cat([_lengthened(getattr(part, name), longest) for part in parts]) for name in names}
        after = torch.cat([part.next_observation for part in parts])
        return Trajectories(tasks=Tasks.joined([part.tasks for part in parts]), next_observation=after, **rows)

    @property
    def num_trials(self) -> int:
        return self.rewards.shape[0]

    @property
    def num_steps(self) -> int:
        return self.rewards.shape[1]

    @property
    def dones(self) -> Tensor:
        """[B, T] true where an episode ended."""
        return self.terminated | self.truncated

    def mean_episode_return(self) -> float:
        """Mean undiscounted return of the episodes that ended; NaN if none did."""
        complete = self.dones.flip(1).cumsum(1).flip(1) > 0
        return ((self.rewards * complete).sum() / self.dones.sum()).item()

    def context(self, and_next: bool = False) -> Context:
        """The context `[B, T, ...]` that an agent read before each action; `and_next`: that of step T as well."""
        last = self.next_observation[:, None] if and_next else self.observations[:, :0]
        observations = torch.cat([self.observations, last], 1)
        return trial_context(observations, self.actions, self.rewards, self.dones)


def _lengthened(x: Tensor, num_steps: int) -> Tensor:
    """`x` [B, T, ...] with zeros after its T steps, up to `num_steps`."""
    return torch.cat([x, x.new_zeros(len(x), num_steps - x.shape[1], *x.shape[2:])], 1)
