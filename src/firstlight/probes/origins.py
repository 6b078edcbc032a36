"""The first value that is not finite, and the call that made it: a second look, only where something was not finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..graphs import slots
from ..graphs.callnames import call_name
from ..graphs.known import tensors_in
from ..graphs.ops import FORM
from .following import Follower
from .parts import Origin, Place
from .sums import count_nonfinite


class FoundError(Exception):
    """Stops the second forward at the call that made the first value that is not finite."""


class Finder(TorchFunctionMode):
    """Looks at every call's outputs until one is not finite where all that it read was: that call is ``found``.

    ``calls`` counts them up to that one.
    Of a distributed tensor this process looks at its own part, so that it waits for no other.
    """

    def __init__(self, follower: Follower, *, stops: bool = True) -> None:
        """Nothing found; ``stops`` where the forward need not go on behind it."""
        super().__init__()
        self.found: Origin | None = None
        self.calls = 0
        self._follower, self._stops = follower, stops

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        op = call_name(func)
        if op in FORM or self.found is not None:
            return func(*args, **kwargs)
        self.calls += 1
        read = [_own(t) for t in tensors_in((args, kwargs)) if t.is_floating_point() and not t.is_meta]
        clean = all(not count_nonfinite(t) for t in read)
        ranges = _ranges(read) if clean else ""
        known = clean or not any(bool(torch.isnan(t.detach()).any()) for t in read)
        out = func(*args, **kwargs)
        made = [_own(t) for t in tensors_in(out)]
        bad = next((t for t in made if count_nonfinite(t)), None) if clean and read else None
        if not clean and known:  # minus infinity may be a mask; a NaN made of it is none
            bad = next((t for t in made if t.is_floating_point() and _value(t) == "nan"), None)
        # A mask of minus infinity is meant so: a fill is no fault.
        if bad is not None and op not in ("masked_fill", "where", "full", "full_like", "triu", "tril", "log_softmax"):
            self.found = Origin("forward", self._follower.here.path, op, value=_value(bad), given=ranges)
            if self._stops:
                raise FoundError
        return out


def of_held(model: nn.Module) -> Origin | None:
    """The first parameter or buffer that holds a value that is not finite."""
    for slot in slots(model):
        tensor = slot.tensor
        if tensor.is_floating_point() and not tensor.is_meta and count_nonfinite(tensor):
            return Origin("parameter", slot.module, slot.local_name, slot.name, value=_value(tensor))
    return None


def of_gradients(places: Sequence[Place]) -> Origin | None:
    """The place nearest to the loss whose gradient is not finite."""
    for place in reversed(places):
        if place.backward is not None and place.backward.nonfinite:
            return Origin("backward", place.module, place.op, place.weight, place.index, value="nan")
    return None


def _own(tensor: torch.Tensor) -> torch.Tensor:
    local = getattr(tensor, "to_local", None)
    return tensor if local is None else local()


def _value(tensor: torch.Tensor) -> str:
    return "nan" if bool(torch.isnan(tensor.detach()).any()) else "inf"


def _ranges(tensors: Sequence[torch.Tensor]) -> str:
    shown = []
    for tensor in tensors[:3]:
        if tensor.numel():
            low, high = tensor.detach().aminmax()
            shown.append(f"{tuple(tensor.shape)} from {float(low):.4g} to {float(high):.4g}")
    return "; ".join(shown)
