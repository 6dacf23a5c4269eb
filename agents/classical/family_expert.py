"""The privileged expert of a family, evaluated beside the classical baselines as an upper limit."""

from typing import final

import torch

from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import PrivilegedPolicy


@final
class FamilyExpert:
    """Makes the family's own privileged expert, which knows the task: an upper limit for policies that do not."""

    def __call__(
        self, distribution: TaskDistribution, num_tasks: int, *, device: torch.device | str = "cpu", seed: int = 0
    ) -> PrivilegedPolicy:
        """A new expert for `num_tasks` tasks. Experts draw nothing, so `seed` has no effect.

        Raises ValueError if the family names no expert.
        """
        expert = distribution.expert(num_tasks, device)
        if expert is None:
            raise ValueError(
                f"an expert needs a family that names one (TaskDistribution.expert); {distribution.name} does not"
            )
        return expert

    def check(self, distribution: TaskDistribution) -> None:
        """Raise ValueError unless the family names an expert."""
        self(distribution, 1)


family_expert = FamilyExpert()
