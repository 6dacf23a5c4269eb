"""Agents on a device: what they learn there goes anywhere, and what goes wrong there is said in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch

import metarl
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.agents.sb3.fine_tuning import FineTuning, FineTuningOptions
from metarl.cli.entry import main
from metarl.evaluation.evaluator import evaluate
from metarl.sb3 import TaskVecEnv
from metarl.training.agent import Agent

GRID = metarl.make("grid-navigation")
AGENTS: dict[str, Callable[[str], Agent]] = {
    "rl2": lambda device: RL2(
        GRID,
        RL2Options(memory="gru", width=8, batch_steps=60, num_minibatches=1, n_epochs=1, critic_epochs=1),
        device=device,
    ),
    "maml": lambda device: MAML(GRID, MAMLOptions(width=8, meta_batch_size=2, rollouts_per_task=1), device=device),
    "fine-tuning": lambda device: FineTuning(
        GRID, FineTuningOptions(width=8, num_tasks=2, batch_steps=30, num_minibatches=1, n_epochs=1), device=device
    ),
}
ADVICE = {
    "rl2": "lower batch_steps",
    "maml": "lower meta_batch_size, rollouts_per_task",
    "fine-tuning": "lower batch_steps",
}
RL2_OPTIONS: dict[str, dict[str, Any]] = {
    "segments": {"memory": "transformer", "bptt_steps": 20, "imitation_fraction": 0.0},
    "without retrieval": {"memory": "lstm", "episodic_retrieval": False},
    "without privilege": {"memory": "gru", "privileged_critic": False, "critic_epochs": 1},
}


def full(*args: Any, **kwargs: Any) -> NoReturn:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 80.00 GiB.")


@pytest.mark.parametrize("name", AGENTS)
def test_what_was_learned_on_one_device_is_loaded_on_another(name: str, tmp_path: Path, far: str) -> None:
    agent = AGENTS[name](far).learn(60)
    agent.save(tmp_path / "far")
    here = type(agent).load(tmp_path / "far", "cpu")
    here.save(tmp_path / "cpu")
    back = type(agent).load(tmp_path / "cpu", far)
    assert back.state().keys() == agent.state().keys()
    for key, value in agent.state().items():
        assert torch.equal(here.state()[key], value.cpu()), key
        assert torch.equal(back.state()[key].cpu(), value.cpu()), key
    back.learn(120)


@pytest.mark.parametrize("options", RL2_OPTIONS.values(), ids=RL2_OPTIONS)
def test_rl2_learns_on_a_device(options: dict[str, Any], device: str) -> None:
    small = RL2Options(
        **{"width": 8, "num_layers": 1, "batch_steps": 60, "num_minibatches": 1, "n_epochs": 1, **options}
    )
    agent = RL2(GRID, small, device=device).learn(60)
    assert agent.updates == 1
    assert all(value.isfinite().all() for value in agent.state().values())


def test_environments_of_stable_baselines_run_on_a_device(device: str) -> None:
    env = TaskVecEnv(GRID, 3, device=device)
    env.seed(0)
    env.reset()
    for _ in range(GRID.horizon + 1):
        _, rewards, _, _ = env.step(torch.zeros(3, dtype=torch.int64).numpy())
    assert rewards.shape == (3,)
    env.close()


@pytest.mark.parametrize("name", AGENTS)
def test_a_full_device_says_what_to_lower(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = AGENTS[name]("cpu")
    monkeypatch.setattr(agent, "train_step", full)
    with pytest.raises(MemoryError, match=ADVICE[name]):
        agent.learn(60)


def test_a_full_device_in_evaluation_says_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = AGENTS["rl2"]("cpu").policy(7)
    monkeypatch.setattr(policy, "act", full)
    with pytest.raises(MemoryError, match="fewer than 7 tasks"):
        evaluate(policy, GRID, 7)


def failed(arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command line says of a mistake."""
    with pytest.raises(SystemExit) as exit_info:
        main(arguments.split())
    assert exit_info.value.code == 2
    return capsys.readouterr().err


def test_a_full_device_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(RL2, "train_step", full)
    train = f"train rl2 --distribution grid-navigation --device cpu --run-dir {tmp_path / 'run'}"
    error = failed(train, capsys)  # after the progress bar
    assert error.splitlines()[-1].startswith("metarl: the device is out of memory: lower batch_steps")
    assert "Traceback" not in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_here_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    error = failed(f"train rl2 --distribution grid-navigation --device cuda --run-dir {folder}", capsys)
    assert error == "metarl: device 'cuda': torch sees no GPU here\n"
    assert not folder.exists()


FAMILIES_ON_THE_HOST = {
    "gymnasium": ("frozen-lake", {"max_episode_steps": 5}),
    "mujoco": ("half-cheetah-direction", {}),
}


@pytest.mark.parametrize("kind", FAMILIES_ON_THE_HOST)
def test_a_policy_on_a_device_acts_and_learns_in_simulators_of_the_host(kind: str, device: str) -> None:
    if kind == "mujoco":
        pytest.importorskip("mujoco")
    name, arguments = FAMILIES_ON_THE_HOST[kind]
    family = metarl.make(name, **arguments)
    small: dict[str, Any] = {"width": 8, "num_layers": 1, "batch_steps": 20, "num_minibatches": 1, "n_epochs": 1}
    options = RL2Options(memory="gru", num_episodes=1, critic_epochs=0, **small)
    agent = RL2(family, options, device=device).learn(20)
    assert agent.actor.output.weight.device.type == torch.device(device).type
    assert agent.updates == 1


@pytest.mark.parametrize("told", [True, False])
def test_environments_that_tell_the_task_run_on_a_device_through_ends_of_episodes(told: bool, device: str) -> None:
    env = TaskVecEnv(metarl.make("tabular-mdp", max_episode_steps=3), 2, device=device, show_task=told)
    env.seed(0)
    env.reset()
    ended = 0
    for _ in range(7):
        observations, rewards, dones, infos = env.step(np.array([env.action_space.sample() for _ in range(2)]))
        parts = observations.values() if isinstance(observations, dict) else [observations]
        assert all(isinstance(part, np.ndarray) for part in [*parts, rewards, dones])
        ended += sum("terminal_observation" in info for info in infos)
    assert ended == 4
    env.close()


def test_a_run_on_a_device_is_evaluated_and_reported(tmp_path: Path, far: str) -> None:
    run = tmp_path / "run"
    small = "--memory gru --width 8 --num-layers 1 --batch-steps 20 --num-minibatches 1 --n-epochs 1 --critic-epochs 0"
    for command in (
        f"train rl2 --distribution bernoulli-bandit --total-timesteps 40 --device {far} --run-dir {run} {small}",
        f"evaluate {run} --num-tasks 3 --no-baselines --device {far}",
    ):
        with pytest.raises(SystemExit) as done:
            main(command.split())
        assert done.value.code == 0, command
    (report,) = run.glob("report*.html")
    assert report.stat().st_size > 10_000
