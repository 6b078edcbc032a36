"""Calls that give on fake tensors what they gave before: layers repeat one another, and a fake call takes long.

``writing`` asks it before it runs a call. It lives as long as one trace.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch._subclasses.fake_tensor import FakeTensor

from .fakes import Fakes
from .ops import ATTENTION, CONVS, MATMULS, NORMS, PRODUCTS, SUMS, TRANSPOSED_CONVS, words

# They make a new tensor whose form follows from the forms and options that they are given, and from autocast.
_PURE = (
    (MATMULS | CONVS | TRANSPOSED_CONVS | NORMS | SUMS | PRODUCTS | ATTENTION)
    | {"linear", "embedding", "softmax", "cat"}
    | words("relu relu6 gelu silu sigmoid tanh softplus elu selu leaky_relu hardswish hardsigmoid mish sin cos exp")
    | words("max_pool2d avg_pool2d pow sqrt rsqrt neg")
)
_PLAIN = (int, float, bool, str, torch.dtype, type(None))


class Repeats:
    """The forms of what calls gave, by the call and the forms of what it read."""

    def __init__(self, fakes: Fakes) -> None:
        """Nothing called yet."""
        self._fakes = fakes
        self._forms: dict[Hashable, tuple[torch.Size, tuple[int, ...], torch.dtype]] = {}

    def key(
        self, func: Callable[..., object], name: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Hashable:
        """What decides a call's output; ``None`` where that is not known."""
        if name not in _PURE or torch.is_grad_enabled():
            return None
        forms = _form((args, *kwargs.items()))
        autocast = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        return None if forms is None else (func, autocast, forms)

    def get(self, key: Hashable) -> torch.Tensor | None:
        """A new output of the form that this call gave before."""
        form = self._forms.get(key)
        return None if form is None else self._fakes.new(*form)

    def put(self, key: Hashable, out: object, read: list[torch.Tensor]) -> None:
        """Remember what a call gave, if that is one new tensor."""
        if isinstance(out, torch.Tensor) and read and _is_plain(out):
            storage = out.untyped_storage()._cdata
            if all(t.untyped_storage()._cdata != storage for t in read):
                self._forms[key] = (out.shape, out.stride(), out.dtype)


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a fake that its form says all of: it carries no number that torch remembers beside it."""
    if type(tensor) is not FakeTensor or tensor.layout is not torch.strided:
        return False
    return tensor.fake_device.type == "cpu" and tensor.constant is None


def _form(value: object) -> Hashable:
    """A value as far as it decides forms; ``None`` where that cannot be told."""
    if isinstance(value, torch.Tensor):
        return (value.shape, value.stride(), value.dtype) if _is_plain(value) else None
    if isinstance(value, list | tuple):
        parts = tuple(map(_form, value))
        return None if None in parts else parts
    return (type(value), value) if isinstance(value, _PLAIN) else None
