"""Graphs compute what the ordinary way computes, bit for bit, through recordings that run no line of Python again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pytest
import torch
from gymnasium import spaces
from simulated_graphs import Graph, graphs
from torch import Tensor

import metarl
from metarl import cuda_graphs, seeding
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.cuda_graphs import Captured
from metarl.engines.native import NativeDistribution
from metarl.tasks.batch import Tasks
from metarl.tasks.distribution import TaskDistribution

__all__ = ["graphs"]

Switch = Callable[[bool], list[Graph]]
MEMORIES = ["transformer", "gru", "lstm"]


@final
@dataclass(frozen=True)
class Slopes(NativeDistribution):
    """A point on an unknown slope that is set down anywhere and falls off by chance, at another time in each slot."""

    name = "slopes-v1"
    observation_space = spaces.Box(-10.0, 10.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    task_space = spaces.Dict({"slope": spaces.Box(-1.0, 1.0, (1,), np.float32)})
    horizon = 4
    num_episodes = 3

    def _draw(self, num_tasks: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"slope": 2 * torch.rand(num_tasks, 1, generator=generator, device=generator.device) - 1}

    def initial_state(self, tasks: Tasks, generator: torch.Generator) -> Tensor:
        return torch.rand(len(tasks), 1, generator=generator, device=tasks.device)

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        state = state + action + tasks["slope"]
        fallen = torch.rand(len(tasks), generator=generator, device=state.device) < 0.3
        return state, -state.abs()[:, 0], fallen

    def frame(self, state: Tensor, task: Tasks) -> np.ndarray:
        return np.zeros((1, 1, 3), np.uint8)


def trained(family: TaskDistribution, updates: int = 3, **options: Any) -> tuple[RL2, list[dict[str, float]]]:
    """An agent after some updates, and their metrics. Its learning rates are powers of 2: exact in any precision."""
    defaults: dict[str, Any] = {
        "width": 8,
        "num_layers": 1,
        "window": 5,
        "batch_steps": 60,
        "num_minibatches": 2,
        "n_epochs": 2,
    }
    defaults |= {"critic_epochs": 2, "critic_minibatches": 2, "learning_rate": 2**-8, "warmup": 0.0}
    agent = RL2(family, RL2Options(**{**defaults, **options}), seed=3, device="cpu")
    metrics = []
    for _ in range(updates):
        metrics.append(agent.train_step(0.5, lambda env: None))
        agent.updates += 1
    return agent, metrics


def assert_same(one: RL2, other: RL2) -> None:
    states = one.state(), other.state()
    assert states[0].keys() == states[1].keys()
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("slopes", {"episodic_retrieval": False}),
        ("slopes", {"bptt_steps": 5}),
        ("tabular-mdp", {"imitation_fraction": 1.0}),
        ("bernoulli-bandit", {"imitation_fraction": 0.0, "bf16": "transformer"}),
    ],
)
def test_training_is_the_same_bit_for_bit(graphs: Switch, memory: str, name: str, options: dict[str, Any]) -> None:
    """Staggered ends of episodes, random starts, a growing cache and a full one, retrieval, segments, an expert."""
    family = Slopes() if name == "slopes" else metarl.make(name, **SMALL.get(name, {}))
    options = {**options, "memory": memory, "bf16": options.get("bf16") == memory}
    graphs(False)
    plain, expected = trained(family, **options)
    recorded = graphs(True)
    captured, metrics = trained(family, **options)
    assert_same(captured, plain)
    assert metrics == expected
    if name == "slopes":  # where trials are as long as their episodes lately took
        assert sum(graph.replays for graph in recorded) > 5
    else:  # of an epoch, of one of the critic and of the rollout: all calls but the first
        assert [graph.replays for graph in recorded] == [5, 5, 2]


SMALL: dict[str, dict[str, int]] = {
    "tabular-mdp": {"states": 3, "actions": 2, "max_episode_steps": 4, "num_episodes": 3}
}


@pytest.mark.parametrize(
    ("name", "imitation"),
    [("grid-navigation", 0.0), ("dark-room", 1.0), ("point-navigation", 0.0), ("sparse-point-navigation", 1.0)],
)
def test_every_native_family_and_its_expert_can_be_recorded(graphs: Switch, name: str, imitation: float) -> None:
    small = {
        "memory": "gru",
        "episodic_retrieval": False,
        "imitation_fraction": imitation,
        "num_episodes": 1,
        "batch_steps": 60,
        "n_epochs": 1,
    }
    graphs(False)
    plain, _ = trained(metarl.make(name), 2, **small)
    recorded = graphs(True)
    captured, _ = trained(metarl.make(name), 2, **small)
    assert_same(captured, plain)
    assert len(recorded) == 3


def test_trials_that_grow_are_recorded_anew_and_the_old_graphs_forgotten(graphs: Switch) -> None:
    states = []
    for on in (False, True):
        recorded = graphs(on)
        agent, _ = trained(Slopes(), 0, memory="gru", trial_curriculum=0.5)
        for progress in (0.0, 0.125, 0.25, 0.5, 0.75):
            agent.train_step(progress, lambda env: None)
            agent.updates += 1
        states.append(agent)
    assert_same(*states)
    assert len(recorded) > 3


def test_a_killed_run_with_graphs_resumes_to_the_same_weights(graphs: Switch, tmp_path: Any) -> None:
    graphs(True)
    whole, _ = trained(Slopes(), 4)
    half, _ = trained(Slopes(), 2)
    half.save(tmp_path / "half")
    resumed = RL2.load(tmp_path / "half", "cpu", Slopes())
    resumed.load_state(half.state(), "again")  # where graphs are, too
    for _ in range(2):
        resumed.train_step(0.5, lambda env: None)
        resumed.updates += 1
    assert_same(resumed, whole)


def test_environments_that_are_not_native_act_as_ever_and_learn_by_graphs(graphs: Switch, user_project: Any) -> None:
    from drift_family import drift

    states = []
    for on in (False, True):
        recorded = graphs(on)
        states.append(trained(drift, 2, memory="gru", batch_steps=60)[0])
    assert_same(*states)
    assert len(recorded) == 2


def test_losses_that_are_not_finite_end_training_with_graphs_too(graphs: Switch) -> None:
    graphs(True)
    agent, _ = trained(Slopes(), 2, memory="gru")
    with torch.no_grad():
        agent.critic.time.weight.fill_(torch.inf)
    before = {name: value.clone() for name, value in agent.state().items()}
    with pytest.raises(FloatingPointError, match="update 2: losses are not finite"):
        agent.train_step(0.5, lambda env: None)
    assert all(torch.equal(value, before[name]) for name, value in agent.state().items() if name.startswith("actor."))


def test_callbacks_are_called_for_every_step(graphs: Switch) -> None:
    graphs(True)
    calls: list[int] = []
    agent, _ = trained(metarl.make("bernoulli-bandit"), 0, memory="gru")

    def count(inside: dict[str, Any], outside: dict[str, Any]) -> bool:
        calls.append(agent.num_timesteps)
        return True

    agent.learn(180, callback=count)
    assert calls == list(range(6, 181, 6))


def test_a_call_takes_new_arguments_and_parameters_and_gives_tensors_of_its_own(graphs: Switch) -> None:
    recorded = graphs(True)
    weight = torch.ones(2)
    captured: Captured[dict[str, Tensor]] = Captured(lambda pair, x: {"y": pair[0] * weight + x["x"], "z": weight})
    results = []
    for n in range(4):
        weight.fill_(n)
        results.append(captured((torch.tensor([1.0, 2.0]), None), {"x": torch.tensor(float(n))})["y"])
    assert [y.tolist() for y in results] == [[0, 0], [2, 3], [4, 6], [6, 9]]
    assert [graph.replays for graph in recorded] == [3]
    captured((torch.ones(1), None), {"x": torch.ones(())})
    assert [graph.replays for graph in recorded] == [3]


def test_seeds_count_in_a_replay(graphs: Switch) -> None:
    graphs(True)
    generator = torch.Generator()
    captured = Captured(lambda x: x + torch.rand(3, generator=generator), [generator])
    results = []
    for seed in (0, 1, 2, 1):
        generator.manual_seed(seed)
        results.append(captured(torch.zeros(3)))
    expected = [torch.rand(3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1, 2, 1)]
    assert all(torch.equal(one, other) for one, other in zip(results, expected, strict=True))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + float(x.sum()),
        lambda x: x[x > 0],
        lambda x: x + torch.tensor([1.0, 2.0]),
        lambda x: x + torch.rand(2),
        lambda x: x + torch.rand(2, generator=torch.Generator()),
    ],
)
def test_what_cannot_be_recorded_says_so(graphs: Switch, function: Callable[[Tensor], Tensor]) -> None:
    graphs(True)
    captured = Captured(function)
    captured(torch.ones(2))
    with pytest.raises(RuntimeError, match="cannot be a CUDA graph, so use cuda_graphs=False"):
        captured(torch.ones(2))


def test_graphs_are_for_cuda_devices_alone_and_not_yet_the_default() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [cuda_graphs.wanted(choice, cuda) for choice in (None, False, True)] == [False, False, True]
    assert not cuda_graphs.wanted(True, cpu)
    agent = RL2(Slopes(), RL2Options(memory="gru", cuda_graphs=True), device="cpu")  # no effect, so that it loads here
    assert not agent._ppo.optimiser.param_groups[0]["capturable"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("family", [Slopes(), metarl.make("grid-navigation")])
def test_on_a_gpu_graphs_train_as_the_ordinary_way_does(memory: str, family: TaskDistribution) -> None:
    agents, metrics = [], []
    for on in (False, True):
        options = RL2Options(memory=memory, width=16, batch_steps=1200, cuda_graphs=on)  # type: ignore[arg-type]
        agent = RL2(family, options, seed=3, device="cuda")
        metrics.append([agent.train_step(0.2, lambda env: None)])
        agents.append(agent)
        agent.updates += 1
        metrics[-1].append(agent.train_step(0.5, lambda env: None))
    for one, other in zip(*metrics, strict=True):
        assert one["rollout/trial_rew_mean"] == pytest.approx(other["rollout/trial_rew_mean"], rel=1e-3)
    states = [agent.state() for agent in agents]
    for name in states[0]:
        torch.testing.assert_close(states[1][name], states[0][name], rtol=1e-2, atol=1e-3)


def test_tasks_that_are_on_the_device_are_handed_on() -> None:
    tasks = Slopes().sample(3, seeding.generator(0))
    assert tasks.to("cpu") is tasks
