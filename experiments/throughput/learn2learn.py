"""metarl's inner loop beside learn2learn's MAML and Meta-SGD: first that both compute the same numbers, then how fast.

    python -m experiments.throughput.learn2learn
    python -m experiments.throughput.learn2learn --rounds 0      only the numbers; nothing is timed or written

Both sides get the same network, loss and data in float64. Adapted parameters and meta-gradients must agree to 1e-8; if
they do not, the script ends with an error and times nothing.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from experiments.throughput.learn2learn_problems import INNER_STEPS, Problem, problems, reinforcement, two_layers
from experiments.timing import Row, Side, compare, hardware
from metarl import seeding
from metarl.adaptation.inner_loop import Adapted, InnerLoop, mean_meta_gradient
from metarl.adaptation.stacked import tasks_at_once
from metarl.adaptation.updates import FixedStep, InnerUpdate, StepPerParameter
from metarl.files import write_atomically

RESULT = Path(__file__).parents[1] / "results" / "against-learn2learn.json"
TOLERANCE = 1e-8
TIMED_TOLERANCE = 1e-3  # of what is timed, in float32
TIMED_TASKS = 40
TIMED_ROWS = {50: 40, 200: 20, 2000: 4}  # rows of a task, and how many meta-gradients one measurement takes
CPU = torch.device("cpu")
MISSING = """learn2learn cannot be imported: {reason}.
Version 0.2.0 as released does not compile on Python 3.11 or later. Unpack its source distribution, translate
learn2learn/data/*.pyx again with a current Cython (cython -3), install it from there without dependencies and without
build isolation, then install what its import asks for: gym, requests, pillow, and a torchvision that fits torch. Its
data sets are not used here, so an empty module in place of torchvision serves as well."""


def all_differences() -> Iterator[tuple[str, float]]:
    for problem in problems():
        for update in updates(problem):
            for second_order in (True, False):
                inner = InnerLoop(problem.module, update, second_order=second_order)
                for steps in (1, INNER_STEPS):
                    yield from differences(problem, inner, steps)


def updates(problem: Problem) -> Iterator[InnerUpdate]:
    yield FixedStep(problem.step_size)
    meta_sgd = StepPerParameter(dict(problem.module.named_parameters()), problem.step_size)
    stream = seeding.generator(0, "sizes")
    with torch.no_grad():
        for size in meta_sgd.parameters():  # all different, or a mix-up would not be seen
            size.mul_(0.5 + torch.rand(size.shape, generator=stream, dtype=size.dtype))
    yield meta_sgd


def differences(problem: Problem, inner: InnerLoop[nn.Module], steps: int) -> Iterator[tuple[str, float]]:
    """What was compared, and the largest relative difference, after some inner steps."""
    learner = peer(inner, problem.step_size)
    ours = inner.adapt(problem.loss, problem.data[:steps])
    theirs = [adapted_peer(learner, problem, steps, task) for task in range(problem.num_tasks)]
    outer = inner.call(problem.loss, ours, problem.data[-1]).mean()
    their_outer = torch.stack([problem.loss_of(own.module, -1, task) for task, own in enumerate(theirs)]).mean()
    learned = [*inner.module.parameters(), *inner.update.parameters()]
    gradients = [torch.autograd.grad(loss, learned) for loss in (outer, their_outer)]
    title = titled(problem, inner, steps)
    yield f"{title}: change of parameters", relative_difference(changes(inner, ours), their_changes(inner, theirs))
    yield f"{title}: meta-gradient", relative_difference(*gradients)


def peer(inner: InnerLoop[nn.Module], step_size: float) -> Any:
    """learn2learn's learner of the same parameters and, for Meta-SGD, of the same step sizes."""
    from learn2learn.algorithms import MAML, MetaSGD

    if isinstance(inner.update, StepPerParameter):
        sizes = [inner.update.sizes[name.replace(".", "/")][0] for name in inner.names]
        return MetaSGD(inner.module, lrs=sizes, first_order=not inner.second_order)
    return MAML(inner.module, lr=step_size, first_order=not inner.second_order)


def adapted_peer(learner: Any, problem: Problem, steps: int, task: int) -> Any:
    clone = learner.clone()
    for step in range(steps):
        clone.adapt(problem.loss_of(clone.module, step, task))
    return clone


def changes(inner: InnerLoop[nn.Module], adapted: Adapted) -> list[Tensor]:
    """By how much adaptation moved each parameter `[N, ...]`: differences count relative to this, not to its value."""
    return [adapted.parameters[name] - adapted.start[name] for name in inner.names]


def their_changes(inner: InnerLoop[nn.Module], adapted: Sequence[Any]) -> list[Tensor]:
    parameters = [dict(own.module.named_parameters()) for own in adapted]
    start = dict(inner.module.named_parameters())
    return [torch.stack([own[name] - start[name] for own in parameters]) for name in inner.names]


def relative_difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest over all tensors of max|a - b| / max|b|; nan if any is not finite."""
    each = [(a - b).detach().abs().max() / b.detach().abs().max() for a, b in zip(ours, theirs, strict=True)]
    return float(torch.stack(each).max())  # unlike max of Python, that of torch keeps nan


def titled(problem: Problem, inner: InnerLoop[nn.Module], steps: int) -> str:
    method = "Meta-SGD" if isinstance(inner.update, StepPerParameter) else "MAML"
    order = "second" if inner.second_order else "first"
    return f"{problem.name}, {method}, {order} order, inner steps {steps}"


def speed(rows: int, repeats: int, rounds: int) -> Row:
    """Meta-gradients per second with a policy of two layers of 64 in float32, of one inner step and second order."""
    title = f"{TIMED_TASKS} tasks x {rows} rows"
    problem = reinforcement(title, two_layers, 0.05, (TIMED_TASKS, 1, rows), 1, torch.float32)
    inner = InnerLoop(problem.module, FixedStep(problem.step_size))
    ours = partial(our_meta_gradient, inner, problem)
    theirs = partial(their_meta_gradient, peer(inner, problem.step_size), problem)
    check(title, relative_difference(ours(), theirs()), TIMED_TOLERANCE)
    sides = [Side("learn2learn", partial(repeated, theirs, repeats), True)]
    sides.append(Side("metarl", partial(repeated, ours, repeats)))
    return replace(compare(title, sides, rounds, CPU), unit="meta-gradients/s")


def our_meta_gradient(inner: InnerLoop[nn.Module], problem: Problem) -> list[Tensor]:
    """As many tasks at once as the library's rule says."""

    def outer(part: slice) -> Tensor:
        support, query = ({name: x[part] for name, x in data.items()} for data in problem.data)
        losses: Tensor = inner.call(problem.loss, inner.adapt(problem.loss, [support], part.start), query)
        return losses

    chunk = tasks_at_once(problem.data[0]["valid"][0].numel(), CPU)
    return mean_meta_gradient(outer, problem.num_tasks, list(inner.module.parameters()), chunk)[1]


def their_meta_gradient(learner: Any, problem: Problem) -> list[Tensor]:
    """The usual loop over tasks, the graph of each freed before the next."""
    learner.zero_grad()
    for task in range(problem.num_tasks):
        adapted = adapted_peer(learner, problem, 1, task)
        torch.autograd.backward(problem.loss_of(adapted.module, -1, task) / problem.num_tasks)
    return [p.grad for p in learner.parameters()]


def repeated(function: Callable[[], Any], times: int) -> Callable[[], int]:
    def work() -> int:
        for _ in range(times):
            function()
        return times

    return work


def check(what: str, difference: float, tolerance: float) -> None:
    if not difference <= tolerance:  # nan too
        raise SystemExit(f"{what}: relative difference {difference:.1e}, allowed {tolerance:.0e}")


def main(rounds: int = 7, threads: int = 1) -> None:
    """Compare numbers, then speed, and write experiments/results/against-learn2learn.json.

    Args:
        rounds: Rounds of timing that count, after one that does not; 0: only compare numbers.
        threads: Threads of torch.
    """
    torch.set_num_threads(threads)
    try:
        import learn2learn  # noqa: F401
    except ImportError as error:
        raise SystemExit(MISSING.format(reason=error)) from error
    with sdpa_kernel(SDPBackend.MATH):  # learn2learn too must differentiate attention twice
        found = dict(all_differences())
    for what, difference in found.items():
        print(f"{difference:8.1e}  {what}", flush=True)
    for what, difference in found.items():
        check(what, difference, TOLERANCE)
    if rounds > 0:
        rows = [speed(size, repeats, rounds) for size, repeats in TIMED_ROWS.items()]
        print("\n".join(row.table() for row in rows))
        keep(found, rows)


def keep(found: dict[str, float], rows: list[Row]) -> None:
    content = {
        "hardware": hardware(CPU) | {"learn2learn": version("learn2learn")},
        "tolerance": TOLERANCE,
        "differences": {what: float(f"{difference:.1e}") for what, difference in found.items()},
        "speed": [row.to_json() for row in rows],
    }
    write_atomically(RESULT, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
