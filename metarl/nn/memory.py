"""The protocol of sequence memories, with which in-context agents remember their trial."""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from torch import Tensor, nn

S = TypeVar("S")


class Memory(nn.Module, ABC, Generic[S]):
    """A sequence model over the steps of a trial. It reads one step or many steps at once, with a state of type `S`.

    Both ways give the same outputs, and each goes on from the state of the other.
    """

    @abstractmethod
    def forward(self, x: Tensor, state: S | None = None) -> tuple[Tensor, S]:
        """Outputs `[B, T, D]` of T steps `[B, T, D]`, and the state after them. Step t reads steps 0 to t.

        The first step is that of a trial (`state=None`), or the one after the steps that led to `state`. Gradients
        stop at the state.
        """

    @abstractmethod
    def initial_state(self, num_trials: int) -> S:
        """The state at the start of `num_trials` trials."""

    @abstractmethod
    def step(self, x: Tensor, state: S) -> tuple[Tensor, S]:
        """Output `[B, D]` of one step `[B, D]`, and the state after it. May change the given state in place."""

    @abstractmethod
    def reset(self, state: S, mask: Tensor) -> S:
        """The state after the trials where `mask` [B] is true were forgotten. May change the given state in place."""
