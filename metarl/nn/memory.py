"""Sequence memories behind one protocol: what an in-context agent remembers of its trial."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Memory(nn.Module, ABC):
    """Reads a trial step by step with a state, or many steps at once; both give the same outputs."""

    @abstractmethod
    def forward(self, x: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        """Outputs `[B, T, D]` of T steps `[B, T, D]`, each seeing itself and the steps before it.

        Starts at the first step of a trial, or after the segment that returned `past`. Gradients stop between segments.
        """

    @abstractmethod
    def initial_state(self, num_trials: int) -> Any:
        """The state of trials that have seen nothing."""

    @abstractmethod
    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Output `[B, D]` of one step `[B, D]` and the state after it; may change the given state in place."""

    @abstractmethod
    def reset(self, state: Any, mask: Tensor) -> Any:
        """The state with the trials where `mask` [B] is true forgotten; may change the given state in place."""
