"""Speed of RL² on a GPU, acting and end to end, and the time until it solves a bandit from reward alone."""

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

import metarl
from experiments.throughput.rollouts import acting, stepping
from experiments.throughput.sizes import Sizes
from experiments.throughput.training import MEMORIES, WHOLE_TRIALS, Watch
from experiments.timing import Row, Side, compare, peak_memory
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2

FEWER = 16  # times fewer environments, where the time goes into starting kernels
LEAST = 8  # environments: one for each minibatch

Settings = Mapping[str, Mapping[str, Any]]  # by the name of a side, its options of RL²
SIDES: Settings = {
    name: {"memory": memory, "episodic_retrieval": memory == "transformer"} for name, memory in MEMORIES.items()
}


def environments(sizes: Sizes, rounds: int, device: torch.device) -> Iterator[Row]:
    """Grid navigation with random actions, and with a policy in the loop that remembers whole trials."""
    distribution = metarl.make("grid-navigation")
    title = f"acting on {sizes.grid_envs} grids"

    def loop(name: str) -> Side:
        agent = RL2(distribution, RL2Options(**SIDES[name]), device=device)
        return Side(f"policy in the loop: {name}", partial(acting, agent, sizes))

    def alone() -> Side:
        steps = partial(stepping, distribution, sizes, device, sizes.grid_envs, sizes.grid_steps)
        return Side("random actions", steps)

    sides: dict[str, Callable[[], Side]] = {"alone": alone, **{name: partial(loop, name) for name in SIDES}}
    yield from apart({name: partial(_alone, title, side, rounds, device) for name, side in sides.items()})


def training(sizes: Sizes, rounds: int, device: torch.device) -> Iterator[Row]:
    """RL² reinforcing whole trials of grid navigation with each memory, with few environments and with many."""
    numbers = dict.fromkeys((max(LEAST, sizes.grid_envs // FEWER), sizes.grid_envs))
    works = {
        f"{name} on {envs} grids": partial(compared, f"RL² on {envs} grids", {name: options}, envs, rounds, device)
        for envs in numbers
        for name, options in SIDES.items()
    }
    yield from apart(works)


def graphs(sizes: Sizes, rounds: int, device: torch.device) -> Iterator[Row]:
    """CUDA graphs against launching every kernel anew, and the Transformer in bfloat16 against float32."""
    few, many = max(LEAST, sizes.grid_envs // FEWER), sizes.grid_envs
    lstm, transformer = SIDES["LSTM"], SIDES["Transformer"]
    launched = {"eager": {**lstm, "cuda_graphs": False}, "CUDA graphs": {**lstm, "cuda_graphs": True}}
    precise = {"float32": transformer, "bfloat16": {**transformer, "bf16": True}}
    works: dict[str, Callable[[], Iterable[Row]]] = {
        f"graphs on {envs}": partial(compared, f"RL² LSTM on {envs} grids", launched, envs, rounds, device, "eager")
        for envs in dict.fromkeys((few, many))
    }
    title = f"RL² Transformer on {many} grids"
    works["bfloat16"] = partial(compared, title, precise, many, rounds, device, "float32")
    yield from apart(works)


def apart(works: Mapping[str, Callable[[], Iterable[Row]]]) -> Iterator[Row]:
    """The rows of all works, those of one title put together; SystemExit, at the end, that names the works that failed.

    One that fails, since the GPU has too little memory for it or a kernel does not take its size, costs no other.
    """
    known: dict[str, Row] = {}
    failed: list[str] = []
    for name, work in works.items():
        with noted(name, failed):
            for row in work():
                before = known[row.title].rounds if row.title in known else {}
                known[row.title] = replace(row, rounds={**before, **row.rounds})
                yield known[row.title]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


@contextmanager
def noted(name: str, failed: list[str]) -> Iterator[None]:
    """An error inside is printed, and the name added to those that failed."""
    try:
        yield
    except Exception:
        traceback.print_exc()
        failed.append(name)


def compared(
    title: str, settings: Settings, envs: int, rounds: int, device: torch.device, reference: str | None = None
) -> Iterator[Row]:
    """Steps per second from the first step of a batch to the last of its gradient steps, and what follows from them.

    A token-epoch is one step of a trial in one of the epochs that learn from it. Two updates, which warm up and record
    graphs, are not timed; one more is watched for the memory that it takes at its peak.
    """
    distribution = metarl.make("grid-navigation")
    batch_steps = envs * distribution.horizon * distribution.num_episodes
    agents = {
        name: RL2(
            distribution, RL2Options(batch_steps=batch_steps, critic_epochs=0, **WHOLE_TRIALS, **options), device=device
        )
        for name, options in settings.items()
    }
    for agent in agents.values():
        update(agent)
    row = compare(title, [_side(name, agent, name == reference) for name, agent in agents.items()], rounds, device)
    yield row
    epochs = {name: agent.options.n_epochs for name, agent in agents.items()}
    tokens = {name: [epochs[name] * rate for rate in rates] for name, rates in row.rounds.items()}
    yield Row(f"{title}: tokens learned from", "token-epochs/s", tokens, row.references)
    memory = {name: peak_memory(partial(update, agent), device) for name, agent in agents.items()}
    known = {name: [megabytes] for name, megabytes in memory.items() if megabytes is not None}
    if known:
        yield Row(f"{title}: peak memory", "MB", known)


def update(agent: RL2) -> int:
    """One update more; the steps that it collected."""
    before = agent.num_timesteps
    agent.learn(before + 1)
    return agent.num_timesteps - before


def bandit(sizes: Sizes, rounds: int, device: torch.device) -> Iterator[Row]:
    """Seconds of training until unseen bandits (n=10, k=5) are played within 1 % of the Bayes-optimal return.

    From reward alone: nobody is imitated. The critic sees the task in training, as by default, and the policy never.
    RuntimeError if a seed does not get there.
    """
    distribution = metarl.make("bernoulli-bandit")
    batch_steps = min(RL2Options.batch_steps, sizes.bandit_steps)
    options = RL2Options(memory="gru", imitation_fraction=0.0, batch_steps=batch_steps)
    RL2(distribution, options, device=device).learn(1)  # so that no seed pays for starting the GPU
    optimum = distribution.optimal_return()
    assert optimum is not None
    title = f"bandit: until {sizes.bandit_share:.0%} of {optimum.total:.3f} on {sizes.bandit_tasks} unseen tasks"
    seconds: list[float] = []
    for seed in range(rounds):
        agent = RL2(distribution, options, seed=seed, device=device)
        watch = Watch(agent, sizes)
        agent.learn(sizes.bandit_steps, watch)
        if watch.seconds is None:
            raise RuntimeError(f"{title}: not reached in {agent.num_timesteps} steps with seed {seed}")
        seconds.append(watch.seconds)
        yield Row(title, "s", {f"RL², GRU, taught by {agent.teaching}": list(seconds)})


def _side(name: str, agent: RL2, reference: bool) -> Side:
    """One agent for all rounds: what it sets up in its first update is not timed."""
    return Side(name, lambda: partial(update, agent), reference)


def _alone(title: str, side: Callable[[], Side], rounds: int, device: torch.device) -> list[Row]:
    return [compare(title, [side()], rounds, device)]
