"""The options of RL²."""

from dataclasses import dataclass
from typing import Literal

from metarl.agents.outer_loop.trial_ppo import TrialPPOOptions
from metarl.training.options import Count, Fraction, NonNegative, NonNegativeInt, Positive


@dataclass(frozen=True)
class RL2Options(TrialPPOOptions):
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
    squashed_gaussian: bool = False
    """Continuous actions are normal ones squashed into the box by a tangent, instead of clipped."""
    num_episodes: Count | None = None
    """Episodes in a training trial; None: the distribution's number. Rows are as long as recent episodes took."""
    batch_steps: Count = 25_000
    """Environment steps collected for each update, about: a batch has `num_minibatches` trials at least, unless these
    are more than twice as many steps, and two trials."""
    num_envs: Count | None = None
    """Environments at once, which play the trials of a batch one after another; None: one for each trial, but at most
    as many as the family says (256 where they are stepped one by one)."""
    learning_rate: Positive = 2e-3
    """Largest learning rate of Adam; it falls linearly to zero."""
    warmup: Fraction = 0.02
    """Share of training over which the learning rate rises."""
    gamma: Fraction | None = None
    """Discount per step; None: chosen so that rewards count one trial ahead, or more where a batch has more than 25
    whole trials, up to ten trials with 250 of them. The log has it as train/gamma."""
    ent_coef: NonNegative = 0.01
    """Weight of the entropy bonus; falls linearly to zero."""
    privileged_critic: bool = True
    """Let the critic see the task in meta-training; the policy never does."""
    unrewarded_episodes: NonNegativeInt = 0
    """First episodes of a training trial whose reward does not count, so that they are free to explore (E-RL², Stadie
    et al. 2018, arXiv 1803.01118)."""
    information_bonus: NonNegative = 0.0
    """Bonus for what a step tells of the task to a predictor, which is taught the task in meta-training: nats times
    this share of the largest deviation of returns. It falls to zero once trials are whole (`trial_curriculum`). For
    tasks where exploring costs something now and pays later."""
    imitation_fraction: Fraction = 0.3
    """Share of training, at its start, in which the policy imitates the family's expert, if it names one."""
    imitation_temperature: Positive = 0.5
    """Temperature of the expert's softmax over discrete actions, in standard deviations of its action values."""
    trial_curriculum: Fraction = 0.5
    """Without an expert: share of training in which trials grow from one episode to full length, by doubling."""

    def check(self) -> None:
        if self.bf16 and self.memory != "transformer":
            raise ValueError(f"bf16 needs memory='transformer', got {self.memory!r}")
