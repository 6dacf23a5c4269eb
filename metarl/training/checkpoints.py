"""Checkpoints: one safetensors file with JSON in its header. It holds data only, no code."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from metarl.files import write_atomically

FORMAT = 3  # 2 had no checksum


def save_checkpoint(path: str | Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write `tensors` and the JSON-serialisable `description` to `path`, whole or not at all.

    Raises OSError if the disk is full or the folder cannot be written. An older file at `path` then stays as it was.
    """
    contents = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    said = {"format": FORMAT, **description}
    text = json.dumps({**said, "sha256": checksum(contents, said)})
    write_atomically(path, safetensors.torch.save(contents, {"metarl": text}))


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, on `device`, and description of a checkpoint.

    Raises ValueError if there is no file, or if it is damaged, not a checkpoint of metarl, or of another format, and
    OSError if it cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no checkpoint here")
    content = path.read_bytes()  # not mapped: a file that shrinks while it is read would end the process
    try:
        tensors, metadata = safetensors.torch.load(content), _metadata(content)
        description = json.loads(metadata.get("metarl", "null"))
    except Exception as error:  # a file of random bytes may raise anything
        raise ValueError(f"{path} is damaged, or not a checkpoint: {error}") from error
    if not isinstance(description, dict):
        raise ValueError(f"{path}: a safetensors file, but not a metarl checkpoint")
    if description.get("format") not in (2, FORMAT):
        raise ValueError(f"{path}: checkpoint format {description.get('format')}, this metarl reads format {FORMAT}")
    known = description.pop("sha256", None)
    if (description["format"] == FORMAT or known) and known != checksum(tensors, description):
        raise ValueError(f"{path} is damaged: its contents are not those of its checksum")
    return {name: tensor.to(device) for name, tensor in tensors.items()}, description


def checksum(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> str:
    """SHA-256 of the description as JSON and of names, types, shapes and bytes of the tensors, which are on the CPU.

    It finds damage. It does not prove who wrote the file.
    """
    total = hashlib.sha256(json.dumps(description).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def check_tensors(path: str | Path, given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError, which lists the faults, unless `given` fits `expected` and can be learned from.

    It must have the same names, shapes and types. All numbers must be finite, and Adam's second moments not negative.
    """
    faults = [f"missing {name}" for name in expected if name not in given]
    faults += [f"unknown {name}" for name in given if name not in expected]
    faults += [fault for name, x in expected.items() if name in given for fault in _faults(name, given[name], x)]
    if faults:
        raise ValueError(f"{path} does not fit this agent: {'; '.join(faults[:8])}")


def _faults(name: str, given: Tensor, expected: Tensor) -> list[str]:
    """What is wrong with a tensor, in words; at most one fault."""
    if given.shape != expected.shape:
        return [f"{name} is {tuple(given.shape)}, expected {tuple(expected.shape)}"]
    if given.dtype != expected.dtype:
        return [f"{name} is {given.dtype}, expected {expected.dtype}"]
    if given.is_floating_point() and not bool(given.isfinite().all()):
        return [f"{name} is not finite"]
    if name.endswith(("exp_avg_sq", ".step")) and bool((given < 0).any()):
        return [f"{name} is negative"]
    return []


def _metadata(content: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors file: eight bytes of length, then JSON."""
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return metadata


def fitting(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], task_tensors: tuple[str, ...], other_tasks: bool = False
) -> dict[str, Tensor]:
    """The tensors of `state`, with an agent's `own` in the place of those that depend on tasks of another kind.

    These are the ones whose names begin as `task_tensors` and, of an optimiser, their moments: where shapes differ, and
    the former wherever the agent meets `other_tasks`. All others stay, for `check_tensors` to judge.
    """
    fitted = dict(state)
    for name, tensor in own.items():
        of_task = bool(task_tensors) and name.startswith(task_tensors)
        depends = of_task or (bool(task_tensors) and name.startswith("adam."))
        if name in state and depends and (state[name].shape != tensor.shape or (of_task and other_tasks)):
            fitted[name] = tensor
    return fitted


def pack(**modules: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of several modules by one name each: those of `actor` as `actor.output.weight`."""
    return {f"{module}.{name}": x for module, kept in modules.items() for name, x in kept.state_dict().items()}


def packed(state: Mapping[str, Tensor], module: str) -> dict[str, Tensor]:
    """What `pack` put into `state` for the module of this name, by the module's own names."""
    return {name.removeprefix(f"{module}."): x for name, x in state.items() if name.startswith(f"{module}.")}


def unpack(state: Mapping[str, Tensor], **modules: nn.Module) -> None:
    """The inverse of `pack`; RuntimeError if `state` lacks a parameter or has one too many for a module."""
    for module, kept in modules.items():
        kept.load_state_dict(packed(state, module))


def adam_state(optimiser: torch.optim.Adam, prefix: str = "adam.") -> dict[str, Tensor]:
    """Moments and step counts of every parameter, by name. Before the first step they are zero, under the same names.

    Expects a fused Adam, which keeps step counts on the device of the parameters.
    """
    state: dict[str, Tensor] = {}
    for index, parameter in enumerate(_parameters(optimiser)):
        kept = optimiser.state.get(parameter) or _fresh(parameter)
        state |= {f"{prefix}{index}.{name}": kept[name] for name in _fresh(parameter)}
    return state


def load_adam_state(optimiser: torch.optim.Adam, state: Mapping[str, Tensor], prefix: str = "adam.") -> None:
    """Restore what `adam_state` returned."""
    for index, parameter in enumerate(_parameters(optimiser)):
        kept = {name: state[f"{prefix}{index}.{name}"].to(parameter.device, copy=True) for name in _fresh(parameter)}
        optimiser.state[parameter] = kept


def _parameters(optimiser: torch.optim.Adam) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _fresh(parameter: Tensor) -> dict[str, Tensor]:
    zeros = torch.zeros_like(parameter)
    return {"step": zeros.new_zeros(()), "exp_avg": zeros, "exp_avg_sq": zeros}
