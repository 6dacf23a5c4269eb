"""The options of RL²."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RL2Options:
    """Options of RL². The defaults are meant for every family; width, layers and batch_steps buy capacity."""

    memory: Literal["transformer", "gru", "lstm"] = "transformer"
    """What remembers the trial. From as many steps a GRU may learn more where observations are continuous."""
    width: int = 64
    """Width of tokens, memory and critic."""
    layers: int = 2
    """Layers of the memory."""
    heads: int = 2
    """Attention heads (recall and Transformer)."""
    window: int = 1024
    """Steps that each attention layer looks back (recall and Transformer)."""
    recall: bool = True
    """Before the memory, look up what happened the last times a like observation was met."""
    episodes: int | None = None
    """Episodes in a training trial; None: what the distribution says. It has the steps that they lately took."""
    batch_steps: int = 25_000
    """Environment steps collected for each update."""
    epochs: int = 4
    """Passes over each batch."""
    minibatches: int = 8
    """Parts of whole trials into which a batch is cut, one gradient step each."""
    critic_epochs: int | None = None
    """Further passes of the critic alone over each batch, after the policy; None: 10 where trials are few, else 0."""
    critic_minibatches: int = 32
    """Parts of single steps, of all trials in any order, into which a batch is cut for them."""
    learning_rate: float = 2e-3
    """Adam's step size at its highest; falls linearly to zero."""
    warmup: float = 0.02
    """Share of training over which the learning rate rises."""
    discount: float | None = None
    """Discount per step; None: it reaches ten trials ahead, or, where a batch has fewer than 250 whole trials, 100
    steps or a 250th of the batch if that is more: sums over few long trials are too noisy."""
    trace: float = 0.95
    """GAE's lambda."""
    clip: float = 0.2
    """PPO's clip range."""
    entropy: float = 0.01
    """Weight of the entropy bonus; falls linearly to zero."""
    max_gradient_norm: float = 0.5
    """Gradients of policy and critic are each scaled down to this norm."""
    privileged_critic: bool = True
    """Let the critic see the task in meta-training; the policy never does."""
    imitation: float = 0.3
    """Share of training, at its start, in which the policy imitates the family's expert, if it names one."""
    imitation_temperature: float = 0.5
    """How soft the expert's advice on discrete actions is, in units of its values' deviation between actions."""
    growth: float = 0.5
    """Without an expert: share of training over which trials grow, by doubling from one episode, to full length."""
    segment: int | None = None
    """Steps through which gradients flow back (truncated backpropagation); None: whole trials."""
    cuda_graphs: bool | None = None
    """On CUDA, act in native families and learn by CUDA graphs; no effect elsewhere. None: off until measured."""
    bf16: bool = False
    """Learn with the Transformer's matrix products in bfloat16; it acts, and values, in float32."""

    def __post_init__(self) -> None:
        sizes = ("width", "layers", "heads", "window", "batch_steps", "epochs", "minibatches", "critic_minibatches")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.critic_epochs is not None and self.critic_epochs < 0:
            raise ValueError(f"critic_epochs must be at least 0 or None, got {self.critic_epochs}")
        for name in ("learning_rate", "clip", "max_gradient_norm", "imitation_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("trace", "warmup", "imitation", "growth"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.discount is not None and not 0 <= self.discount <= 1:
            raise ValueError(f"discount must lie in [0, 1] or be None, got {self.discount}")
        if self.memory not in ("transformer", "gru", "lstm"):
            raise ValueError(f"memory must be transformer, gru or lstm, got {self.memory!r}")
        if self.bf16 and self.memory != "transformer":
            raise ValueError(f"bf16 needs memory='transformer', got {self.memory!r}")
        if self.segment is not None and self.segment < 1:
            raise ValueError(f"segment must be at least 1 or None, got {self.segment}")
