"""The first operation that makes NaN or Inf: the model is run again on its last inputs, each operation looked at.

Costs nothing until a loss is not finite. The rerun draws its own random numbers and puts buffers back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..graphs.names import unwrapped
from .watch_model import canonical
from .watch_ranks import Ranks


@dataclass(frozen=True, slots=True)
class Where:
    """Where numbers stop being finite.

    Args:
        kind: "inputs", "parameter", "forward", or "loss" where the model's outputs are finite.
        module: the module's path; the parameter's name for "parameter".
        op: the operation, as torch calls it.
        given: the range of what it was given.
    """

    kind: str
    module: str = ""
    op: str = ""
    given: str = ""


class _Watcher(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the first operation whose output is not finite while its inputs are."""

    def __init__(self, stack: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stack = stack
        self.found: Where | None = None
        self.calls = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self.calls += self.found is None
        # What reads no number (an empty buffer, a mask of minus infinity) makes none that is lost.
        if self.found is None and not _finite(out) and _floats((args, kwargs)) and _finite((args, kwargs)):
            op = func.name().split("::")[-1].split(".")[0].strip("_")
            path = self.stack[-1] if self.stack else ""
            self.found = Where("forward", path, op, _range((args, kwargs)))
        return out


def origin(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, ranks: Ranks | None = None
) -> Where | None:
    """Where the forward of ``model(*args, **kwargs)`` stops being finite.

    The ranks of a sharded model all look, and run it to its end, each on its inputs; the first thing that any of them
    found is what all give.

    Returns:
        ``None`` where the rerun fails; the kind is "loss" where the outputs are finite.
    """
    model = unwrapped(model)
    at_hand = _at_hand(model, args, kwargs)
    if ranks is None:
        return at_hand or _rerun(model, args, kwargs)[1]
    calls, where = _rerun(model, args, kwargs)
    found = [((_ORDER.index(w.kind), n), w) for n, w in ranks.from_all((calls, at_hand or where)) if w is not None]
    return min(found, key=lambda one: one[0])[1] if found else None


_ORDER = ("inputs", "parameter", "forward", "loss")


def _at_hand(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Where | None:
    """Inputs or parameters that are not finite."""
    if not _finite((args, dict(kwargs))):
        return Where("inputs", given=_range((args, dict(kwargs))))
    for name, parameter in model.named_parameters():
        if not _finite(parameter):
            return Where("parameter", canonical(model, name))
    return None


def _rerun(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[int, Where | None]:
    """The first operation that made a value that is not finite, and the number of operations up to it."""
    stack: list[str] = []

    def enter(path: str) -> Callable[..., None]:
        return lambda *_: stack.append(path)

    def leave(*_: object) -> None:
        if stack:
            stack.pop()

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(enter(canonical(model, name))))
        handles.append(module.register_forward_hook(leave, always_call=True))
    buffers = [(b, b.clone()) for b in model.buffers()]
    watcher = _Watcher(stack)
    devices = sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
    try:
        with (
            torch.no_grad(),
            torch.random.fork_rng(devices=devices),
            torch.compiler.set_stance("force_eager"),
            watcher,
        ):
            model(*args, **kwargs)
    except Exception:  # whatever the model raises on numbers that are not finite
        return watcher.calls, watcher.found
    finally:
        for handle in handles:
            handle.remove()
        with torch.no_grad():
            for buffer, kept in buffers:
                buffer.copy_(kept)
    return watcher.calls, watcher.found or Where("loss")


def _floats(values: Any) -> list[torch.Tensor]:
    """The tensors of real numbers; of distributed ones what is here, so that no rank waits for another."""
    found = [_local(v) for v in tree_leaves(values) if isinstance(v, torch.Tensor) and v.is_floating_point()]
    return [v for v in found if v.numel()]


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _finite(values: Any) -> bool:
    return all(bool(torch.isfinite(v.detach()).all()) for v in _floats(values))


def _range(values: Any) -> str:
    """The range of the first float tensor, in words."""
    tensors = _floats(values)
    if not tensors:
        return ""
    tensor = tensors[0].detach().float()
    finite = tensor[torch.isfinite(tensor)]
    if not finite.numel():
        return "no finite value"
    return f"{float(finite.min()):.3g} to {float(finite.max()):.3g}"
