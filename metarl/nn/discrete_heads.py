"""Action heads for discrete actions."""

from typing import final

import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.nn.action_head import ActionHead


@final
class CategoricalHead(ActionHead):
    """Discrete actions; the parameters `[..., A]` are logits.

    >>> head = CategoricalHead(spaces.Discrete(3))
    >>> head.mode(torch.tensor([[0.0, 2.0, 1.0]]))
    tensor([1])
    """

    def __init__(self, space: spaces.Discrete) -> None:
        super().__init__()
        self.num_outputs = self.num_features = int(space.n)
        self._start = int(space.start)

    def forward(self, output: Tensor) -> Tensor:
        return output

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.empty_like(parameters).exponential_(generator=generator)
        return (parameters - noise.log()).argmax(-1) + self._start  # the Gumbel-max trick

    def mode(self, parameters: Tensor) -> Tensor:
        return parameters.argmax(-1) + self._start

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        return parameters.log_softmax(-1).gather(-1, (action - self._start)[..., None]).squeeze(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        log_probs = parameters.log_softmax(-1)
        return -(log_probs.exp() * log_probs).sum(-1)

    def kl_divergence(self, parameters: Tensor, other: Tensor) -> Tensor:
        log_probs = parameters.log_softmax(-1)
        return (log_probs.exp() * (log_probs - other.log_softmax(-1))).sum(-1)

    def cross_entropy(self, parameters: Tensor, expert_labels: Tensor) -> Tensor:
        return -(expert_labels * parameters.log_softmax(-1)).sum(-1)

    def encode(self, action: Tensor) -> Tensor:
        options = torch.arange(self._start, self._start + self.num_features, device=action.device)
        return (action[..., None] == options).float()


@final
class MultiCategoricalHead(ActionHead):
    """K discrete choices at once, independent given the network's output.

    The parameters `[..., K * longest]` are the logits of each choice, padded to the longest with impossible options.
    Raises TypeError for a space whose shape has more than one dimension.
    """

    IMPOSSIBLE = -1e9  # the logit of an option that does not exist

    def __init__(self, space: spaces.MultiDiscrete) -> None:
        super().__init__()
        if space.nvec.ndim != 1:
            raise TypeError(f"actions must be a flat MultiDiscrete, got {space}")
        counts = torch.as_tensor(space.nvec, dtype=torch.int64)
        self.num_outputs = self.num_features = int(counts.sum())
        self._longest = int(counts.max())
        option = torch.arange(self._longest)
        place = (counts.cumsum(0) - counts)[:, None] + option
        self.place: Tensor  # [K * longest] index into the network's outputs; -1: no such option
        self.first: Tensor  # [K] the first option of each choice
        self.kept: Tensor  # [num_features] indices of the [K * longest] options that exist
        exists = option < counts[:, None]
        self.register_buffer("place", torch.where(exists, place, -1).flatten(), persistent=False)
        self.register_buffer("kept", exists.flatten().nonzero().flatten(), persistent=False)
        self.register_buffer("first", torch.as_tensor(space.start, dtype=torch.int64), persistent=False)

    def forward(self, output: Tensor) -> Tensor:
        return nn.functional.pad(output, (0, 1), value=self.IMPOSSIBLE)[..., self.place]

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.empty_like(parameters).exponential_(generator=generator)
        return self._choices(parameters - noise.log()).argmax(-1) + self.first

    def mode(self, parameters: Tensor) -> Tensor:
        return self._choices(parameters).argmax(-1) + self.first

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        index = (action - self.first)[..., None]
        return self._choices(parameters).log_softmax(-1).gather(-1, index).squeeze(-1).sum(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        log_probs = self._choices(parameters).log_softmax(-1)
        return -(log_probs.exp() * log_probs).sum((-2, -1))

    def kl_divergence(self, parameters: Tensor, other: Tensor) -> Tensor:
        log_probs = self._choices(parameters).log_softmax(-1)
        return (log_probs.exp() * (log_probs - self._choices(other).log_softmax(-1))).sum((-2, -1))

    def cross_entropy(self, parameters: Tensor, expert_labels: Tensor) -> Tensor:
        return -self.log_prob(parameters, expert_labels)

    def encode(self, action: Tensor) -> Tensor:
        options = torch.arange(self._longest, device=action.device)
        chosen = (action - self.first)[..., None] == options
        return chosen.flatten(-2)[..., self.kept].float()

    def _choices(self, parameters: Tensor) -> Tensor:
        """The logits of each choice, `[..., K, longest]`."""
        return parameters.reshape(*parameters.shape[:-1], -1, self._longest)


@final
class BernoulliHead(ActionHead):
    """Several switches at once, on (1) or off (0), independent given the network's output.

    The parameters are the logits of being on. Actions are encoded as 1 and -1.
    """

    def __init__(self, space: spaces.MultiBinary) -> None:
        super().__init__()
        if len(space.shape) != 1:
            raise TypeError(f"actions must be a flat MultiBinary, got {space}")
        self.num_outputs = self.num_features = space.shape[0]

    def forward(self, output: Tensor) -> Tensor:
        return output

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.empty_like(parameters).uniform_(generator=generator)
        return (noise < parameters.sigmoid()).long()

    def mode(self, parameters: Tensor) -> Tensor:
        return (parameters > 0).long()

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        return nn.functional.logsigmoid(self.encode(action) * parameters).sum(-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        return (nn.functional.softplus(parameters) - parameters * parameters.sigmoid()).sum(-1)

    def kl_divergence(self, parameters: Tensor, other: Tensor) -> Tensor:
        chance = parameters.sigmoid()
        on, off = (nn.functional.logsigmoid(x * parameters) - nn.functional.logsigmoid(x * other) for x in (1, -1))
        return (chance * on + (1 - chance) * off).sum(-1)

    def cross_entropy(self, parameters: Tensor, expert_labels: Tensor) -> Tensor:
        return -self.log_prob(parameters, expert_labels)

    def encode(self, action: Tensor) -> Tensor:
        return 2.0 * action - 1.0
