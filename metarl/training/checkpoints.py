"""Checkpoints: one safetensors file with JSON in its header. It holds data only, no code."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from metarl.files import replacement

FORMAT = 2


def save_checkpoint(path: str | Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write `tensors` and the JSON-serialisable `description` to `path`, whole or not at all.

    Raises OSError if the disk is full or the folder cannot be written. An older file at `path` then stays as it was.
    """
    contents = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"metarl": json.dumps({"format": FORMAT, **description})}
    try:
        with replacement(path) as file:
            save_file(contents, file, metadata)
    except SafetensorError as error:
        raise OSError(f"{path}: the checkpoint could not be written: {error}") from error


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, on `device`, and description of a checkpoint.

    Raises ValueError if there is no file, or if it is damaged, not a checkpoint of metarl, or of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no checkpoint here")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: damaged, or not a checkpoint: {error}") from error
    if "metarl" not in metadata:
        raise ValueError(f"{path}: a safetensors file, but not a metarl checkpoint")
    description = json.loads(metadata["metarl"])
    if description.get("format") != FORMAT:
        raise ValueError(f"{path}: checkpoint format {description.get('format')}, this metarl reads format {FORMAT}")
    return {name: tensor.to(device) for name, tensor in tensors.items()}, description


def check_tensors(path: str | Path, given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise ValueError, which lists the differences, unless `given` has the names and shapes of `expected`."""
    differences = [f"missing {name}" for name in expected if name not in given]
    differences += [f"unknown {name}" for name in given if name not in expected]
    differences += [
        f"{name} is {tuple(given[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if differences:
        raise ValueError(f"{path} does not fit this agent: {'; '.join(differences[:8])}")


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
