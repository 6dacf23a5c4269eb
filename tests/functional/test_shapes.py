"""Mathematics refuses tensors whose shapes differ, and asks for nothing but their shapes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from metarl.functional import linear_baseline, losses, returns
from metarl.functional.shapes import check_same_shape

# every function, with the tensors that must have the same shape [4, 5] and what else it takes
ALIKE: dict[Callable[..., Any], tuple[tuple[str, ...], dict[str, Any]]] = {
    losses.clipped_surrogate: (("log_prob", "old_log_prob", "advantage"), {"clip": 0.2}),
    losses.squared_error: (("prediction", "target"), {}),
    losses.approx_kl: (("log_prob", "old_log_prob"), {}),
    losses.log_likelihood: (("log_prob", "advantage", "valid"), {}),
    losses.likelihood_ratio: (("log_prob", "old_log_prob", "advantage", "valid"), {}),
    losses.clipped_likelihood_ratio: (("log_prob", "old_log_prob", "advantage", "valid"), {"clip": 0.2}),
    losses.dice: (("log_prob", "advantage", "done", "valid"), {}),
    returns.episode_cumsum: (("x_t", "done"), {}),
    losses.valid_mean: (("x", "valid"), {}),
    returns.discounted_returns: (("reward_t", "gamma"), {}),
    returns.gae: (("reward_t", "value_t", "gamma"), {"gae_lambda": 0.9}),
    returns.episode_gae: (("reward_t", "value_t", "done"), {"gamma": 0.9}),
    returns.episode_returns: (("reward_t", "done"), {"gamma": 0.9}),
    linear_baseline.normalised_in_tasks: (("advantage", "valid"), {}),
    linear_baseline.normalised_together: (("advantage", "valid"), {}),
}
CASES = [(function, name) for function, (names, _) in ALIKE.items() for name in names]
READS_VALUES = (
    linear_baseline.normalised_in_tasks,
    linear_baseline.normalised_together,
)  # to name a task without valid steps


def ones(name: str, *shape: int, device: str = "cpu") -> Tensor:
    return torch.ones(shape, dtype=torch.bool if name in ("done", "valid") else torch.float32, device=device)


@pytest.mark.parametrize(("function", "wrong"), CASES, ids=lambda x: getattr(x, "__name__", x))
@pytest.mark.parametrize("shape", [(5,), (4, 1), (1, 5), (3, 4, 5)], ids=str)
def test_no_argument_is_broadcast(function: Callable[..., Any], wrong: str, shape: tuple[int, ...]) -> None:
    names, others = ALIKE[function]
    tensors = {name: ones(name, *(shape if name == wrong else (4, 5))) for name in names}
    with pytest.raises(ValueError, match=r"shapes must be equal, got .*\(4, 5\)"):
        function(**tensors, **others)


@pytest.mark.parametrize("function", [f for f in ALIKE if f not in READS_VALUES], ids=lambda f: f.__name__)
def test_no_value_is_copied_to_the_host(function: Callable[..., Any]) -> None:
    """Tensors on the meta device have shapes only: whatever reads a value fails."""
    names, others = ALIKE[function]
    function(**{name: ones(name, 4, 5, device="meta") for name in names}, **others)


@pytest.mark.parametrize("function", [f for f in ALIKE if f not in READS_VALUES], ids=lambda f: f.__name__)
def test_examples_of_vmap_are_checked_alone(function: Callable[..., Any]) -> None:
    names, others = ALIKE[function]
    columns = [ones(name, 3, 4, 5) for name in names]

    def each(*tensors: Tensor) -> Any:
        return function(**dict(zip(names, tensors, strict=True)), **others)

    whole = torch.func.vmap(each)(*columns)
    torch.testing.assert_close(whole[1], each(*(column[1] for column in columns)))
    with pytest.raises(ValueError, match=r"\(5,\)"):
        torch.func.vmap(each)(*columns[:-1], ones(names[-1], 3, 5))


@pytest.mark.parametrize("function", [returns.discounted_returns, returns.gae], ids=lambda f: f.__name__)
def test_a_final_value_is_one_for_each_trial(function: Callable[..., Any]) -> None:
    names, others = ALIKE[function]
    for shape in ((5,), (), (4, 5)):
        with pytest.raises(ValueError, match=r"of_a_step .*final_value"):
            function(**{name: ones(name, 4, 5) for name in names}, **others, final_value=torch.ones(shape))


FEATURES = torch.ones(2, 3, 4, 6)  # [N, R, T, F]


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: linear_baseline.linear_features(FEATURES, torch.ones(4)), "observation_entry, time"),
        (
            lambda: linear_baseline.fit_linear(FEATURES, torch.ones(3, 4), ones("valid", 2, 3, 4)),
            "feature, target, valid",
        ),
        (lambda: linear_baseline.fit_linear(FEATURES, torch.ones(2, 3, 4), ones("valid", 4)), "feature, target, valid"),
        (lambda: linear_baseline.linear_values(FEATURES, torch.ones(1, 6)), "features_of_a_task, weights"),
        (
            lambda: linear_baseline.linear_advantages(
                FEATURES, torch.ones(3, 4), ones("done", 2, 3, 4), ones("valid", 2, 3, 4), 0.9
            ),
            "observation_entry, reward, done, valid",
        ),
    ],
    ids=["features", "targets", "valid", "weights", "advantages"],
)
def test_linear_baselines_refuse_what_does_not_belong_together(call: Callable[[], Any], names: str) -> None:
    pattern = r" \(.*\), ".join(names.split(", "))
    with pytest.raises(ValueError, match=f"shapes must be equal, got {pattern}"):
        call()


def test_gradients_pass() -> None:
    x = torch.ones(4, requires_grad=True)
    losses.squared_error(x, torch.zeros(4)).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(x.grad, torch.full((4,), 0.25))


def test_numbers_go_with_any_shape() -> None:
    check_same_shape(reward_t=torch.zeros(3, 2), gamma=0.9)
