"""The sinusoid experiment: its tasks, what adapts, seeds side by side, choice of a step size, and its file."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from metarl.seeding import generator

EXACT: Any = {"rtol": 1e-4, "atol": 1e-6}  # float32, summed in another order


@pytest.fixture(scope="module")
def sinusoid(experiments: Any) -> Any:
    return experiments("reproductions.sinusoid")


def tiny(sinusoid: Any, **changed: Any) -> Any:
    return sinusoid.Experiment(**{"seeds": (0, 1), "iterations": 3, "num_tasks": 4, **changed})


def tasks(sinusoid: Any, num_tasks: int, num_points: int = 20, seeds: tuple[int, ...] = (0, 1)) -> Any:
    return sinusoid.draw_sinusoids(num_tasks, num_points, [generator(seed, "a test") for seed in seeds])


def test_tasks_are_those_of_the_paper(sinusoid: Any) -> None:
    drawn = tasks(sinusoid, 2000)
    for values, low, high in ((drawn.amplitude, 0.1, 5), (drawn.phase, 0, math.pi), (drawn.x, -5, 5)):
        assert low <= values.min() <= low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) <= values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.05 * (high - low))
    data = drawn.data(slice(3), told=True)
    assert data["x"].shape == (2000, 3, 6)
    for task, point, seed in ((0, 0, 0), (7, 2, 1)):
        x, amplitude, phase = data["x"][task, point].reshape(3, 2)[:, seed]
        expected = drawn.amplitude[task, seed] * math.sin(drawn.x[task, point, seed] - drawn.phase[task, seed])
        torch.testing.assert_close(data["y"][task, point, seed], expected)
        torch.testing.assert_close(amplitude * torch.sin(x - phase), expected)


def test_without_adaptation_no_prediction_errs_less_than_the_mean_of_all_tasks(sinusoid: Any) -> None:
    """E[y|x] = -5.1/pi cos x, which errs by E[y^2] - (5.1/pi)^2 E[cos^2 x] = 4.25 - 1.246, as the README says."""
    data = tasks(sinusoid, 20_000, 50, (0,)).data()
    mean = -5.1 / math.pi * torch.cos(data["x"])
    assert float((mean - data["y"]).square().mean()) == pytest.approx(3.004, abs=0.05)
    assert float(data["y"].square().mean()) == pytest.approx(4.25, abs=0.1)


@pytest.mark.parametrize("name", ["maml", "meta-sgd", "cavia", "oracle"])
def test_a_seed_learns_what_it_would_learn_alone(sinusoid: Any, name: str) -> None:
    method = sinusoid.METHODS[name]
    together = sinusoid.train(method, tiny(sinusoid)).module.state_dict()
    alone = sinusoid.train(method, tiny(sinusoid, seeds=(1,))).module.state_dict()
    untrained = sinusoid.inner_loop(method, (1,)).module.state_dict()
    for key in (key for key in together if not key.startswith("context")):
        torch.testing.assert_close(together[key][1], alone[key][0], **EXACT)
        assert not torch.equal(alone[key], untrained[key]), "nothing was learned"


def test_step_sizes_are_learned_by_meta_sgd_alone(sinusoid: Any) -> None:
    update = sinusoid.train(sinusoid.METHODS["meta-sgd"], tiny(sinusoid)).update
    assert all((sizes != 0.01).any() for sizes in update.parameters())
    assert not list(sinusoid.train(sinusoid.METHODS["maml"], tiny(sinusoid)).update.parameters())


def test_first_order_is_another_gradient(sinusoid: Any) -> None:
    first, second = (
        sinusoid.train(sinusoid.METHODS[name], tiny(sinusoid)).module.head.weight for name in ("first-order", "maml")
    )
    assert not torch.equal(first, second)


def test_the_context_starts_at_zero_after_training_too(sinusoid: Any) -> None:
    inner = sinusoid.train(sinusoid.METHODS["cavia"], tiny(sinusoid))
    assert not inner.module.context.value.any()
    adapted = sinusoid.adaptation(inner, tasks(sinusoid, 4).data(slice(10)), 1)[-1]
    assert list(adapted.parameters) == ["context.value"]
    assert adapted.parameters["context.value"].any(0).all()


def test_a_head_takes_the_gradient_step_of_least_squares(sinusoid: Any) -> None:
    """w - step * 2 / K * features^T (features w - y), in every task."""
    inner = sinusoid.inner_loop(sinusoid.METHODS["anil"], (0,))
    drawn = tasks(sinusoid, 5, 110, (0,))
    support, query = drawn.data(slice(10)), drawn.data(slice(10, None))
    head, errors = inner.module.head, []
    for task in range(5):
        features, queried = (inner.module.body(data["x"][task].mT[..., None])[0] for data in (support, query))
        error = features @ head.weight[0] + head.bias[0] - support["y"][task]  # [K, 1]
        weight = head.weight[0] - 0.01 * 2 / 10 * features.mT @ error
        bias = head.bias[0] - 0.01 * 2 / 10 * error.sum(0)
        errors.append((queried @ weight + bias - query["y"][task]).square().mean())
    curve = sinusoid.error_curve(inner, drawn, 10, 1)
    torch.testing.assert_close(curve[1, 0], torch.stack(errors).mean(), **EXACT)


def test_the_best_step_size_neither_crawls_nor_runs_away(sinusoid: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = sinusoid.inner_loop(sinusoid.METHODS["anil"], (0,))
    monkeypatch.setattr(sinusoid, "STEP_SIZES", (1e-9, 0.05, 1e30))
    assert sinusoid.best_step_size(inner, tasks(sinusoid, 50, 110, (0,)), 10, 10) == 0.05


def test_steps_that_run_away_are_a_result_and_no_error(sinusoid: Any) -> None:
    inner = sinusoid.resized(sinusoid.inner_loop(sinusoid.METHODS["maml"], (0, 1)), 1e20)
    curve = sinusoid.error_curve(inner, tasks(sinusoid, 4, 110), 10, 10)
    assert curve.shape == (11, 2)
    assert curve[0].isfinite().all()
    assert curve[-1].isinf().all()
    errors = [[sinusoid._limited(float(error)) for error in seed] for seed in curve.mT]
    assert json.dumps(errors, allow_nan=False)
    rows = {"maml": {"title": "MAML", "errors": {"5": errors, "10": errors}}}
    assert sinusoid.table(rows).endswith(" | ran away |")


def test_what_is_measured_is_kept_and_drawn(
    sinusoid: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinusoid, "TUNING_TASKS", 2)
    monkeypatch.setattr(sinusoid, "STEP_SIZES", (0.001, 0.01))
    file, picture = tmp_path / "results.json", tmp_path / "picture.png"
    experiment = tiny(sinusoid, methods=("fine-tuned", "maml"), results=file, figure=picture)
    sinusoid.main(experiment)
    rows = json.loads(file.read_text(encoding="utf-8"))
    assert list(rows) == ["maml", "fine-tuned"], "in the order of the table"
    assert set(rows["fine-tuned"]["step_sizes"]) == {"5", "10"}
    assert [len(curve) for curve in rows["maml"]["errors"]["10"]] == [11, 11]
    assert picture.read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()

    rows["maml"]["seconds"] = -1  # would not survive a second measurement
    file.write_text(json.dumps(rows), encoding="utf-8")
    sinusoid.main(dataclasses.replace(experiment, methods=("maml", "oracle")))
    again = json.loads(file.read_text(encoding="utf-8"))
    assert again["maml"]["seconds"] == -1
    assert [len(curve) for curve in again["oracle"]["errors"]["5"]] == [1, 1]
    assert "| oracle: a network told amplitude and phase |" in capsys.readouterr().out
    sinusoid.main(dataclasses.replace(experiment, methods=("maml",), iterations=1))
    assert json.loads(file.read_text(encoding="utf-8"))["maml"]["seconds"] >= 0


def test_an_unknown_method_is_named(sinusoid: Any) -> None:
    with pytest.raises(SystemExit, match="reptile"):
        sinusoid.main(tiny(sinusoid, methods=("reptile",)))


def test_a_cell_is_the_mean_and_half_the_range_over_seeds(sinusoid: Any) -> None:
    curves = [[9.0, 1.0], [9.0, 2.0], [9.0, 6.0]]
    rows = {"maml": {"title": "MAML", "errors": {"5": [c + [0.5] * 9 for c in curves], "10": [[0.25], [0.25], [0.25]]}}}
    last = sinusoid.table(rows).splitlines()[-1]
    assert last == "| MAML | 9.000 ± 0.000 | 3.000 ± 2.500 | 0.500 ± 0.000 | 0.250 ± 0.000 |  |  |"
