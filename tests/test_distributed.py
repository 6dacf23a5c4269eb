"""Two processes under torchrun train as one: the same numbers, one writer, one end."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from torch import Tensor
from torchrun_script import RUN, cases, few_conjugate_gradients, state_of

import metarl
from metarl import distributed, seeding
from metarl.agents.in_context.rl2 import RL2
from metarl.agents.outer_loop.expert_labels import ExpertLabels
from metarl.cli.entry import main
from metarl.runs.folder import Run
from metarl.training.agent import Agent
from metarl.training.checkpoints import load_checkpoint
from metarl.training.logs import STEPS
from metarl.trials.trajectories import Trajectories

SCRIPT = Path(__file__).parent / "torchrun_script.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

# where float32 says less than elsewhere, moves being .3 and .0003 there
TOLERANCES = {
    "trust region": 1e-3,  # conjugate gradients blow up the rounding of sums in another order
    "reptile": 1e-5,  # Adam divides gradients near zero by their own size
}


@pytest.mark.skipif(not torch.distributed.is_available(), reason="a torch without torch.distributed")
def test_two_processes_train_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One test, since what takes its time is to start the processes."""
    ended = subprocess.run([*TORCHRUN, SCRIPT, tmp_path], capture_output=True, text=True, check=False, timeout=300)
    assert (tmp_path / "notes-0.json").exists(), ended.stderr
    notes = [json.loads((tmp_path / f"notes-{rank}.json").read_text()) for rank in (0, 1)]

    for name, agent in cases().items():
        processes = [load_checkpoint(tmp_path / f"{name}-{rank}")[0] for rank in (0, 1)]
        first_update_is_that_of_one_process(agent, processes, TOLERANCES.get(name, 1e-6), monkeypatch)
    assert notes[0]["updates"] == notes[1]["updates"] == {"rl2": [50, 0], "maml": [50, 0]}

    assert [note["whole"] for note in notes] == [0, 0]
    assert [note["interrupted"] for note in notes] == [[130, 0], [130, 0]]
    assert_equal_runs(tmp_path / "whole", tmp_path / "interrupted")
    for note in notes:
        explained(note["refusals"])
    assert not (tmp_path / "refused").exists()

    assert ended.returncode != 0
    assert ended.stderr.count("metarl: ") == 1
    assert "\nmetarl: process 0 of 2 stops" in ended.stderr
    resume = [*TORCHRUN, "-m", "metarl", "train", "rl2", *RUN, f"--run-dir={tmp_path / 'killed'}", "--resume"]
    resumed = subprocess.run(resume, capture_output=True, text=True, check=False, timeout=300)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on at step 400" in resumed.stdout
    assert resumed.stdout.count("complete at step 600") == 1
    assert_equal_runs(tmp_path / "whole", tmp_path / "killed")

    another_number_of_processes_is_refused(tmp_path / "whole", capsys)


def first_update_is_that_of_one_process(
    agent: Agent, processes: list[dict[str, Tensor]], tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process that learns from the trials of both, in the same minibatches, moves as they did."""
    assert not torch.equal(processes[0]["0/actions"], processes[1]["0/actions"])
    before = {name: x.clone() for name, x in state_of(agent).items()}
    with monkeypatch.context() as patch:
        if isinstance(agent, RL2):
            patch.setattr(
                "metarl.agents.in_context.rl2.collect",
                Replay(agent, [torch.cat(pair) for pair in pairs(processes)], processes[0]),
            )
            patch.setattr(torch, "randperm", order_of_both(agent.seed))
        else:
            patch.setattr(
                "metarl.agents.gradient.maml.collect",
                Replay(agent, [in_turn(*pair) for pair in pairs(processes)], processes[0]),
            )
        with few_conjugate_gradients():
            agent.train_step(0.0, lambda env: None)
    after = state_of(agent)
    for name, together in processes[0].items():
        if name in after:
            assert torch.equal(together, processes[1][name]), name
            torch.testing.assert_close(together, after[name], rtol=1e-6, atol=tolerance, msg=name)
    assert max(float((x - before[name]).abs().max()) for name, x in after.items()) > 20 * tolerance


def pairs(processes: list[dict[str, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    return [(x, processes[1][name]) for name, x in processes[0].items() if not name.startswith("state/")]


def in_turn(x: Tensor, y: Tensor, tasks: int = 2) -> Tensor:
    """Rows of both processes, a task of each in turn: so the first half of the tasks is the first half of theirs."""
    return torch.stack([z.reshape(tasks, -1, *z.shape[1:]) for z in (x, y)], 1).flatten(0, 2)


def order_of_both(seed: int, minibatches: int = 2) -> Callable[..., Tensor]:
    """What each process would have drawn, minibatch by minibatch; the trials of the second come after the first's."""
    randperm, streams = torch.randperm, [seeding.generator(seed, "minibatches", 0, "rank", rank) for rank in (0, 1)]

    def draw(count: int, **_: Any) -> Tensor:
        first, second = (randperm(count // 2, generator=stream).chunk(minibatches) for stream in streams)
        return torch.cat([torch.cat([x, y + count // 2]) for x, y in zip(first, second, strict=True)])

    return draw


class Replay:
    """`collect`, from what was noted."""

    def __init__(self, agent: Agent, values: list[Tensor], names: dict[str, Tensor]) -> None:
        self.distribution = agent.distribution
        self.noted = dict(zip((name for name in names if not name.startswith("state/")), values, strict=True))
        self.calls = 0

    def __call__(self, policy: Any, *_: Any, **__: Any) -> Trajectories:
        prefix = f"{self.calls}/"
        self.calls += 1
        fields = {name.removeprefix(prefix): x for name, x in self.noted.items() if name.startswith(prefix)}
        if isinstance(policy, ExpertLabels):
            policy._labels, policy._has_values = list(fields.pop("expert_labels").unbind(1)), True
        tasks = {name: fields.pop(name) for name in list(fields) if name.startswith("tasks.")}
        parameters = {name.removeprefix("tasks."): x for name, x in tasks.items()}
        return Trajectories(self.distribution.tasks(**parameters), **fields)


def assert_equal_runs(one: Path, other: Path) -> None:
    """The same checkpoint, bit for bit, and one row for each update."""
    (tensors, description), (others, other_description) = (
        load_checkpoint(Run.open(p).checkpoint) for p in (one, other)
    )
    assert description == other_description
    assert description["processes"] == 2
    assert all(torch.equal(tensors[name], x) for name, x in others.items())
    assert [row[STEPS] for row in Run.open(one).log()] == [*range(100, 601, 100)]
    assert [row[STEPS] for row in Run.open(other).log()] == [*range(100, 601, 100)]


def explained(refusals: dict[str, str]) -> None:
    assert "FineTuning trains in one process, not in 2" in refusals["fine-tuning"]
    assert "tasks must be a multiple of the 2 processes, got 3" in refusals["odd tasks"]
    assert "trained by 1 processes" in refusals["trained alone"]
    assert "seed" in refusals["other seed"]
    assert "cuda:1" in refusals["a gpu by number"]


def another_number_of_processes_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Going on is; acting is not."""
    with pytest.raises(SystemExit):
        main(["train", "rl2", *RUN, f"--run-dir={run}", "--resume"])
    assert "processes 2, not 1" in capsys.readouterr().err
    agent = metarl.load(run, device="cpu")
    assert agent.policy(3).act(torch.zeros(3, 1)).shape == (3,)
    with pytest.raises(ValueError, match="trained by 2 processes"):
        agent.learn(2000)


def test_a_single_process_does_the_plain_operations() -> None:
    x = torch.randn(5, 3, generator=seeding.generator(0))
    assert (distributed.size(), distributed.rank(), distributed.stream_names()) == (1, 0, ())
    assert torch.equal(distributed.mean(x), x.mean())
    assert distributed.total(x) is x
    assert torch.equal(distributed.mean_and_deviation(x)[1], x.std(correction=0))
    assert torch.equal(distributed.mean_and_variance(x)[1], x.var(0, correction=0))
    assert distributed.equal_share(3, "tasks") == 3
    with distributed.joined():
        assert not torch.distributed.is_initialized()
