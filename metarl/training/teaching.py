"""What an agent learns from in meta-training: the reward alone, or also privileged experts and critics."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Teaching:
    """What an agent learns from in meta-training besides the reward. In a new task it learns from reward alone.

    >>> print(Teaching())
    reward alone
    >>> print(Teaching("KnownGoal", 0.3, privileged_critic=True))
    imitation of KnownGoal in the first 30% of training, then reward; the critic sees the task
    """

    expert: str | None = None
    """Name of the privileged policy that is imitated; None: no imitation."""
    share: float = 0.0
    """Share of training, at its start, in which that policy is imitated."""
    privileged_critic: bool = False
    """Whether the critic sees the task in meta-training."""

    def __str__(self) -> str:
        if self.expert is None:
            policy = "reward" if self.privileged_critic else "reward alone"
        elif self.share < 1:
            policy = f"imitation of {self.expert} in the first {self.share:.0%} of training, then reward"
        else:
            policy = f"imitation of {self.expert} alone, without reward"
        return f"{policy}; the critic sees the task" if self.privileged_critic else policy
