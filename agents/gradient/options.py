"""The options of MAML, and the settings that make its relatives of it."""

from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

from metarl.agents.gradient.inner_objective import Estimator


@dataclass(frozen=True)
class MAMLOptions:
    """Options of MAML. Its relatives are settings of these: see RECIPES."""

    network: Literal["feed-forward", "attention"] = "feed-forward"
    """What acts: on the present observation, or with a Transformer on the episode so far."""
    width: int = 64
    """Width of hidden layers or tokens."""
    layers: int = 2
    """Hidden layers (feed-forward, at least 2) or Transformer layers."""
    heads: int = 2
    """Attention heads."""
    adapts: Literal["all", "head", "attention", "context"] = "all"
    """What changes inside a task: all parameters, the last layer (ANIL), attention maps, a context vector (CAVIA)."""
    context_width: int = 8
    """Width of the context vector, if that is what adapts."""
    update: Literal["fixed", "per-parameter", "per-layer", "learned"] = "fixed"
    """How it changes: fixed step size, one learned for each parameter (Meta-SGD) or layer and step, learned LSTM."""
    inner_rates: tuple[float, ...] = (0.1,)
    """Sizes of the inner steps, the last for all that follow; where sizes are learned, they start from these."""
    inner_steps: int = 1
    """Gradient steps in a training trial."""
    every_step: bool = True
    """Train for the return after each of them, not after the last only: an agent stepped further than it was trained
    for overshoots."""
    rollouts: int = 20
    """Episodes in a task before each gradient step."""
    estimator: Estimator = "likelihood-ratio"
    """Surrogate of the inner loss; they differ in their second derivative."""
    second_order: bool = True
    """Differentiate through the inner steps; without it, first-order MAML."""
    proximal: float = 0.0
    """Weight of the squared distance to the initial parameters in the inner loss."""
    outer: Literal["trpo", "ppo", "policy-gradient", "reptile"] = "trpo"
    """How the initial parameters learn."""
    tasks: int = 40
    """Tasks in each update."""
    max_kl: float = 0.01
    """Mean KL divergence of an update: TRPO's largest, and what the step size of PPO and policy gradient adapts to."""
    curvature_share: float = 0.25
    """TRPO: share of the tasks on which the curvature is measured."""
    learning_rate: float = 3e-4
    """Adam's step size at first: Reptile's falls linearly to zero, those of PPO and policy gradient follow max_kl."""
    epochs: int = 5
    """PPO: gradient steps on each batch."""
    clip: float = 0.3
    """PPO: clip range."""
    inner_kl: float = 0.0
    """Weight of the KL divergence from the policies that collected the inner rollouts (ProMP)."""
    credit: float = 0.0
    """Weight of the credit that exploration gets for the return after adaptation (E-MAML)."""
    discount: float = 0.99
    """Discount per step."""
    trace: float = 0.95
    """GAE's lambda over the linear baseline."""
    test_rollouts: int | None = None
    """Episodes before each gradient step in a test trial; None: as in training."""
    test_steps: int | None = None
    """Gradient steps in a test trial; None: as in training."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        for name in ("width", "heads", "inner_steps", "rollouts", "tasks", "epochs", "context_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.layers < (2 if self.network == "feed-forward" else 1):
            raise ValueError(f"layers must be at least 2 (feed-forward) or 1 (attention), got {self.layers}")
        if not self.inner_rates or min(self.inner_rates) <= 0:
            raise ValueError(f"inner_rates must be positive step sizes, got {self.inner_rates}")
        for name in ("max_kl", "learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("inner_kl", "credit"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name, least in (("test_rollouts", 1), ("test_steps", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        for name in ("discount", "trace"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not 0 < self.curvature_share <= 1:
            raise ValueError(f"curvature_share must lie in (0, 1], got {self.curvature_share}")
        if (self.adapts == "attention") != (self.network == "attention") and self.adapts in ("attention", "context"):
            raise ValueError(f"adapts={self.adapts} does not suit network={self.network}")


RECIPES = {
    "maml-trpo": MAMLOptions(),
    "fomaml": MAMLOptions(second_order=False),
    "promp": MAMLOptions(outer="ppo", inner_kl=5e-4),
    "e-maml": MAMLOptions(credit=1.0),
    "anil": MAMLOptions(adapts="head"),
    "meta-sgd": MAMLOptions(update="per-parameter"),
    "cavia": MAMLOptions(adapts="context"),
    "reptile": MAMLOptions(outer="reptile", second_order=False),
}
