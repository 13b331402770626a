"""A graphics card that is none: torch computes on the processor, but refuses what a card would refuse.

Tensors that were made on it or moved there say so (`Tensor.device`), and code goes the way that it would go there. To
mix them with tensors of the processor is an error, and so it is to show a card's memory to NumPy, and on MPS to compute
in double precision. Speed, memory and rounding are the processor's, and whether a card has an operation, nobody says.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TAKE_OTHER_INDICES = (
    "aten::index",
    "aten::index_put",
    "aten::index_put_",
    "aten::_index_put_impl_",
    "aten::_unsafe_index",
)
"""Where the first argument is a card's, the others may be the processor's."""

COPY = ("aten::copy_", "aten::_to_copy", "aten::set_", "aten::_local_scalar_dense")
TAKE_NO_NUMBERS = ("aten::_fused_adam_", "aten::cat", "aten::stack")
"""Elsewhere a number (a tensor without dimensions) of the processor's may be among tensors of a card."""


@contextlib.contextmanager
def pretended(kind: str, memory: int = 24 * 2**30) -> Iterator[torch.device]:
    """Have a graphics card meanwhile.

    Args:
        kind: "cuda" or "mps".
        memory: bytes of which it says that they are free.
    """
    with contextlib.ExitStack() as stack:
        for change in _changes(kind, memory):
            stack.enter_context(change)
        functions = _Functions(kind)
        for change in _in_backward_passes(functions):
            stack.enter_context(change)
        stack.enter_context(functions)
        stack.enter_context(_Operations(kind))
        yield torch.device(kind)


def _is_there(tensor: Tensor) -> bool | None:
    """Whether a tensor is on the card; None where nobody has said where it is."""
    with torch._C.DisableTorchFunction():
        where: bool | None = getattr(tensor.untyped_storage(), "is_pretended", False)
        return where


def _put(found: Any, there: bool | None) -> Any:
    """The same, whose tensors are on the card from now on, or no longer; None for wherever it suits."""
    with torch._C.DisableTorchFunction():
        for each in tree_leaves(found):
            if isinstance(each, Tensor):
                each.untyped_storage().is_pretended = there
    return found


class _Moved(torch.autograd.Function):
    """A copy on the other device, whose gradients come back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, there: bool) -> Tensor:
        ctx.was_there = bool(_is_there(tensor))
        return _put(tensor.clone(), there)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _put(gradient.clone(), ctx.was_there), None


class _Generator(torch.Generator):
    """Of the card."""

    kind = "cuda"

    @property
    def device(self) -> torch.device:
        return torch.device(self.kind, 0)


class _Functions(TorchFunctionMode):
    """What Python asks of torch: where tensors are, and to make or move them."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.getters = {
            Tensor.device: lambda there: torch.device(kind, 0) if there else None,
            Tensor.is_cuda: lambda there: bool(there) and kind == "cuda",
            Tensor.is_mps: lambda there: bool(there) and kind == "mps",
            Tensor.is_cpu: lambda there: False if there else None,
        }

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if name == "__get__" and owner in self.getters:
            answer = self.getters[owner](_is_there(args[0]))
            return function(*args) if answer is None else answer
        if function is Tensor.get_device:
            return 0 if _is_there(args[0]) else -1
        if function in (Tensor.numpy, Tensor.__array__) and _is_there(args[0]):
            raise TypeError(f"can't convert {self.kind}:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if function in (Tensor.cpu, Tensor.to, Tensor.cuda, Tensor.type_as):
            return self._moved(function, args, kwargs)
        wanted = self._on_card(kwargs.get("device"))
        if wanted is not None:
            kwargs["device"] = "cpu"
        generator = kwargs.get("generator")
        if generator is not None:
            target = wanted if wanted is not None else any(_is_there(each) for each in args if isinstance(each, Tensor))
            if isinstance(generator, _Generator) != target:
                raise RuntimeError(f"Expected a generator of the device on which {name} makes numbers")
        if wanted is None and any(isinstance(each, Tensor) for each in tree_leaves((args, kwargs))):
            return function(*args, **kwargs)
        if function is torch.as_tensor and isinstance(args[0], Tensor):
            return self._moved(Tensor.to, (args[0],), kwargs | {"device": self.kind if wanted else "cpu"})
        return _put(function(*args, **kwargs), bool(wanted))

    def _moved(self, function: Any, args: Any, kwargs: dict[str, Any]) -> Tensor:
        tensor, *rest = args
        wanted = {Tensor.cpu: False, Tensor.cuda: True}.get(function)
        if function is Tensor.cpu or function is Tensor.cuda:
            function, rest = Tensor.to, []
        if function is Tensor.type_as:
            function = Tensor.to
        others = []
        for each in rest:
            if isinstance(each, Tensor):
                wanted = bool(_is_there(each))
                others.append(each.dtype)
            elif isinstance(each, str | torch.device) and self._on_card(each) is not None:
                wanted = self._on_card(each)
            elif each is not None and not isinstance(each, bool):
                others.append(each)
        asked = self._on_card(kwargs.get("device"))
        if asked is not None:
            wanted = asked
            del kwargs["device"]
        if wanted is not None and wanted != bool(_is_there(tensor)):
            tensor = _Moved.apply(tensor, wanted)
        moved: Tensor = function(tensor, *others, **kwargs) if others or kwargs else tensor
        return moved

    def _on_card(self, device: Any) -> bool | None:
        """None for what is neither there nor on the processor, such as "meta"."""
        kind = None if device is None else torch.device(device).type
        return kind == self.kind if kind in ("cpu", self.kind) else None


class _Operations(TorchDispatchMode):
    """What is computed: all on one device."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = function._schema.name
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        there = [_is_there(each) for each in tensors]
        if any(there):
            if name not in COPY:
                self._check(name, tensors, there)
            _put([each for each, where in zip(tensors, there, strict=True) if where is None], True)
        found = function(*args, **kwargs)
        known = {each.untyped_storage()._cdata for each in tensors}
        made = [each for each in tree_leaves(found) if isinstance(each, Tensor)]
        new = [each for each in made if each.untyped_storage()._cdata not in known]
        if any(there):
            _put(new, True)
            if self.kind == "mps" and any(_is_there(each) and each.dtype in _DOUBLE for each in made):
                raise TypeError(f"{name}: the MPS framework doesn't support float64")
        elif all(where is None for where in there):
            _put(new, None)  # made by torch itself, in a backward pass or the like, on the device that suits
        return found

    def _check(self, name: str, tensors: list[Tensor], there: list[bool | None]) -> None:
        if name in TAKE_OTHER_INDICES and there[0]:
            return
        may_be_number = name not in TAKE_NO_NUMBERS
        if not all(
            where is not False or (may_be_number and not each.dim()) for each, where in zip(tensors, there, strict=True)
        ):
            raise RuntimeError(
                f"{name}: expected all tensors to be on the same device, but found at least two, {self.kind}:0 and cpu"
            )


_DOUBLE = (torch.float64, torch.complex128)


def _in_backward_passes(functions: _Functions) -> Iterator[Any]:
    """Torch leaves a mode in order to ask it about `Tensor.backward`, and would go through the graph without it."""
    go_through = torch.autograd._engine_run_backward

    def gone_through(*args: Any, **kwargs: Any) -> Any:
        with functions:
            return go_through(*args, **kwargs)

    yield mock.patch.object(torch.autograd, "_engine_run_backward", gone_through)
    apply = BackwardCFunction.apply

    def applied(node: Any, *gradients: Any) -> Any:
        """Torch has made the gradients of what nobody asked about."""
        if any(isinstance(each, Tensor) and _is_there(each) for each in gradients):
            _put([each for each in gradients if isinstance(each, Tensor) and _is_there(each) is None], True)
        return apply(node, *gradients)

    yield mock.patch.object(BackwardCFunction, "apply", applied)

    def known_by(tensor: Tensor) -> dict[str, Any]:
        """Checkpointing compares what it computes with what it computed before; torch asks while the mode is left."""
        return {"shape": tensor.shape, "dtype": tensor.dtype, "is_there": bool(_is_there(tensor))}

    yield mock.patch.dict(torch.utils.checkpoint._allowed_determinism_checks_to_fns, default=known_by)


class _Event:
    def __init__(self, **_: Any) -> None: ...

    def record(self) -> None: ...

    def synchronize(self) -> None: ...

    def elapsed_time(self, other: _Event) -> float:
        return 1.0


def _changes(kind: str, memory: int) -> Iterator[Any]:
    """What torch and Warp say of the card, and what they do there."""
    from sdi_engine import kernels

    here = getattr(torch, kind)
    answers: dict[str, Callable[..., Any]] = {
        "cuda": {
            "is_available": lambda: True,
            "is_initialized": lambda: True,
            "is_bf16_supported": lambda *_, **__: True,
            "mem_get_info": lambda *_: (memory, memory),
            "memory_reserved": lambda *_: 0,
            "memory_allocated": lambda *_: 0,
            "max_memory_reserved": lambda *_: 0,
            "max_memory_allocated": lambda *_: 0,
            "reset_peak_memory_stats": lambda *_: None,
            "get_device_name": lambda *_: "a pretended card",
            "synchronize": lambda *_: None,
            "empty_cache": lambda: None,
            "Event": _Event,
        },
        "mps": {
            "synchronize": lambda: None,
            "empty_cache": lambda: None,
            "recommended_max_memory": lambda: memory,
            "current_allocated_memory": lambda: 0,
            "driver_allocated_memory": lambda: 0,
        },
    }[kind]
    for name, answer in answers.items():
        yield mock.patch.object(here, name, answer)
    if kind == "mps":
        yield mock.patch.object(torch.backends.mps, "is_available", return_value=True)

    def generator(device: Any = "cpu") -> torch.Generator:
        return torch.Generator() if torch.device(device).type == "cpu" else _Generator()

    yield mock.patch.object(_Generator, "kind", kind)

    for module in [module for name, module in sys.modules.items() if name.startswith("sdi_engine")]:
        if getattr(module, "Generator", None) is torch.Generator:
            yield mock.patch.object(module, "Generator", generator)

    array, launch, places = kernels.array, kernels.launch, {}

    def noted(tensor: Tensor, dtype: Any = None) -> Any:
        with torch._C.DisableTorchFunction():
            made = array(tensor, dtype)
        places[id(made)] = made, bool(_is_there(tensor))
        return made

    def launched(kernel: Any, count: int, arguments: Any, device: torch.device) -> None:
        for each in arguments:
            if id(each) in places:
                assert places.pop(id(each))[1] == (device.type == kind), "an array of another device"
        launch(kernel, count, arguments, torch.device("cpu"))

    yield mock.patch.object(kernels, "array", noted)
    yield mock.patch.object(kernels, "launch", launched)
    if importlib.util.find_spec("warp") is not None:
        warp = kernels.warp_module()
        from_torch = warp.from_torch

        def as_if_here(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            with torch._C.DisableTorchFunction():
                return from_torch(tensor, *args, **kwargs)

        yield mock.patch.object(warp, "from_torch", as_if_here)
