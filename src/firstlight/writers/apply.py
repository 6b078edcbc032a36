"""The only code that writes a parameter: a plan's decisions into a model's tensors.

``resolve`` has checked everything by then; constants, files and matrices are copied in, everything elementwise goes
to the random field as one job list.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..errors import ParameterError
from ..fields import FORMAT, Job, fill_many_
from ..initializers.draws import Built, Fill, Sampled, Segments
from ..plans import Plan
from .receipt import Receipt, Written, record
from .resolve import Write, checked_seed, resolve


@torch.no_grad()
def apply_(model: nn.Module, plan: Plan, seed: int = 0, *, digests: bool = True) -> Receipt:
    """Write a plan into a model, all or nothing, and say what was written.

    Everything that can be wrong with the plan is found before the first write.

    Args:
        model: the model the plan was made from.
        plan: one decision for each parameter.
        seed: 0 to 2⁶⁴ - 1; with a parameter's name and an element's index it decides each value alone.
        digests: whether the receipt hashes every tensor (about a second per billion bytes on two cores).

    Returns:
        The receipt, every parameter and statistic once.

    Raises:
        FirstlightError: what ``resolve`` finds; the model is unchanged then.
    """
    writes = resolve(model, plan, seed)
    # What may need memory comes first, so that running out of it finds the model as it was or nearly so.
    for write in writes:
        if isinstance(write.draw, Built):
            write.tensor.copy_(_built(write, write.draw))
    fill_many_(
        [Job(w.tensor, w.draw.transform, w.key) for w in writes if isinstance(w.draw, Sampled)],
    )
    for write in writes:
        _write_constants(write)
    written = [w for w in writes if w.draw is not None]
    kept = [w for w in writes if w.draw is None]
    return Receipt(
        scheme=plan.scheme,
        seed=checked_seed(seed),
        field_format=FORMAT,
        written=_records(written, digests),
        kept=_records([w for w in kept if not w.tensor.is_meta], digests),
    )


def _built(write: Write, draw: Built) -> torch.Tensor:
    values = draw.build(write.key, write.tensor.device)
    if values.shape != write.tensor.shape:
        raise ParameterError(
            f"{write.entry.decision!r} gave the shape {tuple(values.shape)} for {write.entry.parameter.name!r} "
            f"{tuple(write.tensor.shape)}"
        )
    return values


def _write_constants(write: Write) -> None:
    match write.draw:
        case Fill(value):
            write.tensor.fill_(value)
        case Segments(values) if values:
            for part, value in zip(write.tensor.chunk(len(values)), values, strict=True):
                part.fill_(value)
        case _:
            pass
    zero_row = write.entry.parameter.declared.zero_row
    if write.draw is not None and zero_row is not None:
        write.tensor[zero_row].zero_()


def _records(writes: Sequence[Write], digests: bool) -> tuple[Written, ...]:
    return record(
        ((w.entry, w.tensor, w.key.stream if _is_random(w) else None) for w in writes),
        digests,
    )


def _is_random(write: Write) -> bool:
    return isinstance(write.draw, Sampled) or (isinstance(write.draw, Built) and write.draw.random)
