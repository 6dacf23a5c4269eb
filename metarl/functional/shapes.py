"""A check of shapes: without it, broadcasting would hide mistakes."""

from torch import Tensor


def check_same_shape(**arguments: Tensor | float) -> None:
    """Raise ValueError, naming the arguments and their shapes, unless all tensors have the same shape.

    Arguments that are numbers are ignored. Only shapes are read, so nothing waits for a device. Under `torch.func.vmap`
    the shapes are those of one example.

    >>> import torch
    >>> check_same_shape(prediction=torch.zeros(8, 1), target=torch.zeros(8))
    Traceback (most recent call last):
    ValueError: shapes must be equal, got prediction (8, 1), target (8,)
    """
    shapes = {name: tuple(value.shape) for name, value in arguments.items() if isinstance(value, Tensor)}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"shapes must be equal, got {', '.join(f'{name} {shape}' for name, shape in shapes.items())}")
