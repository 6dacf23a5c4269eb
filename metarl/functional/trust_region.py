"""Trust-region steps (TRPO, Schulman et al. 2015, arXiv 1502.05477): natural gradient, line search in a KL bound.

All are pure functions of flat vectors `[P]`, except `trust_region_step`, which writes into parameters.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from metarl.distributed import flatten, unflatten

Product = Callable[[Tensor], Tensor]  # a symmetric positive semi-definite matrix times a vector


def conjugate_gradient(product: Product, target: Tensor, iterations: int = 10, tolerance: float = 1e-10) -> Tensor:
    """An approximate solution x [P] of A x = `target`, for a positive definite A (Hestenes and Stiefel 1952).

    It stops after `iterations`, or at |A x - target|² <= tolerance |target|². Raises FloatingPointError if a product is
    not finite.
    """
    x, residual = torch.zeros_like(target), target.clone()
    direction, size = residual, residual.dot(residual)
    enough = tolerance * size
    if size <= enough:
        return x
    for _ in range(iterations):
        curved = product(direction)
        curvature = direction.dot(curved)
        following = residual - size / curvature * curved
        smaller = following.dot(following)
        bend, left, needed = torch.stack([curvature, smaller, enough]).tolist()  # one copy to the host per product
        if not math.isfinite(bend):
            raise FloatingPointError("conjugate gradient: the product with the Fisher matrix is not finite")
        if bend <= 0:  # zero curvature, or rounding: this direction cannot improve x
            break
        x = x + size / curvature * direction
        if left <= needed:
            break
        direction = following + smaller / size * direction
        residual, size = following, smaller
    return x


def curvature_product(
    outputs: Sequence[Tensor], divergence: Callable[[Sequence[Tensor]], Tensor], parameters: Sequence[Tensor]
) -> Product:
    """v -> J' M J v, where J is the Jacobian of `outputs` by `parameters` and M the Hessian of `divergence` at them.

    If `outputs` are a policy's, and `divergence` is the mean KL divergence from them to others, this is the Fisher
    matrix. It equals the Hessian of the KL divergence, whose gradient is zero where both policies are equal.
    J v is the gradient of J' u by u (a double vector-Jacobian product). So each product costs two backward passes, and
    the outputs are differentiated once more only, however many inner steps they contain. Keeps the graph of `outputs`.
    """
    dual = [torch.zeros_like(x, requires_grad=True) for x in outputs]
    pulled = _pull_back(outputs, parameters, dual, create_graph=True)  # J' u
    point = [x.detach().requires_grad_() for x in outputs]
    slope = _pull_back([divergence(point)], point, None, create_graph=True)

    def product(vector: Tensor) -> Tensor:
        tangent = _pull_back(pulled, dual, unflatten(vector, parameters))  # J v
        curved = _pull_back(slope, point, tangent)  # M J v
        return flatten(_pull_back(outputs, parameters, curved))

    return product


def _pull_back(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], seeds: Sequence[Tensor] | None, create_graph: bool = False
) -> list[Tensor]:
    """The vector-Jacobian product of `seeds` (None: ones), zero for inputs without influence. Keeps the graph."""
    moving = [k for k, output in enumerate(outputs) if output.requires_grad]
    chosen = None if seeds is None else [seeds[k] for k in moving]
    return list(
        torch.autograd.grad(
            [outputs[k] for k in moving],
            inputs,
            chosen,
            retain_graph=True,
            create_graph=create_graph,
            materialize_grads=True,
        )
    )


def damped(product: Product, damping: float) -> Product:
    """v -> A v + `damping` v."""
    return lambda vector: product(vector) + damping * vector


@final
@dataclass(frozen=True)
class LineSearch:
    """The result of a backtracking line search."""

    accepted: bool
    vector: Tensor  # [P] the start itself if nothing was accepted
    backtracks: int
    loss: float  # of the last vector that was tried
    kl: float  # of the same, in nats


def line_search(
    evaluate: Callable[[Tensor], tuple[float, float]],
    start: Tensor,
    step: Tensor,
    start_loss: float,
    max_kl: float,
    backtracks: int = 15,
    shrink: float = 0.8,
) -> LineSearch:
    """The first of start + shrink^k step, k = 0, 1, ..., with a loss below `start_loss` and a KL of at most `max_kl`.

    `evaluate` returns the loss and the mean KL divergence, in nats, of a vector [P]. NaN is not accepted.
    `backtracks` is the largest number of evaluations.
    """
    loss, kl = math.nan, math.nan
    for k in range(backtracks):
        vector = start + shrink**k * step
        loss, kl = evaluate(vector)
        if loss < start_loss and kl <= max_kl:
            return LineSearch(True, vector, k, loss, kl)
    return LineSearch(False, start, backtracks, loss, kl)


def natural_step(product: Product, gradient: Tensor, max_kl: float, iterations: int = 10) -> Tensor:
    """The natural gradient step `[P]`: - sqrt(2 max_kl / x'A x) x, where A x = `gradient` and A is that of `product`.

    Zero if x'A x is not positive.
    """
    direction = conjugate_gradient(product, gradient, iterations)
    length = direction.dot(product(direction))
    if not length > 0:
        return torch.zeros_like(gradient)
    return -torch.sqrt(2 * max_kl / length) * direction


def trust_region_step(
    parameters: Sequence[Tensor],
    step: Tensor,
    evaluate: Callable[[], tuple[float, float]],
    start_loss: float,
    max_kl: float,
    backtracks: int = 15,
    shrink: float = 0.8,
) -> LineSearch:
    """Line search along `step` [P] that writes into `parameters`; otherwise like `line_search`.

    `evaluate` returns the loss and the mean KL divergence of the current parameters; it runs without gradients.
    If no step is accepted, or `evaluate` raises, the parameters get their old values back, bit for bit.
    """
    before = [p.detach().clone() for p in parameters]
    accepted = False

    def at(vector: Tensor) -> tuple[float, float]:
        _assign(parameters, unflatten(vector, parameters))
        return evaluate()

    try:
        with torch.no_grad():
            search = line_search(at, flatten(before), step, start_loss, max_kl, backtracks, shrink)
        accepted = search.accepted
        return search
    finally:
        if not accepted:
            _assign(parameters, before)


@torch.no_grad()
def _assign(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
