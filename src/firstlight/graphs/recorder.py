"""``record``: one forward on fake tensors, written down call by call.

A function mode sees what the model calls, one call one node; a dispatch mode under it sees what reaches torch's kernels
in other ways (scripted functions, custom operators) and what is written in place. ``trace`` reads the tape.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.random import fork_rng
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import ModelError
from .callnames import call_name
from .copies import is_parallel
from .fakes import Fakes, new_fakes
from .known import LARGEST, tensors_in
from .names import join, unwrapped
from .ops import FORM
from .paths import Paths
from .plainly import as_written
from .structure import slots
from .tape import Tape
from .writing import Arguments, Writer


def record(model: nn.Module, args: tuple[object, ...] = (), kwargs: Mapping[str, object] | None = None) -> Tape:
    """The tape of ``model(*args, **kwargs)``, run on a copy made of fake tensors, in eval mode.

    Args:
        model: any module, on any device, also meta; it is only read.
        args, kwargs: example inputs; their real values are kept on the tape.

    Raises:
        ModelError: the forward raised; the message says where, with what inputs.
    """
    model = unwrapped(model)
    kwargs = dict(kwargs or {})
    fakes = new_fakes()
    twin = fakes.model(model)
    writer = Writer(fakes, Paths(twin, model))
    _put_sources(writer, fakes, model, (args, kwargs))
    given: Arguments = fakes.arguments((args, kwargs))
    with ExitStack() as stack:
        random_states = (fork_rng([]), _same_random())
        for context in (writer.paths.followed(), as_written(), _quiet(), torch.no_grad(), *random_states):
            stack.enter_context(context)
        stack.enter_context(fakes.mode)
        stack.enter_context(_Dispatch(writer))
        stack.enter_context(_Functions(writer))
        try:
            out = twin(*given[0], **given[1])
        except Exception as error:
            raise ModelError(_message(writer.paths, model, error)) from error
    writer.name_strays(_strays(twin))
    return writer.tape(tensors_in(out))


def _strays(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters of modules, and parameters, that stand in plain lists, tuples and dicts of a module."""
    for path, module in model.named_modules():
        for name, held in vars(module).items():
            if not name.startswith("_"):
                yield from _held(join(path, name), held)


def _held(name: str, value: object) -> Iterator[tuple[str, nn.Parameter]]:
    if isinstance(value, nn.Parameter):
        yield name, value
    elif isinstance(value, nn.Module):
        yield from ((join(name, n), p) for n, p in value.named_parameters())
    elif isinstance(value, list | tuple):
        for i, part in enumerate(value):
            yield from _held(f"{name}.{i}", part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _held(f"{name}.{key}", part)


def _put_sources(writer: Writer, fakes: Fakes, model: nn.Module, inputs: object) -> None:
    """Parameters and buffers under their canonical names, then the inputs."""
    places: dict[int, list[tuple[str, torch.Tensor, bool]]] = {}
    for slot in slots(model):
        places.setdefault(id(slot.tensor), []).append((slot.name, slot.tensor, slot.is_buffer))
    for found in places.values():
        name = min(n for n, _, _ in found)
        _, tensor, is_buffer = found[0]
        kept = not (tensor.is_meta or hasattr(tensor, "full_tensor")) and (not is_buffer or tensor.numel() <= LARGEST)
        real = tensor.detach() if kept else None
        writer.put_source("buffer" if is_buffer else "parameter", fakes.of(tensor), name, real)
        writer.put_alias(tensor, fakes.of(tensor))
    for tensor in tensors_in(inputs):
        real = None if tensor.is_meta or type(tensor) is not torch.Tensor else tensor
        writer.put_source("input", fakes.of(tensor), "", real)


@contextmanager
def _same_random() -> Iterator[None]:
    """Python's and NumPy's random states as they were: a model may draw from them (layer drop)."""
    plain, numbers = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(plain)
        np.random.set_state(numbers)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's log of what fake tensors refuse: it is handled here, or becomes the error."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


class _Functions(TorchFunctionMode):
    """One call of a torch function, method or operator is one node."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self.writer = writer

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        name = call_name(func)
        if name in FORM or self.writer.inside:
            return func(*args, **(kwargs or {}))
        return self.writer.call(func, name, args, kwargs or {})


class _Dispatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What reaches a kernel: part of the call that is running, or a node of its own."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.writer = writer

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        self.writer.note_writes(func, args, kwargs)
        if self.writer.inside:
            return func(*args, **kwargs)
        return self.writer.call(func, call_name(func), args, kwargs)


def _message(paths: Paths, model: nn.Module, error: Exception) -> str:
    where, kind, given, held = paths.deepest()
    name = f"the module {where!r} ({kind}{held})" if where else f"{kind or type(model).__name__}{held}"
    return (
        f"the forward raised in {name}, which was given {given}: {type(error).__name__}: {str(error).rstrip('. ')}. "
        + (_WHOLE if is_parallel(model) else "Give inputs as the model is called; nothing was written.")
    )


_WHOLE = (
    "A tensor-parallel model is traced whole: where its forward counts one rank's heads or units (n_heads // ranks), "
    "let the shape tell them, view(…, -1, head_dim), or plan the model before parallelize_module and apply the plan to "
    "the sharded one. Nothing was written."
)
