"""Few-shot sinusoid regression: how far a few points and gradient steps go, for every way to meta-learn of metarl.

    python -m experiments.reproductions.sinusoid                     # all methods, ten minutes on one core
    python -m experiments.reproductions.sinusoid maml meta-sgd       # some of them
    python -m experiments.reproductions.sinusoid --table             # what is measured so far

Tasks, network and sizes are those of MAML (Finn et al. 2017, arXiv 1703.03400, section 5.1). Methods that are in
experiments/results/sinusoid.json with the same settings are not run again; the figure is drawn from that file alone.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
import tyro
from torch import Tensor
from tqdm import trange

from experiments.figures.sinusoid import sinusoid_figure
from experiments.reproduction import DOCS, RESULTS, markdown, refuse_unknown, rows_of_file
from experiments.reproductions.sinusoid_problem import Networks, Sinusoids, draw_sinusoids, squared_errors, task_loss
from experiments.timing import hardware
from metarl.adaptation.inner_loop import Adapted, InnerLoop
from metarl.adaptation.stacked import Data
from metarl.adaptation.updates import FixedStep, InnerUpdate, StepPerParameter
from metarl.reports.style import save_figure
from metarl.seeding import generator

FILE, FIGURE = RESULTS / "sinusoid.json", DOCS / "sinusoid.png"
SHOTS, TRAINING_SHOTS, META_BATCH, OUTER_STEP = (5, 10), 10, 25, 1e-3
TEST_STEPS, TEST_POINTS, TUNING_TASKS = 10, 100, 600
STEP_SIZES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # what fine-tuning chooses from
RAN_AWAY = 100.0  # errors are cut there: to predict 0 everywhere costs 4.25
EXAMPLES, EXAMPLE_STEPS = (0.25, 0.5, 0.75), (0, 1, 10)  # of the figure: tasks by their rank in amplitude


@final
@dataclass(frozen=True)
class Method:
    """One row of the table."""

    title: str
    inner_steps: int = 1  # in training; none: the error of all tasks without adaptation
    adapts: tuple[str, ...] = ("*",)
    step: float = 0.01
    second_order: bool = True
    learned_steps: bool = False  # a step size for every parameter
    context: int = 0  # width of the context vector
    trained: bool = True
    tuned: bool = False  # the step size is the best on training tasks after all test steps
    told: bool = False  # amplitude and phase


METHODS = {
    "maml": Method("MAML"),
    "maml-3": Method("MAML, trained with 3 inner steps", inner_steps=3),
    "first-order": Method("first-order MAML", second_order=False),
    "meta-sgd": Method("Meta-SGD", learned_steps=True),
    "anil": Method("ANIL (only the head adapts)", adapts=("head.*",)),
    "cavia": Method("CAVIA (5 context parameters)", adapts=("context.value",), step=1.0, context=5),
    "fine-tuned": Method("pre-trained on all tasks, fine-tuned", inner_steps=0, tuned=True),
    "scratch": Method("from scratch", trained=False, tuned=True),
    "oracle": Method("oracle: a network told amplitude and phase", inner_steps=0, told=True),
}
DRAWN = ("maml", "fine-tuned")  # on the example tasks


@dataclass(frozen=True)
class Experiment:
    """Meta-train networks on sinusoids, adapt them to new ones, and write table and figure."""

    methods: tyro.conf.Positional[tuple[str, ...]] = tuple(METHODS)
    """Which: maml, maml-3, first-order, meta-sgd, anil, cavia, fine-tuned, scratch, oracle."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One network each; they are trained side by side."""
    iterations: int = 15_000
    """Meta-training, of 25 tasks each."""
    num_tasks: int = 600
    """Fresh test tasks for each seed."""
    table: bool = False
    """Only print the table and draw the figure of what is measured."""
    results: Path = FILE
    """The JSON file that is read and extended."""
    figure: Path = FIGURE
    """Where the picture goes."""


def main(experiment: Experiment) -> None:
    refuse_unknown(experiment.methods, METHODS)
    rows = rows_of_file(
        experiment.results,
        METHODS,
        () if experiment.table else experiment.methods,
        is_measured=lambda row, _: is_measured(row, experiment),
        measure=lambda name: measure(name, experiment),
    )
    print(table(rows))
    if all(name in rows for name in DRAWN):
        save_figure(sinusoid_figure(rows, *DRAWN), experiment.figure)


def train(method: Method, experiment: Experiment) -> InnerLoop[Networks]:
    """Adam on the error of fresh points after the inner steps, over all tasks of a meta-batch at once."""
    inner = inner_loop(method, experiment.seeds)
    learned = [p for name, p in inner.module.named_parameters() if not name.startswith("context")]
    optimiser = torch.optim.Adam([*learned, *inner.update.parameters()], OUTER_STEP)
    generators = [generator(seed, "train") for seed in experiment.seeds]
    for _ in trange(experiment.iterations if method.trained else 0, desc=method.title, mininterval=1):
        tasks = draw_sinusoids(META_BATCH, 2 * TRAINING_SHOTS, generators)
        adapted = inner.begin(META_BATCH)
        for _ in range(method.inner_steps):
            adapted = inner.step(task_loss, adapted, tasks.data(slice(TRAINING_SHOTS)))
        loss = inner.call(task_loss, adapted, tasks.data(slice(TRAINING_SHOTS, None), method.told)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return inner


def inner_loop(method: Method, seeds: Sequence[int]) -> InnerLoop[Networks]:
    networks = Networks(3 if method.told else 1, method.context, seeds)
    update: InnerUpdate = FixedStep(method.step)
    if method.learned_steps:
        update = StepPerParameter(dict(networks.named_parameters()), method.step)
    return InnerLoop(networks, update, method.adapts, second_order=method.second_order)


def adaptation(inner: InnerLoop[Networks], support: Data, num_steps: int) -> list[Adapted]:
    """The parameters after 0 to `num_steps` steps on the same points, or fewer if these run away."""
    path = [inner.begin(len(support["x"]))]
    try:
        for _ in range(num_steps):
            path.append(inner.step(task_loss, path[-1], support))
    except FloatingPointError:
        pass  # steps learned for one step of training need not bear repetition: a result, and no error
    return path


@torch.no_grad()
def error_curve(inner: InnerLoop[Networks], tasks: Sinusoids, shots: int, num_steps: int, told: bool = False) -> Tensor:
    """Mean squared error [num_steps + 1, S] over tasks and fresh points, before and after steps on `shots` points.

    Infinite from where the steps ran away in any task.
    """
    path = adaptation(inner, tasks.data(slice(shots), told), num_steps)
    query = tasks.data(slice(max(SHOTS), None), told)
    errors = [inner.call(squared_errors, adapted, query).mean(0) for adapted in path]
    errors += [torch.full_like(errors[0], math.inf)] * (num_steps + 1 - len(errors))
    return torch.stack(errors).nan_to_num(math.inf, posinf=math.inf)


def best_step_size(inner: InnerLoop[Networks], tasks: Sinusoids, shots: int, num_steps: int) -> float:
    """Of STEP_SIZES, the one with the smallest mean error after `num_steps` steps."""

    def error(size: float) -> float:
        return float(error_curve(resized(inner, size), tasks, shots, num_steps)[-1].mean())

    return min(STEP_SIZES, key=error)


def resized(inner: InnerLoop[Networks], size: float) -> InnerLoop[Networks]:
    return InnerLoop(inner.module, FixedStep(size), inner.names)


def measure(name: str, experiment: Experiment) -> dict[str, Any]:
    """Train one method, and adapt to the test tasks of every seed: the same tasks for all methods."""
    method, start = METHODS[name], time.perf_counter()
    inner = train(method, experiment)
    row = {**settings(experiment), "title": method.title, "seconds": round(time.perf_counter() - start)}
    tasks = _tasks("test", experiment.num_tasks, experiment.seeds)
    sizes, errors = {}, {}
    for shots in SHOTS:
        if method.tuned:
            training_tasks = _tasks("tune", TUNING_TASKS, experiment.seeds)
            sizes[str(shots)] = best_step_size(inner, training_tasks, shots, TEST_STEPS)
            inner = resized(inner, sizes[str(shots)])
        num_steps = 0 if method.told else TEST_STEPS
        curve = error_curve(inner, tasks, shots, num_steps, method.told)
        errors[str(shots)] = [[_limited(error) for error in seed] for seed in curve.mT.tolist()]
    drawn = {"examples": examples(inner, tasks)} if name in DRAWN else {}
    return {**row, "step_sizes": sizes, "errors": errors, **drawn, "hardware": hardware(torch.device("cpu"))}


@torch.no_grad()
def examples(inner: InnerLoop[Networks], tasks: Sinusoids) -> dict[str, Any]:
    """Points, truth and predictions in a few tasks of the first seed, with the larger number of points."""
    ranks = [int(share * len(tasks.amplitude)) for share in EXAMPLES]
    chosen = tasks.amplitude[:, 0].argsort()[ranks]
    tasks = Sinusoids(*(value[chosen] for value in tasks))
    line = torch.linspace(-5, 5, 101)
    grid = tasks._replace(x=line[:, None].expand(len(EXAMPLES), -1, tasks.x.shape[-1])).data()
    support = tasks.data(slice(max(SHOTS)))
    path = adaptation(inner, support, max(EXAMPLE_STEPS))
    lines = {str(step): inner.call(_predict, path[step], grid)[..., 0] for step in EXAMPLE_STEPS}
    values = {"x": line, "truth": grid["y"][..., 0], "points_x": support["x"][..., 0], "points_y": support["y"][..., 0]}
    drawn: dict[str, Any] = {name: _rounded(value) for name, value in values.items()}
    return {**drawn, "predictions": {step: _rounded(y) for step, y in lines.items()}}


def settings(experiment: Experiment) -> dict[str, Any]:
    return {
        "iterations": experiment.iterations,
        "seeds": list(experiment.seeds),
        "num_tasks": experiment.num_tasks,
    }


def is_measured(row: dict[str, Any], experiment: Experiment) -> bool:
    return settings(experiment).items() <= row.items()


def table(rows: dict[str, Any]) -> str:
    """Markdown: mean over seeds, and half the range between the best and the worst seed."""
    steps = (0, 1, 10)
    header = [f"{shots}-shot, {step} step{'s' * (step != 1)}" for shots in SHOTS for step in steps]
    cells = {
        row["title"]: [_cell(row["errors"][str(shots)], step) for shots in SHOTS for step in steps]
        for row in rows.values()
    }
    return markdown(["method", *header], [[title, *errors] for title, errors in cells.items()])


def _predict(networks: Networks, data: Data) -> Tensor:
    y: Tensor = networks(data["x"])
    return y


def _cell(curves: list[list[float]], step: int) -> str:
    if step >= len(curves[0]):
        return ""
    errors = [curve[step] for curve in curves]
    if max(errors) >= RAN_AWAY:  # in any seed
        return "ran away"
    return f"{sum(errors) / len(errors):.3f} ± {(max(errors) - min(errors)) / 2:.3f}"


def _tasks(stream: str, num_tasks: int, seeds: Sequence[int]) -> Sinusoids:
    return draw_sinusoids(num_tasks, max(SHOTS) + TEST_POINTS, [generator(seed, stream) for seed in seeds])


def _limited(error: float) -> float:
    return round(min(error, RAN_AWAY), 5)  # JSON has no infinity


def _rounded(values: Tensor) -> Any:
    return [round(value, 3) for value in values.tolist()] if values.dim() == 1 else [_rounded(row) for row in values]


if __name__ == "__main__":
    main(tyro.cli(Experiment, description=Experiment.__doc__))
