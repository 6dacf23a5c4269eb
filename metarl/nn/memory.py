"""The protocol of sequence memories, with which in-context agents remember their trial."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Memory(nn.Module, ABC):
    """A sequence model over the steps of a trial. It reads one step with a state, or many steps at once.

    Both ways give the same outputs.
    """

    @abstractmethod
    def forward(self, x: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        """Outputs `[B, T, D]` of T steps `[B, T, D]`, and the past for the next segment. Step t reads steps 0 to t.

        The first step is that of a trial (`past=None`), or the one after the segment that returned `past`. Gradients
        stop between segments.
        """

    @abstractmethod
    def initial_state(self, num_trials: int) -> Any:
        """The state at the start of `num_trials` trials."""

    @abstractmethod
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Output `[B, D]` of one step `[B, D]`, and the state after it. May change the given state in place."""

    @abstractmethod
    def reset(self, state: Any, mask: Tensor) -> Any:
        """The state after the trials where `mask` [B] is true were forgotten. May change the given state in place."""
