"""Parameters that take a file's mapped memory as their own: a load that copies nothing.

``carry_out`` asks which of a plan's loaded values can stand as they are, leaves those out of what it writes, and puts
them in place at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from ..graphs import slots
from ..initializers.draws import Built
from ..transfers import Loaded
from .placements import is_distributed
from .resolve import Write


def assignable(writes: Iterable[Write], device: torch.device | None) -> dict[int, torch.Tensor]:
    """The values that may become a tensor's memory, by the tensor's id.

    That is: one tensor of a file, unchanged, of the parameter's dtype and order in memory, for the CPU. What two
    parameters would share is left out, for they would be tied.

    Args:
        writes: all of a plan's.
        device: where tensors on meta are made.
    """
    found: dict[int, torch.Tensor] = {}
    taken: set[int] = set()
    for write in writes:
        if not isinstance(write.draw, Built) or not _is_of_a_file(write):
            continue
        tensor = write.tensor
        where = device if tensor.is_meta else tensor.device
        if where is None or where.type != "cpu" or is_distributed(tensor) or not tensor.is_contiguous():
            continue
        if type(tensor) not in (torch.Tensor, nn.Parameter):
            continue
        values = write.draw.build(write.key, where)
        memory = values.untyped_storage().data_ptr()
        if values.dtype != tensor.dtype or not values.is_contiguous() or not values.numel() or memory in taken:
            continue
        taken.add(memory)
        found[id(tensor)] = values
    return found


def _is_of_a_file(write: Write) -> bool:
    """Whether the values are one tensor of a file, whose memory no one else has."""
    decision = write.entry.decision
    if not isinstance(decision, Loaded) or not decision.is_plain or write.entry.parameter.declared.zero_row is not None:
        return False
    return bool(decision.source.tensors[decision.match.pieces[0].tensor].place)


def assign(model: nn.Module, values: Mapping[int, torch.Tensor]) -> None:
    """Put values in the places of a model's tensors; a parameter with memory stays the object that it was."""
    made: dict[int, torch.Tensor] = {}
    for place in list(slots(model)):
        old = place.tensor
        new = values.get(id(old))
        if new is None:
            continue
        if not old.is_meta:
            old.data = new
            continue
        if id(old) not in made:
            made[id(old)] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
            made[id(old)].__dict__.update(old.__dict__)
        setattr(place.owner, place.local_name, made[id(old)])
