"""The options of MAML, and the settings of its variants."""

from dataclasses import dataclass
from typing import Literal

from metarl.agents.gradient.inner_objective import Estimator
from metarl.training.options import (
    AgentOptions,
    Count,
    Fraction,
    NonNegative,
    NonNegativeInt,
    Positive,
    PositiveFraction,
)


@dataclass(frozen=True)
class MAMLOptions(AgentOptions):
    """Options of MAML. Its variants are settings of these options: see RECIPES.

    >>> MAMLOptions(inner_lr=(0.1, 0.05), inner_steps=2).inner_lr
    (0.1, 0.05)
    >>> RECIPES["promp"].outer
    'ppo'

    Raises ValueError for a value outside its bounds, and for options that do not suit each other.
    """

    network: Literal["feed-forward", "attention"] = "feed-forward"
    """Policy: a feed-forward network on the current observation, or a Transformer on the episode so far."""
    width: Count = 64
    """Width of hidden layers or tokens."""
    num_layers: Count = 2
    """Hidden layers (feed-forward, at least 2) or Transformer layers."""
    num_heads: Count = 2
    """Attention heads."""
    adapted_parameters: Literal["all", "head", "attention", "context"] = "all"
    """What adapts inside a task: all parameters, the last layer (ANIL), attention maps or a context vector (CAVIA)."""
    context_width: Count = 8
    """Width of the context vector, if that is what adapts."""
    inner_update: Literal["fixed", "per-parameter", "per-layer", "learned"] = "fixed"
    """Inner step: fixed step size, one learned per parameter (Meta-SGD) or per layer and step, or a learned LSTM."""
    inner_lr: tuple[Positive, ...] = (0.1,)
    """Size of each inner step; the last one holds for all later steps. Learned step sizes start from these."""
    inner_steps: Count = 1
    """Gradient steps in a training trial."""
    multi_step_loss: bool = True
    """Train for the return after each inner step, not after the last only (MAML++)."""
    rollouts_per_task: Count = 20
    """Episodes in a task before each gradient step."""
    estimator: Estimator = "lvc"
    """Surrogate of the inner loss; they differ in their second derivative."""
    second_order: bool = True
    """Differentiate through the inner steps; without it, first-order MAML."""
    proximal: NonNegative = 0.0
    """Weight of the squared distance to the initial parameters in the inner loss."""
    outer: Literal["trpo", "ppo", "policy-gradient", "reptile"] = "trpo"
    """Outer loop: how the initial parameters learn."""
    meta_batch_size: Count = 40
    """Tasks in each update."""
    num_envs: Count | None = None
    """Environments at once, which play the tasks in groups, one after another, but all rollouts of a task together;
    None: one for each rollout, but at most as many as the family says (256 where they are stepped one by one)."""
    max_kl: Positive = 0.01
    """Mean KL divergence of an update in nats: TRPO's bound; PPO and policy gradient adapt their step size to it."""
    fisher_fraction: PositiveFraction = 0.25
    """TRPO: share of the tasks on which the Fisher matrix is measured."""
    learning_rate: Positive = 3e-4
    """Adam's learning rate at the start. Reptile's falls linearly to zero, others follow max_kl."""
    n_epochs: Count = 5
    """PPO: gradient steps on each batch."""
    clip_range: Positive = 0.3
    """PPO: clip range."""
    inner_kl: NonNegative = 0.0
    """Weight of the KL divergence from the policies that collected the inner rollouts (ProMP)."""
    exploration_credit: NonNegative = 0.0
    """Weight of the credit that exploration gets for the return after adaptation (E-MAML, Stadie et al. 2018, arXiv
    1803.01118). A free weight: both terms are means over steps here, the paper sums the credit over rollouts."""
    gamma: Fraction = 0.99
    """Discount per step."""
    gae_lambda: Fraction = 0.95
    """Lambda of generalised advantage estimation over the linear baseline."""
    test_rollouts: Count | None = None
    """Episodes before each gradient step in a test trial; None: as in training."""
    test_steps: NonNegativeInt | None = None
    """Gradient steps in a test trial; None: as in training."""

    def check(self) -> None:
        if self.network == "feed-forward" and self.num_layers < 2:
            raise ValueError(f"num_layers must be at least 2 for a feed-forward network, got {self.num_layers}")
        only_in = {"attention": "attention", "context": "feed-forward"}  # what these adapt is in one network only
        if only_in.get(self.adapted_parameters, self.network) != self.network:
            raise ValueError(f"adapted_parameters={self.adapted_parameters} does not suit network={self.network}")


RECIPES = {
    "maml-trpo": MAMLOptions(),
    "fomaml": MAMLOptions(second_order=False),
    "promp": MAMLOptions(outer="ppo", inner_kl=5e-4),
    "e-maml": MAMLOptions(exploration_credit=1.0),
    "anil": MAMLOptions(adapted_parameters="head"),
    "meta-sgd": MAMLOptions(inner_update="per-parameter"),
    "cavia": MAMLOptions(adapted_parameters="context"),
    "reptile": MAMLOptions(outer="reptile", second_order=False),
}
