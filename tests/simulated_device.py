"""A device that every machine has: `far` computes on the CPU, but its tensors refuse to meet those of the CPU.

They refuse where those of CUDA do, so what runs here gives every tensor and generator its device. `copies` counts what
a real GPU would have to wait for: numbers that the host asks for, and tensors that go there or come from there. It says
nothing of speed, nor of kernels that compute otherwise (cuDNN, cuBLAS).

torch makes room for such a device by `_setup_privateuseone_for_python_backend` (torch 2.13 has it).
"""

import contextlib
import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn, final
from unittest import mock

import torch
from torch import nn
from torch._decomp import decompositions
from torch.utils import backend_registration
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

available = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
if available:
    backend_registration._setup_privateuseone_for_python_backend("far")

Copies = Counter[tuple[str, str]]  # what was asked, and by which line (file:number): how often
aten: Any = torch.ops.aten
SOURCES = [Path(__file__).parents[1] / folder for folder in ("metarl", "agents", "envs")]
COPIES = {aten._to_copy.default, aten.copy_.default, aten.copy.default}
ASKING = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten._unique2.default,
    aten.multinomial.default,  # looks whether the weights are fit
    aten._linalg_check_errors.default,
}
READING = {aten.index.Tensor, aten._unsafe_index.Tensor}
WRITING = {aten.index_put.default, aten.index_put_.default, aten._unsafe_index_put.default}
RECURRENT = {"lstm": decompositions.lstm_impl, "gru": decompositions.gru_impl}

_counters: list[Copies] = []
_generators: "weakref.WeakValueDictionary[int, FarGenerator]" = weakref.WeakValueDictionary()
_Generator = torch.Generator


@contextlib.contextmanager
def simulated_device() -> Iterator[str]:
    """Inside, the device of this name exists."""
    lifted = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with (
            mock.patch("torch.Generator", GeneratorOfAnyDevice),
            _moving_modules(),
            _plain_recurrence(),
            _Device(),  # type: ignore[no-untyped-call]
        ):
            yield "far"
    finally:
        torch._C._set_only_lift_cpu_tensors(lifted)


@contextlib.contextmanager
def copies() -> Iterator[Copies]:
    """Counts what the lines of the library ask of the device inside."""
    counter: Copies = Counter()
    _counters.append(counter)
    try:
        yield counter
    finally:
        _counters.remove(counter)


@final
class FarTensor(torch.Tensor):
    """The outside of a tensor of the CPU, which it keeps to itself."""

    kept: torch.Tensor

    @staticmethod
    def __new__(cls, kept: torch.Tensor) -> "FarTensor":
        outside: FarTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            kept.shape,
            strides=kept.stride(),
            storage_offset=kept.storage_offset(),
            dtype=kept.dtype,
            device=torch.device("far", 0),
            dispatch_device=True,
        )
        outside.kept = kept
        return outside

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's own is not typed as a class method
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _call(func, args, kwargs or {})

    def __repr__(self) -> str:  # type: ignore[override]
        return f"FarTensor({self.kept})"

    def numpy(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("can't convert far:0 device type tensor to numpy. Use Tensor.cpu() to copy it to the host.")

    __array__ = numpy

    def tolist(self) -> Any:
        _count("tolist")
        return self.kept.tolist()


@final
class FarGenerator(_Generator):
    """A generator of the CPU that says it is none."""

    def __init__(self) -> None:
        super().__init__()
        _generators[_address(self)] = self  # torch hands on what lies at this address, not the object

    device = property(lambda self: torch.device("far", 0))


class _OfAnyDevice(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Generator)

    def __call__(cls, device: Any = "cpu") -> torch.Generator:
        return FarGenerator() if _is_far(device) else _Generator(device)


@final
class GeneratorOfAnyDevice(metaclass=_OfAnyDevice):
    """Stands for `torch.Generator`, which knows the devices that torch was built for."""


@final
class _Device(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees what makes tensors from nothing."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and to make sure of it takes longer than to compute

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(func, args, kwargs or {})


@contextlib.contextmanager
def _moving_modules() -> Iterator[None]:
    """A module that moves keeps its parameters, as an optimiser that holds them expects."""
    apply: Callable[..., nn.Module] = nn.Module._apply

    def moved(module: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        before = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            return apply(module, *args, **kwargs)
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)

    with mock.patch.object(nn.Module, "_apply", moved):
        yield


@contextlib.contextmanager
def _plain_recurrence() -> Iterator[None]:
    """Recurrent networks of the device from plain operations: torch's own need kernels of the device."""
    with contextlib.ExitStack() as stack:
        for name, plain in RECURRENT.items():
            stack.enter_context(mock.patch.object(torch._VF, name, _by_device(getattr(torch._VF, name), plain)))
        yield


def _by_device(near: Callable[..., Any], far: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, *rest: (far if isinstance(x, FarTensor) else near)(x, *rest)


def _call(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What `func` gives, on the device of its arguments or the one that it was told."""
    if func is torch.ops.prim.device.default:
        return torch.device("far", 0)
    leaves = list(_leaves((*args, *kwargs.values())))
    far = [x for x in leaves if type(x) is FarTensor]
    if not far and kwargs.get("device") is None and _Generator not in map(type, leaves):
        return func(*args, **kwargs)  # the CPU's own business
    goes_far = _goes_far(func, args, kwargs, far)
    _refuse(func, args, leaves, far, goes_far)
    _count_copies(func, args, leaves, far, goes_far)
    if kwargs.get("device") is not None and goes_far:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    result = func(*_map(_inside, args), **{name: _map(_inside, x) for name, x in kwargs.items()})
    if torch.Tag.inplace_view in func.tags and far:  # changes shape or strides: the outside has to follow
        with no_dispatch():
            func(*args, **kwargs)
    return _map(_outside({id(x.kept): x for x in far}), result) if goes_far else result


def _goes_far(func: Any, args: Any, kwargs: dict[str, Any], far: list[FarTensor]) -> bool:
    if func is aten.copy_.default:
        return isinstance(args[0], FarTensor)
    return bool(far) if kwargs.get("device") is None else _is_far(kwargs["device"])


def _refuse(func: Any, args: Any, leaves: list[Any], far: list[FarTensor], goes_far: bool) -> None:
    """RuntimeError where CUDA gives one: operands of both devices, numbers apart, and a generator of the other."""
    for x in leaves:
        if type(x) is _Generator and (_address(x) in _generators) != goes_far:
            raise RuntimeError(f"{func}: the generator is not on the device of the tensor")
    if not far or func in COPIES:
        return
    if func in READING | WRITING:  # indices of the host are welcome in a tensor of the device, not the reverse
        leaves = [args[0], *args[2:3]]
    near = [tuple(x.shape) for x in leaves if _is_near(x) and (x.dim() > 0 or x is args[0])]
    if near:
        raise RuntimeError(f"{func}: expected all tensors on one device, but those of shapes {near} are on the CPU")


def _count_copies(func: Any, args: Any, leaves: list[Any], far: list[FarTensor], goes_far: bool) -> None:
    if func in COPIES and any(map(_is_near, leaves)) and goes_far:
        _count("from the host")
    elif func in COPIES and far and not goes_far:
        _count("to the host")
    elif far and func in ASKING:
        _count(str(func))
    elif far and func in READING | WRITING:
        indices = [x for x in args[1] if x is not None]
        if any(map(_is_near, indices)):
            _count("index from the host")
        # a number goes into a mask's places without counting them
        elif any(x.dtype == torch.bool for x in indices) and (func in READING or args[2].numel() > 1):
            _count("mask as index")


def _count(what: str) -> None:
    if not _counters:
        return
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename).resolve()
        if any(folder in path.parents for folder in SOURCES):
            for counter in _counters:
                counter[what, f"{path.name}:{frame.lineno}"] += 1
            return


def _leaves(values: Iterable[Any]) -> Iterator[Any]:
    for x in values:
        if isinstance(x, list | tuple):
            yield from _leaves(x)
        else:
            yield x


def _map(function: Callable[[Any], Any], x: Any) -> Any:
    return [_map(function, each) for each in x] if isinstance(x, list | tuple) else function(x)


def _inside(x: Any) -> Any:
    return x.kept if type(x) is FarTensor else x


def _outside(known: dict[int, FarTensor]) -> Callable[[Any], Any]:
    """Wraps results; what was changed in place keeps the outside that it has."""

    def wrapped(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        return known[id(x)] if id(x) in known else FarTensor(x.resolve_conj())  # an outside tells no lazy conjugate

    return wrapped


def _address(generator: Any) -> int:
    """Where torch keeps it."""
    address: int = generator._cdata
    return address


def _is_far(device: Any) -> bool:
    return torch.device(device).type == "far"


def _is_near(x: Any) -> bool:
    return isinstance(x, torch.Tensor) and not isinstance(x, FarTensor)
