"""The expert that a family names, beside the classical learners: the limit of whoever is told the task."""

from typing import final

import torch

from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.policies import PrivilegedPolicy


@final
class FamilyExpert:
    """The family's own expert, which is told the task: a limit, no competitor."""

    def __call__(
        self, distribution: TaskDistribution, num_tasks: int, device: torch.device | str = "cpu", seed: int = 0
    ) -> PrivilegedPolicy:
        """A new policy for `num_tasks` tasks; ValueError if the family names none. Experts draw nothing by `seed`."""
        expert = distribution.expert(num_tasks, device)
        if expert is None:
            raise ValueError(
                f"an expert needs a family that names one (TaskDistribution.expert); {distribution.name} does not"
            )
        return expert

    def check(self, distribution: TaskDistribution) -> None:
        """ValueError unless the family names an expert."""
        self(distribution, 1)


family_expert = FamilyExpert()
