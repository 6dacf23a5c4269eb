"""Numbers of numpy and torch as numbers of Python: what options are kept as, since JSON takes no others."""

from typing import Any

import numpy as np
import torch


def python_scalar(value: Any) -> Any:
    """A single number of numpy or torch as a number of Python, in tuples, too; anything else as it is.

    A number of float32 becomes the shortest decimal that means it: what was written as 0.001 stays so.

    >>> python_scalar(np.float32(0.001)), python_scalar((np.int64(2), 0.5)), python_scalar("gru")
    (0.001, (2, 0.5), 'gru')
    """
    if type(value) is tuple:
        return tuple(map(python_scalar, value))
    if isinstance(value, torch.Tensor) and value.dim() == 0:
        value = value.detach().cpu().numpy()[()]
    if isinstance(value, np.ndarray) and value.shape == ():
        value = value[()]
    if isinstance(value, np.floating) and not isinstance(value, float):
        return float(str(value))
    return value.item() if isinstance(value, np.generic) else value
