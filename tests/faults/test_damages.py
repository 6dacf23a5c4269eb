"""Damaged files: one line that names the file, at once, whatever the damage; nothing broken is loaded."""

import dataclasses
import json
import random
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_agent import FakeAgent, FakeOptions
from faults.tally import Tally, some

import metarl
from metarl.agents.in_context.options import RL2Options
from metarl.agents.in_context.rl2 import RL2
from metarl.evaluation.results import Evaluation
from metarl.runs.folder import Run, RunConfig
from metarl.training.checkpoints import load_checkpoint, save_checkpoint

Promise = Callable[[str], AbstractContextManager[Tally]]
PATIENCE_S = 10.0
VALUES: tuple[Any, ...] = (None, True, 3, -1, 0.5, "x", "", [], [[]], {}, {"a": 1}, [None], 10**400)


def agent(seed: int = 0, **options: Any) -> RL2:
    small = {"batch_steps": 60, "width": 8, "num_heads": 1, "num_layers": 1, "n_epochs": 1, "critic_epochs": 0}
    family = metarl.make("bernoulli-bandit", arms=3, pulls=4)
    return RL2(family, RL2Options(**{**small, **options}), seed=seed, device="cpu")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a run that learned a little."""
    path = tmp_path_factory.mktemp("sound") / "agent.safetensors"
    agent().learn(60).save(path)
    return path


def refusal(read: Callable[[], object], name: str) -> str:
    """Empty if reading is refused in one line that names the file, soon; else what happened instead."""
    began = time.monotonic()
    try:
        read()
    except ValueError as error:
        line = " ".join(str(error).split())
        slow = time.monotonic() - began > PATIENCE_S
        return f"took {time.monotonic() - began:.0f} s" if slow else "" if name in line else f"no name: {line}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "was read"


def broken_bytes(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Damages of a file that know nothing of what it holds."""
    dice = random.Random(0)
    for _ in range(40):
        end = dice.randrange(len(content))
        yield f"cut at {end}", content[:end]
    for length in (0, 1, 7, 2**16, 2**31, 2**40, 2**64 - 1):
        yield f"header of {length}", struct.pack("<Q", length) + content[8:]
    for bit in dice.sample(range(8 * len(content)), 60):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit}", bytes(changed)
    for _ in range(20):
        place = dice.randrange(len(content) - 64)
        yield f"noise at {place}", content[:place] + dice.randbytes(64) + content[place + 64 :]
        yield f"zeros at {place}", content[:place] + bytes(64) + content[place + 64 :]
    yield "nothing", b""
    yield "text", b"no checkpoint\n"
    yield "twice", content + content
    yield "a pickle", b"\x80\x04\x95" + content


def broken_descriptions(description: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Descriptions that no save wrote, under a checksum that is right."""
    for name in ("agent", "options", "distribution", "seed", "updates", "num_timesteps"):
        yield f"no {name}", {key: value for key, value in description.items() if key != name}
        for value in VALUES:
            if type(value) is not type(description[name]) and not (value == 3 and isinstance(description[name], int)):
                yield f"{name} = {value!r:.20}", {**description, name: value}
    for name in ("name", "family", "options", "split_name", "limits"):
        inside = description["distribution"]
        rest = {key: value for key, value in inside.items() if key != name}
        yield f"no distribution.{name}", {**description, "distribution": rest}
        for value in VALUES:
            if value != inside[name] and not (name == "name" and isinstance(value, str)):
                yield f"distribution.{name} = {value!r:.20}", {**description, "distribution": {**rest, name: value}}
    for value in VALUES:
        yield f"options.width = {value!r:.20}", {**description, "options": {**description["options"], "width": value}}
    yield "another option", {**description, "options": {**description["options"], "colour": 1}}
    yield "another split", {**description, "distribution": {**description["distribution"], "split_name": "moon"}}


def broken_tensors(tensors: dict[str, torch.Tensor]) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Tensors that cannot be learned from."""
    moment, second = "adam.3.exp_avg", "adam.3.exp_avg_sq"
    weight = min(name for name, x in tensors.items() if name.startswith("actor") and x.dtype == torch.float32)
    for name in (weight, moment, second):
        for value in (float("nan"), float("inf")):
            changed = tensors[name].clone()
            changed.view(-1)[0] = value
            yield f"{value} in {name}", {**tensors, name: changed}
    for kind in ("float64", "float16", "bfloat16", "int64", "bool", "uint8", "complex64"):
        yield kind, {**tensors, weight: tensors[weight].to(getattr(torch, kind))}
        yield f"all {kind}", {name: x.to(getattr(torch, kind)) for name, x in tensors.items()}
    yield "negative second moments", {**tensors, second: tensors[second] - 1}
    yield "negative steps", {**tensors, "adam.3.step": -torch.ones(())}
    for value in (float("nan"), 0.0, -5.0):
        yield f"episodes of {value} steps", {**tensors, "episode_steps": torch.tensor(value, dtype=torch.float64)}
    for name in random.Random(0).sample(sorted(tensors), 10):
        yield f"no {name}", {key: x for key, x in tensors.items() if key != name}
        yield f"{name} of another shape", {**tensors, name: torch.zeros(*tensors[name].shape, 2)}
    yield "one more", {**tensors, "more": torch.zeros(1)}
    yield "none", {}


def test_damaged_bytes_are_refused(sound: Path, tmp_path: Path, promise: Promise) -> None:
    path = tmp_path / "damaged.safetensors"
    with promise("a checkpoint with damaged bytes is refused in one line with its name") as tally:
        for what, content in some(list(broken_bytes(sound.read_bytes())), 70):
            path.write_bytes(content)
            tally.expect(not (said := refusal(lambda: metarl.load(path, device="cpu"), path.name)), f"{what}: {said}")


def test_wrong_descriptions_are_refused(sound: Path, tmp_path: Path, promise: Promise) -> None:
    path = tmp_path / "damaged.safetensors"
    tensors, description = load_checkpoint(sound)
    with promise("a checkpoint with a wrong description is refused in one line with its name") as tally:
        for what, said in some(list(broken_descriptions(description)), 60):
            save_checkpoint(path, tensors, said)
            why = refusal(lambda: metarl.load(path, device="cpu"), path.name)
            tally.expect(not why, f"{what}: {why}")


def test_tensors_that_cannot_be_learned_from_are_refused(sound: Path, tmp_path: Path, promise: Promise) -> None:
    path = tmp_path / "damaged.safetensors"
    tensors, description = load_checkpoint(sound)
    with promise("NaN, other types, shapes and names of tensors are refused") as tally:
        for what, changed in some(list(broken_tensors(tensors)), 25):
            save_checkpoint(path, changed, description)
            why = refusal(lambda: metarl.load(path, device="cpu"), path.name)
            tally.expect(not why, f"{what}: {why}")


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path, promise: Promise) -> None:
    path = tmp_path / "other.safetensors"
    mine = agent()
    others = {
        "seed": agent(seed=7),
        "learning rate": agent(learning_rate=0.5),
        "width": agent(width=16),
        "pulls": RL2(metarl.make("bernoulli-bandit", arms=3, pulls=9), mine.options, device="cpu"),
        "family": RL2(metarl.make("dark-room"), mine.options, device="cpu"),
        "agent": FakeAgent(mine.distribution, FakeOptions(), device="cpu"),
    }
    with promise("--resume refuses the checkpoint of another run") as tally:
        for what, other in others.items():
            other.save(path)
            why = refusal(lambda: mine.resume(path), path.name)
            tally.expect(not why, f"{what}: {why}")


CONFIG = RunConfig("rl2", "bernoulli-bandit", {"arms": 3}, 0, 100, {"width": 8})


def broken_configs() -> Iterator[tuple[str, str | bytes]]:
    whole = CONFIG.to_json()
    text = json.dumps(whole)
    for end in range(0, len(text), 7):
        yield f"cut at {end}", text[:end]
    for name in ("agent", "distribution", "distribution_options", "seed", "total_timesteps", "options"):
        yield f"no {name}", json.dumps({key: value for key, value in whole.items() if key != name})
    for name, kept in whole.items():
        for value in VALUES:
            if type(value) is not type(kept) and value != 10**400:
                yield f"{name} = {value!r:.20}", json.dumps({**whole, name: value})
    yield "deep", "[" * 100_000
    yield "no text", b"\xff\xfe\x00"
    yield "another field", json.dumps({**whole, "colour": 1})


def test_damaged_configs_are_refused(tmp_path: Path, promise: Promise) -> None:
    with promise("a damaged config.json is refused in one line with its name") as tally:
        for what, content in some(list(broken_configs()), 60):
            (tmp_path / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
            tally.expect(not (said := refusal(lambda: Run.open(tmp_path), "config.json")), f"{what}: {said}")


def test_damaged_evaluations_are_refused(tmp_path: Path, promise: Promise) -> None:
    path = tmp_path / "evaluation-test.json"
    bandit = metarl.make("bernoulli-bandit", arms=3, pulls=4)
    policy = FakeAgent(bandit, FakeOptions(), device="cpu").policy(3)
    fields = json.loads(metarl.evaluate(policy, bandit, num_tasks=3).to_json())
    with promise("a damaged evaluation is refused in one line with its name") as tally:
        needed = {each.name for each in dataclasses.fields(Evaluation) if each.default is each.default_factory}
        for name in sorted(needed - {"success"}):  # that and what has a default need not be there
            path.write_text(json.dumps({key: value for key, value in fields.items() if key != name}))
            tally.expect(not (said := refusal(lambda: Evaluation.load(path), path.name)), f"no {name}: {said}")
        for content in (b"", b"[" * 100_000, b"\xff", b"[]", b"3", json.dumps(fields).encode()[:-9]):
            path.write_bytes(content)
            tally.expect(not (said := refusal(lambda: Evaluation.load(path), path.name)), f"{content[:9]!r}: {said}")
