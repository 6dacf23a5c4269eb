"""Do a GPU and the CPU compute the same? One update of each agent on both, in float64, from the same random draws."""

import math
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, final
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import metarl
from experiments.throughput.training import WHOLE_TRIALS
from metarl import devices, seeding
from metarl.agents.gradient.maml import MAML
from metarl.agents.gradient.options import MAMLOptions
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.agents.sb3.fine_tuning import FineTuning, FineTuningOptions
from metarl.evaluation.evaluator import evaluate
from metarl.training.agent import Agent

Results = dict[str, Tensor]
Kind = Literal["lstm", "gru", "transformer"]

FLOOR = 1e-6  # numbers that should be zero are compared with this
DRAWS = {
    *("rand", "randn", "rand_like", "randn_like", "randint", "randperm", "normal", "multinomial", "bernoulli"),
    *("uniform_", "normal_", "exponential_", "random_", "bernoulli_", "_standard_gamma"),
}


@final
class HostDraws(TorchFunctionMode):
    """Draws every random number on the CPU and moves it to where it was asked for: each device has its own streams."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        named = dict(kwargs or {})
        if func is nn.functional.linear:
            return func(args[0].to(args[1].dtype), *args[1:], **named)
        tensors = [x for x in (*args, *named.values()) if isinstance(x, Tensor)]
        device = torch.device(tensors[0].device if tensors else named.get("device") or "cpu")
        if func.__name__ not in DRAWS or device.type == "cpu":
            return func(*args, **named)
        if "device" in named:
            named["device"] = "cpu"
        drawn = func(*(x.cpu() if isinstance(x, Tensor) else x for x in args), **named)
        if func.__name__.endswith("_"):  # in place
            return tensors[0].copy_(drawn)
        return drawn.to(device)


@contextmanager
def comparable() -> Iterator[None]:
    """Inside, tensors are made in float64, and every stream of random numbers is one of the CPU."""
    before, stream = torch.get_default_dtype(), seeding.generator

    def host_stream(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
        return stream(seed, *names)

    torch.set_default_dtype(torch.float64)
    try:
        allowed = mock.patch.object(devices, "check_default_dtype")  # here agents are to learn in float64
        with allowed, mock.patch.object(seeding, "generator", host_stream), HostDraws():
            yield
    finally:
        torch.set_default_dtype(before)


def agreement(device: torch.device, few: bool) -> Iterator[dict[str, Any]]:
    """For each agent how far its update on the device is from that on the CPU; SystemExit, at the end, if one differs.

    An agent that cannot be updated there differs, too, and its error is printed.
    """
    wrong = []
    for name in FEW if few else AGENTS:
        results, tolerance = AGENTS[name]
        try:
            with comparable():
                share, tensor = largest_difference(results(torch.device("cpu")), results(device))
        except Exception as error:
            traceback.print_exc()
            share, tensor = math.inf, f"no update: {type(error).__name__}"
        if not share <= tolerance:
            wrong.append(name)
        said = {"difference": f"{share:.1e}", "tensor": tensor, "tolerance": f"{tolerance:.0e}"}
        yield {"title": name, **said, "agrees": share <= tolerance}
    if wrong:
        raise SystemExit(f"other numbers on {device} than on the CPU: {', '.join(wrong)}")


def updated(agent: Agent) -> Results:
    """What one update in the middle of training changed and measured, on the CPU."""
    metrics = agent.train_step(0.5, lambda env: None)
    measured = {name: torch.tensor(value) for name, value in metrics.items()}
    return {name: x.cpu() for name, x in {**agent.state(), **measured}.items()}


def rl2(memory: Kind, device: torch.device) -> Results:
    options = RL2Options(memory=memory, batch_steps=480, num_minibatches=2, n_epochs=1, critic_epochs=0, **WHOLE_TRIALS)
    return updated(RL2(metarl.make("grid-navigation"), options, device=device))


def maml(device: torch.device) -> Results:
    return updated(
        MAML(metarl.make("point-navigation"), MAMLOptions(meta_batch_size=3, rollouts_per_task=4), device=device)
    )


def fine_tuning(device: torch.device) -> Results:
    """Pre-training, and then a trial in which each of three tasks takes one update of its own."""
    options = FineTuningOptions(
        episodes_per_update=2, updates_per_trial=1, num_tasks=8, batch_steps=240, num_minibatches=2, n_epochs=2
    )
    agent = FineTuning(metarl.make("grid-navigation"), options, device=device)
    pretrained = updated(agent)
    policy = agent.policy(3)
    returns = evaluate(policy, agent.distribution, 3, agent.trial_episodes).returns
    adapted = {f"adapted.{name}": x.cpu() for name, x in policy.state.items()}
    return {**pretrained, **adapted, "returns": torch.from_numpy(returns)}


AGENTS: dict[str, tuple[Callable[[torch.device], Results], float]] = {
    "RL², Transformer": (partial(rl2, "transformer"), 1e-6),
    "RL², GRU": (partial(rl2, "gru"), 1e-6),
    "RL², LSTM": (partial(rl2, "lstm"), 1e-6),
    "MAML": (maml, 1e-6),
    "fine-tuning": (fine_tuning, 1e-3),  # Stable-Baselines3 keeps rollouts in float32
}
FEW = ("RL², LSTM", "fine-tuning")  # for a rehearsal


def largest_difference(here: Results, there: Results) -> tuple[float, str]:
    """The largest difference between two results relative to the largest number of its tensor, and the tensor's name.

    Infinite where names, shapes or not-finite numbers differ.
    """
    if here.keys() != there.keys():
        return math.inf, f"names: {sorted(here.keys() ^ there.keys())}"
    return max((difference(here[name], there[name]), name) for name in here)


def difference(x: Tensor, y: Tensor) -> float:
    if x.shape != y.shape or not torch.equal(x.isfinite(), y.isfinite()):
        return math.inf
    x, y = (z.double().nan_to_num() for z in (x, y))
    return float((x - y).abs().max() / x.abs().max().clamp(min=FLOOR)) if x.numel() else 0.0
