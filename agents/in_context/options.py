"""The options of RL²."""

from dataclasses import dataclass
from typing import Literal

from metarl.training.options import AgentOptions, Count, Fraction, NonNegative, NonNegativeInt, Positive


@dataclass(frozen=True)
class RL2Options(AgentOptions):
    """Options of RL². The defaults are meant for every family.

    Larger `width`, `num_layers` and `batch_steps` learn more and take more time.

    >>> RL2Options(memory="gru", num_episodes=2).num_episodes
    2

    Raises ValueError for a value outside its bounds, and for `bf16` without a Transformer.
    """

    memory: Literal["transformer", "gru", "lstm"] = "transformer"
    """Network that remembers the trial. With continuous observations a GRU may learn faster than a Transformer."""
    width: Count = 64
    """Width of tokens, memory and critic."""
    num_layers: Count = 2
    """Layers of the memory."""
    num_heads: Count = 2
    """Attention heads (episodic retrieval and Transformer)."""
    window: Count = 1024
    """Steps that each attention layer looks back (episodic retrieval and Transformer)."""
    episodic_retrieval: bool = True
    """Before the memory, attend to the transitions of this trial that left a similar observation."""
    num_episodes: Count | None = None
    """Episodes in a training trial; None: the distribution's number. Rows are as long as recent episodes took."""
    batch_steps: Count = 25_000
    """Environment steps collected for each update."""
    n_epochs: Count = 4
    """Passes over each batch."""
    num_minibatches: Count = 8
    """Minibatches of whole trials in each epoch, one gradient step each."""
    critic_epochs: NonNegativeInt | None = None
    """Further passes of the critic alone over each batch; None: 10 if the batch has fewer than 100 trials, else 0."""
    critic_minibatches: Count = 32
    """Minibatches of single steps in each of these passes of the critic."""
    learning_rate: Positive = 2e-3
    """Largest learning rate of Adam; it falls linearly to zero."""
    warmup: Fraction = 0.02
    """Share of training over which the learning rate rises."""
    gamma: Fraction | None = None
    """Discount per step; None: chosen so that rewards count ten trials ahead. Where a batch has fewer than 250 whole
    trials, whose returns are too noisy, they count 100 steps ahead, or a 250th of the batch if that is more."""
    gae_lambda: Fraction = 0.95
    """Lambda of generalised advantage estimation."""
    clip_range: Positive = 0.2
    """PPO's clip range."""
    ent_coef: NonNegative = 0.01
    """Weight of the entropy bonus; falls linearly to zero."""
    max_grad_norm: Positive = 0.5
    """Largest norm of the gradient; policy and critic are clipped separately."""
    privileged_critic: bool = True
    """Let the critic see the task in meta-training; the policy never does."""
    imitation_fraction: Fraction = 0.3
    """Share of training, at its start, in which the policy imitates the family's expert, if it names one."""
    imitation_temperature: Positive = 0.5
    """Temperature of the expert's softmax over discrete actions, in standard deviations of its action values."""
    trial_curriculum: Fraction = 0.5
    """Without an expert: share of training in which trials grow from one episode to full length, by doubling."""
    bptt_steps: Count | None = None
    """Steps through which gradients flow back (truncated backpropagation); None: whole trials."""
    cuda_graphs: bool | None = None
    """On CUDA, run native rollouts and epochs of learning as CUDA graphs; no effect elsewhere. None: off."""
    bf16: bool = False
    """Learn with matrix products of the Transformer in bfloat16; acting and values stay in float32."""

    def check(self) -> None:
        if self.bf16 and self.memory != "transformer":
            raise ValueError(f"bf16 needs memory='transformer', got {self.memory!r}")
