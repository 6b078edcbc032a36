"""The only code that writes a parameter: a plan's decisions into a model's tensors.

``resolve`` has checked everything by then; constants, files and matrices are copied in, everything elementwise goes
to the random field as one job list. Of a sharded parameter each rank writes its own block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import ParameterError
from ..fields import FORMAT, Job, fill_many_
from ..initializers.draws import Built, Draw, Fill, Sampled, Segments
from ..plans import Plan
from ..transfers import Loaded
from ..transfers.sources.values import copy_many_
from .assigning import assign, assignable
from .materials import checked_device, install, made, resharded
from .placements import Held, held
from .receipt import Receipt, Written, record
from .resolve import Write, checked_seed, resolve
from .undo import undoing


@torch.no_grad()
def apply_(
    model: nn.Module, plan: Plan, seed: int = 0, *, device: str | torch.device | None = None, digests: bool = True
) -> Receipt:
    """Write a plan into a model, all or nothing, and say what was written.

    Everything that can be wrong with the plan is found before the first write.

    A sharded model (DTensor: FSDP2, tensor parallel, both) gets bit for bit the values that one process would write
    into the whole one: each rank writes its own block, from the elements' places in the whole tensor, and what is drawn
    element by element costs time and memory in proportion to the block. Orthogonal, sparse and other matrices that no
    element decides alone, and modules' own ``reset_parameters``, are built whole on each rank, one after the other,
    and cut. All ranks call it alike: a few numbers of each tensor go round for the receipt.

    Args:
        model: the model the plan was made from.
        plan: one decision for each parameter.
        seed: 0 to 2⁶⁴ - 1; with a parameter's name and an element's index it decides each value alone.
        device: where parameters that are on the meta device are made, shards too; ties stay ties, and what has memory
            already stays. ``None``: they are refused.
        digests: whether the receipt sums up every tensor's bits (about a second per billion bytes on one core).

    Returns:
        The receipt, every parameter and statistic once.

    Raises:
        UnsupportedParameterError: buffers on the meta device, which no plan can give values; a parameter that takes
            none, or is sharded in a way that cannot be read.
        FirstlightError: what else ``resolve`` finds; the model is unchanged then.
    """
    targets = carry_out(model, plan, seed, checked_device(device))
    written = [t for t in targets if t.write.draw is not None]
    kept = [t for t in targets if t.write.draw is None and not t.write.tensor.is_meta]
    records = _records([*written, *kept], digests)
    return Receipt(
        scheme=plan.scheme,
        seed=checked_seed(seed),
        field_format=FORMAT,
        written=records[: len(written)],
        kept=records[len(written) :],
    )


@dataclass(frozen=True, slots=True)
class Target:
    """A write, and the memory of this process that it goes to."""

    write: Write
    held: Held


@torch.no_grad()
def carry_out(
    model: nn.Module,
    plan: Plan,
    seed: int,
    device: torch.device | None,
    *,
    undo: bool = False,
    mapped: bool = False,
) -> list[Target]:
    """Write a plan into a model, without a receipt; what was written, in the plan's order.

    Args:
        model, plan, seed, device: as ``apply_`` takes them.
        undo: whether a failure or an interrupt half-way puts the old values back (``undoing``).
        mapped: whether parameters take a file's memory where they can (``assignable``); those are not in the result.
    """
    resharded(model)
    writes = resolve(model, plan, seed, device)
    kept = assignable(writes, device) if mapped else {}
    writes = tuple(w for w in writes if id(w.tensor) not in kept)
    drawn = [(w.entry.parameter.name, w.tensor) for w in writes if w.draw is not None]
    fresh = {} if device is None else made(drawn, device)
    targets = [Target(w, held(w.entry.parameter.name, fresh.get(id(w.tensor), w.tensor))) for w in writes]
    mine = [t for t in targets if t.held.member]
    # What is made beside the model needs no undoing.
    with undoing([t.held.local for t in mine if t.write.draw is not None and not t.write.tensor.is_meta], undo):
        _write_all(mine)
    install(model, fresh)
    assign(model, kept)
    return targets


def _write_all(mine: Sequence[Target]) -> None:
    """All writes of this process."""
    # What may need memory comes first, so that running out of it finds the model as it was or nearly so.
    copy_many_((t.held.local, _built(t, t.write.draw)) for t in mine if isinstance(t.write.draw, Built))
    fill_many_(
        [
            Job(t.held.local, t.write.draw.transform, t.write.key, box=t.held.box)
            for t in mine
            if isinstance(t.write.draw, Sampled)
        ]
    )
    for target in mine:
        entry = target.write.entry
        if target.write.draw is not None:
            # A padding entry starts at zero; weights from elsewhere are taken as they are.
            zero_row = None if isinstance(entry.decision, Loaded) else entry.parameter.declared.zero_row
            _write_constants(target.held, target.write.draw, zero_row)


def _built(target: Target, draw: Built) -> torch.Tensor:
    write, box = target.write, target.held.box
    values = draw.build(write.key, target.held.local.device) if box.is_whole else None
    if values is None:
        values = draw.block(write.key, target.held.local.device, box.slices)
    if tuple(values.shape) != box.size:
        raise ParameterError(
            f"{write.entry.decision!r} gave the shape {tuple(values.shape)} for {box.size} of "
            f"{write.entry.parameter.name!r} {box.shape}"
        )
    return values


def _write_constants(held: Held, draw: Draw, zero_row: int | None) -> None:
    local, box = held.local, held.box
    match draw:
        case Fill(value):
            local.fill_(value)
        case Segments(values) if values:
            length = box.shape[0] // len(values)
            for i, value in enumerate(values):
                _rows(held, i * length, length).fill_(value)
        case _:
            pass
    if zero_row is not None:
        _rows(held, zero_row, 1).zero_()


def _rows(held: Held, first: int, count: int) -> torch.Tensor:
    """Of ``count`` indices of the whole tensor's axis 0, those that are here."""
    start = held.box.start[0]
    low, high = (min(max(i - start, 0), held.box.size[0]) for i in (first, first + count))
    return held.local[low:high]


def _records(targets: Sequence[Target], digests: bool) -> tuple[Written, ...]:
    return record(
        [(t.write.entry, t.held, t.write.key.stream if _is_random(t.write) else None) for t in targets], digests
    )


def _is_random(write: Write) -> bool:
    return isinstance(write.draw, Sampled) or (isinstance(write.draw, Built) and write.draw.random)
