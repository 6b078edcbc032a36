"""One forward and one backward of the user's model, under watch; what goes wrong in them becomes a firstlight error.

``measuring`` calls it inside ``untouched``.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import _engine_run_backward
from torch.utils import _pytree as pytree

from ..errors import ArgumentError, FirstlightError, ModelError
from ..graphs.known import tensors_in
from ..graphs.plainly import as_written
from .following import Follower, first_tensor
from .losses import endless, residual, reward
from .observing import Observer
from .parts import LossFunction
from .statistics import Limits
from .weighing import trainable

_PROJECTION = 0x5EED_1164_7000  # nobody's own seed: inputs drawn with it would be the projection itself


@dataclass(frozen=True, slots=True)
class Call:
    """How the model is called: positional and keyword arguments, and the number of samples in them."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def batch(self) -> int:
        """How many samples: the length of the first tensor that has one."""
        return next((t.shape[0] for t in tensors_in((self.args, self.kwargs)) if t.dim()), 0)

    def on(self, model: nn.Module) -> Any:
        """What the model gives."""
        return model(*self.args, **self.kwargs)


@dataclass(frozen=True, slots=True)
class Ran:
    """A forward and a backward: what was seen, the loss (``None`` for a projection), the gradients by parameter."""

    observer: Observer
    value: float | None
    gradients: Mapping[int, torch.Tensor | None] | None


def call_of(inputs: object) -> Call:
    """The call that example inputs write.

    Raises:
        ArgumentError: they are no tensor, tuple or dict.
    """
    own = pytree.tree_map_only(torch.Tensor, _own, inputs)
    if isinstance(own, torch.Tensor):
        return Call((own,), {})
    if isinstance(own, tuple):
        return Call(own, {})
    if isinstance(own, Mapping):
        return Call((), dict(own))
    raise ArgumentError(
        f"inputs of type {type(inputs).__name__}: give what the model is called with, as a tensor, a tuple of "
        "positional or a dict of keyword arguments"
    )


def _own(tensor: torch.Tensor) -> torch.Tensor:
    """Off the user's graph, and usable by autograd where it was made in inference mode."""
    if tensor.is_inference():
        return tensor.clone()
    own = tensor.detach()
    # A reentrant checkpoint passes gradients on only where its input asks for one.
    return own.requires_grad_(tensor.requires_grad)


@contextmanager
def plainly() -> Iterator[None]:
    """Gradients on, fused inference kernels and compiled code off: each call is made as it is written."""
    with torch.inference_mode(False), torch.enable_grad(), as_written(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using `torch.compile.module.` when there are global hooks")
        yield


def run_watched(
    model: nn.Module, call: Call, targets: Any, loss_fn: LossFunction | None, limits: Limits, *, whole: bool
) -> Ran:
    """Run the model and its loss forward and backward, and watch it.

    Args:
        model: as it stands.
        call: what it is called with.
        targets, loss_fn: what gives the loss; without them a projection of the outputs does.
        limits: how much of each value is looked at.
        whole: whether the backward pass is the whole one, into ``.grad``, as sharded models need it. It also is where
            weights ran without a graph: a reentrant checkpoint makes theirs on the way back.

    Raises:
        ModelError: the forward or the backward raised.
        ArgumentError: the loss does not fit.
    """
    follower = Follower(model)
    observer = Observer(model, follower, call.batch, limits, sharded=whole)
    shards = trainable(model) if whole else []  # before the forward, since others stand in their places behind it
    with observer, follower.followed(observer.left):
        observer.put_inputs((call.args, call.kwargs))
        try:
            out = call.on(model)
        except FirstlightError:
            raise
        except Exception as error:
            raise ModelError(_forward_message(follower, error)) from error
        observer.put_output(out)
        loss, projected = loss_of(out, targets, loss_fn, call.batch)
        value = None if projected else float(loss.detach())
        if value is not None and loss_fn is not None and not observer.found.losses and not whole:
            with observer.aside():
                by_hand = (
                    residual(loss_fn, out, targets, value)
                    or reward(loss_fn, out, targets)
                    or endless(loss_fn, out, targets)
                )
            observer.found.losses += [by_hand] if by_hand else []
        wanted = shards if whole else trainable(model)
        if not (loss.requires_grad and wanted):
            observer.settle()
            return Ran(observer, value, None if projected and not wanted else {})
        observer.again = True
        follower.restart()
        try:
            gradients = _whole(loss, wanted) if whole or observer.hidden else _asked(loss, wanted)
        except Exception as error:
            raise ModelError(
                f"the backward pass raised {type(error).__name__}: {str(error).rstrip('. ')}. The model is as it was."
            ) from error
        observer.settle()
    return Ran(observer, value, gradients)


def _asked(loss: torch.Tensor, wanted: Sequence[nn.Parameter]) -> dict[int, torch.Tensor | None]:
    """By autograd.grad: nothing is accumulated, and no optimizer that waits for gradients is woken."""
    found = torch.autograd.grad(loss, wanted, allow_unused=True)
    return {id(p): g for p, g in zip(wanted, found, strict=True)}


def _whole(loss: torch.Tensor, wanted: Sequence[nn.Parameter]) -> dict[int, torch.Tensor | None]:
    waiting: list[tuple[Any, Any]] = [(p, getattr(p, "_post_accumulate_grad_hooks", None)) for p in wanted]
    for parameter, hooks in waiting:
        parameter.grad = None
        if hooks:
            parameter._post_accumulate_grad_hooks = None
    try:
        # Not loss.backward(): that is a call of its own, and the observer would not see what runs within it.
        _engine_run_backward(
            (loss,), (torch.ones_like(loss),), False, False, (), allow_unreachable=True, accumulate_grad=True
        )
        return {id(p): p.grad for p in wanted}
    finally:
        for parameter, hooks in waiting:
            if hooks:
                parameter._post_accumulate_grad_hooks = hooks


def loss_of(out: Any, targets: Any, loss_fn: LossFunction | None, batch: int) -> tuple[torch.Tensor, bool]:
    """The loss, or a projection of the outputs, and whether it is one."""
    if loss_fn is None and targets is None:
        own = out.get("loss") if isinstance(out, Mapping) else getattr(out, "loss", None)
        if isinstance(own, torch.Tensor) and own.numel() == 1:
            return own.reshape(()), False
        return _projected(out, batch), True
    try:
        if loss_fn is not None:
            loss = loss_fn(out) if targets is None else loss_fn(out, targets)
        else:
            loss = _usual(out, targets)
    except FirstlightError:
        raise
    except Exception as error:
        called = "the loss" if loss_fn is None else f"loss_fn ({_name(loss_fn)})"
        raise ArgumentError(
            f"{called} raised {type(error).__name__}: {str(error).rstrip('. ')}. It was called with outputs "
            f"{_shown(out)} and targets {_shown(targets)}: give targets and a loss that fit the model's outputs."
        ) from error
    if not isinstance(loss, torch.Tensor):
        raise ArgumentError(f"loss_fn ({_name(loss_fn)}) gave {type(loss).__name__}, where a scalar tensor is expected")
    if loss.numel() != 1:
        raise ArgumentError(
            f"loss_fn ({_name(loss_fn)}) gave a tensor of shape {tuple(loss.shape)}, where a scalar is expected: take "
            "its mean (reduction='mean')"
        )
    if loss.is_complex() or not loss.is_floating_point():
        raise ArgumentError(f"loss_fn ({_name(loss_fn)}) gave {loss.dtype}, where a real number is expected")
    return loss.reshape(()), False


def _usual(out: Any, targets: Any) -> torch.Tensor:
    """Cross-entropy for whole numbers, squared error for real ones of the outputs' shape."""
    tensor = first_tensor(getattr(out, "logits", out))
    if not (isinstance(targets, torch.Tensor) and tensor is not None):
        raise ArgumentError(
            f"targets {_shown(targets)} and outputs {_shown(out)}: without loss_fn= give a tensor of targets for a "
            "model that gives one"
        )
    if not targets.is_floating_point() and targets.dtype is not torch.bool and tensor.dim() == targets.dim() + 1:
        last = targets.dim() > 1 and tensor.shape[:-1] == targets.shape
        logits = tensor.flatten(0, -2) if last else tensor
        return nn.functional.cross_entropy(logits, targets.flatten() if last else targets)
    if targets.is_floating_point() and targets.shape == tensor.shape:
        return nn.functional.mse_loss(tensor, targets)
    raise ArgumentError(
        f"outputs {_shown(tensor)} and targets {_shown(targets)}: without loss_fn= targets are class numbers of shape "
        f"{tuple(tensor.shape[:1])} (cross-entropy) or real numbers of the outputs' shape (squared error)"
    )


def _projected(out: Any, batch: int) -> torch.Tensor:
    """⟨y, v⟩ / N with v ~ N(0, 1): gradients of outputs of unit variance, as of a mean over N samples."""
    tensors = [t for t in tensors_in(out) if t.is_floating_point()]
    if not tensors:
        raise ModelError(f"the model gave {_shown(out)}: no tensor of floating point numbers to measure")
    generator = torch.Generator().manual_seed(_PROJECTION)
    wanted = [t for t in tensors if t.requires_grad][:1] or tensors[:1]
    parts = [(t.float() * torch.randn(t.shape, generator=generator).to(t.device)).sum() for t in wanted]
    return torch.stack(parts).sum() / max(batch, 1)


def _forward_message(follower: Follower, error: Exception) -> str:
    said = f"{type(error).__name__}: {str(error).rstrip('. ')}"
    hook = _hook_behind(error)
    if hook:
        return f"{hook} raised {said}. Remove it or mend it, then probe again; the model is as it was."
    return (
        f"the forward raised in {follower.deepest()}: {said}. "
        "Give inputs as the model is called; the model is as it was."
    )


def _hook_behind(error: Exception) -> str:
    """The hook that an error came from, and its module, in words; "" where it came from none."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for caller, frame in reversed(list(pairwise(frames))):
        module = caller.f_locals.get("self")
        if caller.f_code.co_name in ("_call_impl", "inner") and isinstance(module, nn.Module):
            name = frame.f_code.co_name
            inside = name in ("forward", "_slow_forward", "_call_impl", "inner") or frame.f_locals.get("self") is module
            return "" if inside else f"the hook {name!r} on a {type(module).__name__}"
    return ""


def _name(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _shown(value: object) -> str:
    """Tensors by dtype and shape, anything else by its class."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    inside = tensors_in(value)
    named = ", ".join(_shown(t) for t in inside[:4])
    return f"{type(value).__name__} ({named})" if inside else type(value).__name__
