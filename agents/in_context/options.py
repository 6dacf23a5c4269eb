"""The options of RL²."""

from dataclasses import dataclass
from typing import Literal

from metarl.training.options import AgentOptions, Count, Fraction, NonNegative, NonNegativeInt, Positive


@dataclass(frozen=True)
class RL2Options(AgentOptions):
    """Options of RL². The defaults are meant for every family; width, layers and batch_steps buy capacity."""

    memory: Literal["transformer", "gru", "lstm"] = "transformer"
    """What remembers the trial. From as many steps a GRU may learn more where observations are continuous."""
    width: Count = 64
    """Width of tokens, memory and critic."""
    num_layers: Count = 2
    """Layers of the memory."""
    num_heads: Count = 2
    """Attention heads (episodic retrieval and Transformer)."""
    window: Count = 1024
    """Steps that each attention layer looks back (episodic retrieval and Transformer)."""
    episodic_retrieval: bool = True
    """Before the memory, look up what happened the last times a like observation was met."""
    num_episodes: Count | None = None
    """Episodes in a training trial; None: what the distribution says. It has the steps that they lately took."""
    batch_steps: Count = 25_000
    """Environment steps collected for each update."""
    n_epochs: Count = 4
    """Passes over each batch."""
    num_minibatches: Count = 8
    """Parts of whole trials into which a batch is cut, one gradient step each."""
    critic_epochs: NonNegativeInt | None = None
    """Further passes of the critic alone over each batch, after the policy; None: 10 where trials are few, else 0."""
    critic_minibatches: Count = 32
    """Parts of single steps, of all trials in any order, into which a batch is cut for them."""
    learning_rate: Positive = 2e-3
    """Adam's step size at its highest; falls linearly to zero."""
    warmup: Fraction = 0.02
    """Share of training over which the learning rate rises."""
    gamma: Fraction | None = None
    """Discount per step; None: it reaches ten trials ahead, or, where a batch has fewer than 250 whole trials, 100
    steps or a 250th of the batch if that is more: sums over few long trials are too noisy."""
    gae_lambda: Fraction = 0.95
    """GAE's lambda."""
    clip_range: Positive = 0.2
    """PPO's clip range."""
    ent_coef: NonNegative = 0.01
    """Weight of the entropy bonus; falls linearly to zero."""
    max_grad_norm: Positive = 0.5
    """Gradients of policy and critic are each scaled down to this norm."""
    privileged_critic: bool = True
    """Let the critic see the task in meta-training; the policy never does."""
    imitation_fraction: Fraction = 0.3
    """Share of training, at its start, in which the policy imitates the family's expert, if it names one."""
    imitation_temperature: Positive = 0.5
    """How soft the expert's expert_labels on discrete actions is, in units of its values' deviation between actions."""
    trial_curriculum: Fraction = 0.5
    """Without an expert: share of training over which trials grow, by doubling from one episode, to full length."""
    bptt_steps: Count | None = None
    """Steps through which gradients flow back (truncated backpropagation); None: whole trials."""
    cuda_graphs: bool | None = None
    """On CUDA, act in native families and learn by CUDA graphs; no effect elsewhere. None: off until measured."""
    bf16: bool = False
    """Learn with the Transformer's matrix products in bfloat16; it acts, and values, in float32."""

    def check(self) -> None:
        if self.bf16 and self.memory != "transformer":
            raise ValueError(f"bf16 needs memory='transformer', got {self.memory!r}")
