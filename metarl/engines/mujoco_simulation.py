"""Many simulations of one MuJoCo model: in MuJoCo's own batch, or one after another where it is too old to have one."""

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from metarl.imports import import_extra

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.int64]
DIVERGED = ("mjWARN_BADQPOS", "mjWARN_BADQVEL", "mjWARN_BADQACC")  # after these MuJoCo restarts a simulation by itself


def load_model(path: str) -> Any:
    """The `mujoco.MjModel` of an XML file; ImportError that names the extra where mujoco is not installed.

    What MuJoCo says of the file becomes a Python warning; left alone, it would write a log into the current folder.
    """
    mujoco, said = import_extra("mujoco", "mujoco"), list[str]()
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(said.append)
    try:
        model = mujoco.MjModel.from_xml_path(path)
    finally:
        mujoco.set_mju_user_warning(before)
    for text in said:
        warnings.warn(f"{path}: {text}", stacklevel=2)
    return model


def simulate(model: Any, count: int, outputs: Sequence[str] = (), threads: int = 1) -> "Simulations":
    """`count` simulations of `model` on so many threads; `outputs` are the fields of `MjData` that will be read."""
    try:
        import_module("mujoco.batch")
    except ModuleNotFoundError:
        return OneByOne(model, count, outputs)
    return Batched(model, count, outputs, threads)


class Simulations(ABC):
    """Simulations of one model, each with a state and, where they were changed, constants of its own.

    `qpos` [n, nq], `qvel` [n, nv] and `ctrl` [n, nu] are live float64 arrays. Only `ctrl` is for writing.
    """

    qpos: Floats
    qvel: Floats
    ctrl: Floats

    @abstractmethod
    def output(self, name: str) -> Floats:
        """A live array [n, ...] of one of the `outputs`, of the state before the last of the substeps as in MuJoCo."""

    @abstractmethod
    def change(self, fields: Mapping[str, Floats], rows: Rows) -> None:
        """Give simulations `rows` [r] their own values [r, ...] of fields of `MjModel`, and what derives from these."""

    @abstractmethod
    def restart(self, rows: Rows, qpos: Floats, qvel: Floats) -> None:
        """A new episode from these states, [r, nq] and [r, nv]: time, forces and the solver's memory start afresh."""

    @abstractmethod
    def step(self, substeps: int) -> Flags:
        """So many steps of physics; True [n] where one diverged: MuJoCo put its default state in its place."""

    @abstractmethod
    def snapshot(self, row: int) -> tuple[Any, Any]:
        """`MjModel` and `MjData` of one simulation with all fields computed, to be drawn."""


@final
class Batched(Simulations):
    """`mujoco.batch.Batch`, which steps in C++ threads (in mujoco since 3.17)."""

    def __init__(self, model: Any, count: int, outputs: Sequence[str] = (), threads: int = 1) -> None:
        self._mujoco = import_extra("mujoco", "mujoco")
        self._batch = import_module("mujoco.batch").Batch(model, count, threads)
        self.qpos, self.qvel, self.ctrl = (self._batch.bind(name) for name in ("qpos", "qvel", "ctrl"))
        self._outputs: dict[str, Floats] = {name: self._batch.bind(name) for name in outputs}
        self._kinds = _diverged_kinds(self._mujoco)
        self._batch.reset()

    def output(self, name: str) -> Floats:
        return self._outputs[name]

    def change(self, fields: Mapping[str, Floats], rows: Rows) -> None:
        for name, values in fields.items():
            self._batch.expand(name)[rows] = values
        self._batch.set_const(rows)

    def restart(self, rows: Rows, qpos: Floats, qvel: Floats) -> None:
        self._batch.reset(rows, stage=self._mujoco.mjtStage.mjSTAGE_NONE)
        self.qpos[rows], self.qvel[rows] = qpos, qvel
        self._batch.forward(rows)

    def step(self, substeps: int) -> Flags:
        before = self._warnings()
        self._batch.step(nstep=substeps)
        return self._warnings() > before

    def snapshot(self, row: int) -> tuple[Any, Any]:
        model, data = self._batch.get_model(row), self._batch.get_data(row)
        self._mujoco.mj_forward(model, data)
        return model, data

    def _warnings(self) -> Rows:
        counts: Rows = self._batch.warning[:, self._kinds, 1].sum(1)
        return counts


@final
class OneByOne(Simulations):
    """A loop over `mj_step`: the same numbers, slower."""

    def __init__(self, model: Any, count: int, outputs: Sequence[str] = ()) -> None:
        self._mujoco = import_extra("mujoco", "mujoco")
        self._models = [model] * count  # shared until one is changed
        self._own = [False] * count
        self._data = [self._mujoco.MjData(model) for _ in range(count)]
        self._read = {
            name: np.stack([np.array(getattr(d, name)) for d in self._data])
            for name in ["qpos", "qvel", "ctrl", *outputs]
        }
        self.qpos, self.qvel, self.ctrl = (self._read[name] for name in ("qpos", "qvel", "ctrl"))
        self._kinds = _diverged_kinds(self._mujoco)

    def output(self, name: str) -> Floats:
        return self._read[name]

    def change(self, fields: Mapping[str, Floats], rows: Rows) -> None:
        for place, row in enumerate(rows):
            if not self._own[row]:
                self._models[row], self._own[row] = copy.copy(self._models[row]), True
            model = self._models[row]
            for name, values in fields.items():
                getattr(model, name)[:] = values[place]
            self._mujoco.mj_setConst(model, self._mujoco.MjData(model))

    def restart(self, rows: Rows, qpos: Floats, qvel: Floats) -> None:
        for place, row in enumerate(rows):
            model, data = self._models[row], self._data[row]
            self._mujoco.mj_resetData(model, data)
            data.qpos[:], data.qvel[:] = qpos[place], qvel[place]
            self._mujoco.mj_forward(model, data)
            self.ctrl[row] = 0
            self._copy(row)

    def step(self, substeps: int) -> Flags:
        diverged = np.zeros(len(self._data), bool)
        for row, (model, data) in enumerate(zip(self._models, self._data, strict=True)):
            before = self._warnings(data)
            data.ctrl[:] = self.ctrl[row]
            self._mujoco.mj_step(model, data, nstep=substeps)
            diverged[row] = self._warnings(data) > before
            self._copy(row)
        return diverged

    def snapshot(self, row: int) -> tuple[Any, Any]:
        model, data = self._models[row], copy.copy(self._data[row])
        self._mujoco.mj_forward(model, data)
        return model, data

    def _copy(self, row: int) -> None:
        for name, values in self._read.items():
            if name != "ctrl":
                values[row] = getattr(self._data[row], name)

    def _warnings(self, data: Any) -> int:
        return sum(int(data.warning[kind].number) for kind in self._kinds)


def _diverged_kinds(mujoco: Any) -> list[int]:
    return [int(getattr(mujoco.mjtWarning, kind)) for kind in DIVERGED]
