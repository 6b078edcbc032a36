"""The promise that a probe leaves no trace: everything a forward and a backward may change comes back bit for bit.

``measuring`` runs inside ``untouched``; values are compared before they are put back, so that what is as it was is not
written.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from ..graphs.fakes import tensors as tensors_of

_MISSING = object()
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_SMALL = 1 << 20


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """While this lasts the model may be run; then it is as before, also behind an exception or Ctrl-C.

    Parameters and buffers (which tensors, and their values), ``.grad``, ``requires_grad``, training flags, hooks,
    submodules, plain attributes, and the state of torch's, NumPy's and Python's random generators. It takes one copy of
    the model's tensors.
    """
    attributes = [(m, _attributes(m)) for m in model.modules()]
    tensors = {id(t): t for t in tensors_of(model)}.values()
    held = [(t, None if t.is_meta else t.detach().clone(), t.requires_grad) for t in tensors]
    gradients = [(t, t.grad, None if t.grad is None else t.grad.detach().clone()) for t in tensors if t.is_leaf]
    try:
        with kept_randomness(), lent_buffers(model):
            yield
    finally:
        with torch.no_grad():
            for module, before in attributes:
                _put_back(module, before)
            for tensor, values, requires in held:
                if values is not None:
                    _copy_back(tensor, values)
                if tensor.requires_grad != requires:
                    tensor.requires_grad_(requires)
            for tensor, gradient, values in gradients:
                if tensor.grad is not gradient:
                    tensor.grad = gradient
                if gradient is not None and values is not None:
                    _copy_back(gradient, values)


@contextmanager
def kept_randomness() -> Iterator[None]:
    """What is drawn while this lasts, by torch, NumPy or Python, leaves their random states as they were."""
    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    on_devices = _device_states()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])
        for device, state in on_devices:
            torch.cuda.set_rng_state(state, device)


def seed_all(seed: int) -> None:
    """Seed the generators that ``kept_randomness`` puts back.

    ``torch.manual_seed`` also leaves an order for devices that nobody has used yet, which would seed them later.
    """
    torch.default_generator.manual_seed(seed)
    if _on_devices():
        torch.cuda.manual_seed_all(seed)


@contextmanager
def lent_buffers(model: nn.Module) -> Iterator[None]:
    """Copies in the buffers' places while this lasts: a graph that the user still holds may read the real ones."""
    lent: dict[int, torch.Tensor] = {}
    real: list[tuple[nn.Module, str, torch.Tensor]] = []
    scripted: list[tuple[torch.Tensor, torch.Tensor]] = []  # these keep their buffers where nobody can exchange them
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is None:
                continue
            if isinstance(module, torch.jit.ScriptModule):
                scripted.append((buffer, buffer.detach().clone()))
            else:
                real.append((module, name, buffer))
    for module, name, buffer in real:
        module._buffers[name] = lent.setdefault(id(buffer), buffer.detach().clone())
    try:
        yield
    finally:
        for module, name, buffer in real:
            module._buffers[name] = buffer
        for buffer, before in scripted:
            _copy_back(buffer, before)


def _on_devices() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]


def _device_states() -> list[tuple[int, torch.Tensor]]:
    if not _on_devices():
        return []
    return [(i, torch.cuda.get_rng_state(i)) for i in range(torch.cuda.device_count())]


def _attributes(module: nn.Module) -> dict[str, tuple[object, dict[object, object] | None]]:
    """A module's attributes; of its own dictionaries (parameters, buffers, children, hooks) also what they hold."""
    return {k: (v, dict(v) if isinstance(v, dict) and k.startswith("_") else None) for k, v in vars(module).items()}


def _put_back(module: nn.Module, before: dict[str, tuple[object, dict[object, object] | None]]) -> None:
    now = module.__dict__
    for name in now.keys() - before.keys():
        del now[name]
    for name, (value, items) in before.items():
        if now.get(name, _MISSING) is not value:
            now[name] = value
        if items is not None and isinstance(value, dict) and (value or items) and not _same(value, items):
            value.clear()
            value.update(items)


def _same(now: dict[object, object], before: dict[object, object]) -> bool:
    return len(now) == len(before) and all(a is c and now[a] is before[c] for a, c in zip(now, before, strict=True))


def _copy_back(tensor: torch.Tensor, values: torch.Tensor) -> None:
    """Write the values if any bit differs: a write marks the tensor as changed for graphs that hold it."""
    if not _equal_bits(tensor.detach(), values):
        with torch.no_grad():
            tensor.detach().copy_(values)


def _equal_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    local = getattr(a, "to_local", None)
    if local is not None:
        a, b = a.to_local(), b.to_local()  # type: ignore[attr-defined]
    if type(a) is type(b) is torch.Tensor and a.is_floating_point() and a.layout is torch.strided:
        bits = _BITS[a.element_size()]  # as numbers NaN would equal nothing, and −0 would equal 0
        a, b = a.view(bits), b.view(bits)
        if a.device.type == "cpu" and a.numel() <= _SMALL:
            return np.array_equal(a.numpy(), b.numpy())  # four times as fast, and takes room
    return torch.equal(a, b)
