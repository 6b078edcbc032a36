"""Where a predicted gradient starts: the loss of outputs that are drawn as they will be, or a projection of them.

``predicting`` asks once it knows the outputs' statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ..errors import ArgumentError
from ..graphs import Tape
from ..graphs.callnames import call_name
from ..graphs.tape import Ref
from ..moments import Propagation, Signal, measured
from ..moments.sampling import drawn, simulated
from .losses import LOSSES, LossCall, loss_record, read_loss
from .parts import Loss, LossFunction
from .running import loss_of

_LARGEST = 1 << 25
_TARGETS = "targets on the meta device have no values: classes were drawn evenly, real numbers from N(0, 1)"


@dataclass(frozen=True, slots=True)
class Start:
    """The gradients to the tape's outputs, the loss that they are of (``None`` for a projection), notes, and E|g|.

    ``sizes`` holds E|g| by node, where the gradient was drawn: a loss makes no Gaussian one.
    """

    gradients: Mapping[tuple[int, int], Signal]
    loss: Loss | None
    notes: tuple[str, ...] = ()
    sizes: Mapping[int, float] = field(default_factory=dict)


class _Losses(TorchFunctionMode):
    """Hears which loss is called, and on what."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[LossCall] = []

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        op = call_name(func)
        if op in LOSSES:
            self.calls.append(read_loss(op, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def start_of(tape: Tape, forward: Propagation, targets: Any, loss_fn: LossFunction | None, batch: int) -> Start:
    """The gradients with which the way back starts.

    Args:
        tape: what the forward does.
        forward: the predicted statistics of its values.
        targets, loss_fn: as ``measure`` takes them.
        batch: samples in the batch.

    Raises:
        ArgumentError: the loss does not fit the outputs.
    """
    outputs = [r for r in tape.outputs if tape.is_real(r)]
    if not outputs:
        return Start({}, None)
    first = outputs[0]
    if targets is None and loss_fn is None and not first.shape:
        op = tape[first.node].op
        loss = Loss(forward.of(first).mean, op if op in LOSSES else "")
        return Start({(first.node, first.output): Signal(1.0)}, loss)
    if targets is None and loss_fn is None:
        return _projection(first, batch)
    if math.prod(first.shape) > _LARGEST:
        return _projection(first, batch, "the outputs are too many to be drawn for the loss")
    try:
        made = simulated(tape, first, forward.of, forward.known_value)
    except ArithmeticError:
        try:
            made = drawn(forward.of(first), first.shape, torch.Generator().manual_seed(0))
        except ArithmeticError:
            return _projection(first, batch, "the outputs are too large to be drawn for the loss")
    made = made.float().requires_grad_()
    values, notes = _with_values(targets, made)
    if len(outputs) > 1 and loss_fn is not None:
        return _projection(first, batch, "loss_fn reads one of several outputs, and which is not known before it runs")
    with _Losses() as heard, torch.enable_grad(), torch.random.fork_rng(devices=[]):
        value, _ = loss_of(made, values, loss_fn, batch)
    if not value.requires_grad:
        return Start({}, loss_record(float(value), heard.calls), notes)
    (gradient,) = torch.autograd.grad(value, made)
    return Start(
        {(first.node, first.output): measured(gradient)},
        loss_record(float(value.detach()), heard.calls),
        notes,
        {first.node: float(gradient.abs().mean())},
    )


def _projection(first: Ref, batch: int, why: str = "") -> Start:
    """⟨y, v⟩ / N with v ~ N(0, 1)."""
    notes = (f"{why}: gradients of a random projection of the outputs",) if why else ()
    return Start({(first.node, first.output): Signal(0.0, 1 / max(batch, 1) ** 2)}, None, notes)


def _with_values(targets: Any, outputs: torch.Tensor) -> tuple[Any, tuple[str, ...]]:
    """Targets with values, where they are a tensor on the meta device."""
    if not (isinstance(targets, torch.Tensor) and targets.is_meta):
        return targets, ()
    generator = torch.Generator().manual_seed(1)
    if targets.is_floating_point():
        return torch.randn(targets.shape, generator=generator), (_TARGETS,)
    if outputs.dim() != targets.dim() + 1:
        raise ArgumentError(
            f"targets of shape {tuple(targets.shape)} on the meta device beside outputs of {tuple(outputs.shape)}: "
            "class numbers need outputs of one more axis"
        )
    last = targets.dim() > 1 and outputs.shape[:-1] == targets.shape
    classes = outputs.shape[-1 if last else 1]
    return torch.randint(classes, targets.shape, generator=generator), (_TARGETS,)
