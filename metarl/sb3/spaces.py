"""The spaces of families in Stable-Baselines3's convention."""

from typing import Any, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.spaces import center_and_scale, channels_first, image_shape, is_image, plain_space, start_of
from metarl.tasks.distribution import TaskDistribution


def with_task(space: spaces.Space[Any], distribution: TaskDistribution) -> spaces.Dict:
    """Observations of `space` together with the task that they come from, as a vector."""
    size = sum(int(np.prod(box.shape or ())) for box in distribution.task_space.values())
    return spaces.Dict({"observation": space, "task": spaces.Box(-1, 1, (size,), np.float32)})


@final
class SB3Spaces:
    """The spaces of a family in Stable-Baselines3's convention.

    Integers count from 0, bounded actions of a Box lie in [-1, 1], and images have their channels first. Gaussian
    policies of Stable-Baselines3 start with standard deviation 1, so actions of another scale would be learned badly.
    """

    def __init__(self, distribution: TaskDistribution, device: torch.device | str = "cpu") -> None:
        self.observation_space = plain_space(distribution.observation_space, "observation")
        self.action_space = plain_space(distribution.action_space, "action")
        self._image = self.observation_space if is_image(self.observation_space) else None
        if self._image is not None:
            self.observation_space = spaces.Box(
                int(self._image.low.min()), int(self._image.high.max()), image_shape(self._image), np.uint8
            )
        self._first = torch.as_tensor(start_of(distribution.observation_space), device=device)
        self._offset = torch.as_tensor(start_of(distribution.action_space), device=device)
        self._scale = torch.ones_like(self._offset)
        if isinstance(self.action_space, spaces.Box):
            low, high = self.action_space.low, self.action_space.high
            bounded = np.isfinite(low) & np.isfinite(high)
            self._offset, self._scale = (
                torch.as_tensor(values, device=device) for values in center_and_scale(self.action_space)
            )
            self.action_space = spaces.Box(np.where(bounded, -1, low), np.where(bounded, 1, high), dtype=np.float32)

    def observation(self, observation: Tensor) -> Tensor:
        """Observations of the family `[B, ...]` as Stable-Baselines3 counts them."""
        return observation - self._first if self._image is None else channels_first(observation, self._image)

    def action(self, action: Tensor) -> Tensor:
        """The family's actions `[B, ...]` for those of Stable-Baselines3, where switches are floats."""
        if not isinstance(self.action_space, spaces.Box):
            action = action.long()
        return self._offset + self._scale * action

    def counted(self, action: Tensor) -> Tensor:
        """The inverse of `action`, 0 for numbers that are constants."""
        if not action.is_floating_point():
            return action - self._offset
        return torch.where(self._scale > 0, (action - self._offset) / self._scale, 0.0)


def host(tensor: Tensor) -> np.ndarray:
    """A copy that is nobody else's: Stable-Baselines3 writes into rewards."""
    return np.array(tensor.cpu().numpy())
