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
    imitation of KnownGoal in the first 30% of training, then reward; privileged critic
    """

    expert: str | None = None
    """Name of the privileged policy that is imitated; None: no imitation."""
    share: float = 0.0
    """Share of training, at its start, in which that policy is imitated."""
    privileged_critic: bool = False
    """Whether the critic sees the task in meta-training."""
    task_predictor: bool = False
    """Whether a predictor of the task, which rewards what tells of it, is taught the task in meta-training."""

    def __str__(self) -> str:
        seers = ["critic"] if self.privileged_critic else []
        seers += ["predictor of the task"] if self.task_predictor else []
        if self.expert is None:
            policy = "reward" if seers else "reward alone"
        elif self.share < 1:
            policy = f"imitation of {self.expert} in the first {self.share:.0%} of training, then reward"
        else:
            policy = f"imitation of {self.expert} alone, without reward"
        return f"{policy}; privileged {' and '.join(seers)}" if seers else policy
