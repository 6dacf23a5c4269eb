"""Shapes that must agree: broadcasting would turn a mistake into a number."""

from torch import Tensor


def check_same_shape(**arguments: Tensor | float) -> None:
    """ValueError that names the arguments and their shapes unless all tensors have the same; numbers go with any.

    Only shapes are read, never values: nothing waits for a device, and under `torch.func.vmap` the shapes are those of
    one example.

    >>> import torch
    >>> check_same_shape(prediction=torch.zeros(8, 1), target=torch.zeros(8))
    Traceback (most recent call last):
    ValueError: shapes must be equal, got prediction (8, 1), target (8,)
    """
    shapes = {name: tuple(value.shape) for name, value in arguments.items() if isinstance(value, Tensor)}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"shapes must be equal, got {', '.join(f'{name} {shape}' for name, shape in shapes.items())}")
