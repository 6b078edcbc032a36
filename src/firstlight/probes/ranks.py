"""Statistics over the processes of a sharded model: each measures its own part of the batch, and they are put together.

``measuring`` calls it between the forward and what is made of it, so that all processes make the same of it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ..graphs.copies import is_parallel
from .groups import Thing, gathered, groups_of, mesh_of, reduced
from .observing import Seen
from .parts import Backward, Forward, Loss, Values
from .shards import is_sharded

Record = tuple[Seen, str, type[Forward] | type[Backward]]
_RECORDS: tuple[tuple[str, type[Forward] | type[Backward]], ...] = (
    ("forward", Forward),
    ("last_forward", Forward),
    ("backward", Backward),
    ("last_backward", Backward),
)
_LARGEST = ("largest",)
_ADDED = ("nonfinite", "count", "rows")
_WHOLE = ("rows", "units", "nonfinite", "count", "ranked")
APART = "processes ran different calls, so the numbers are those of one process alone, on its own part of the batch"


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes of a sharded model: those of the largest device mesh of its parameters.

    Args:
        groups: one for each axis of the mesh.
        count: how many processes; ``copies`` how many of them have the same part of the batch, which are those of the
            mesh's last axis (tensor parallelism), or all.
        device: where numbers are, to be sent.
    """

    groups: tuple[Any, ...]
    count: int
    copies: int
    device: str

    @property
    def parts(self) -> int:
        """Into how many parts the batch is cut."""
        return self.count // self.copies

    @property
    def across(self) -> tuple[Any, ...]:
        """The groups of the axes along which the batch is cut."""
        return () if self.parts == 1 else self.groups[:-1] if self.copies > 1 else self.groups


def ranks_of(model: nn.Module) -> Ranks | None:
    """The processes that a model is sharded over; ``None`` where it is not, over one alone, or over others."""
    if not is_sharded(model):
        return None
    mesh = mesh_of(model.parameters())
    if mesh is None or mesh.size() == 1:
        return None
    return Ranks(groups_of(mesh), int(mesh.size()), _copies(model, mesh), mesh.device_type)


def _copies(model: nn.Module, mesh: Any) -> int:
    """How many ranks have the same part of the batch: a tensor-parallel group, the last axis of the mesh."""
    if not any(b.__module__.startswith("torch.distributed.fsdp") for m in model.modules() for b in type(m).__mro__):
        return int(mesh.size())
    return int(mesh.size(mesh.ndim - 1)) if mesh.ndim > 1 and is_parallel(model) else 1


def over_ranks(seen: Sequence[Seen], ranks: Ranks) -> bool:
    """Put the processes' statistics in the places of one's own; ``False`` where they ran different calls.

    Means are averaged (the parts of the batch are taken as equal), counts added, the largest of the largest kept; a
    unit is dead, or constant, where it is so on all parts alike. Gradients are those of the mean of all ranks' losses,
    as the parameters' are. Cosines and effective ranks are means of the parts' own.

    Ranks of one tensor-parallel group have the same part of the batch: numbers are averaged over them too, and they
    count once.
    """
    if not _alike(seen, ranks):
        return False
    _ends(seen, ranks)
    _numbers(seen, ranks)
    return True


def _alike(seen: Sequence[Seen], ranks: Ranks) -> bool:
    calls = [(s.module, s.op, s.occurrence, [(r, len(e)) for r, e in sorted(s.ends.items())]) for s in seen]
    code = float(zlib.crc32(repr(calls).encode()))
    most, least = _sent([code, -code], ranks.groups, ranks.device, largest=True)
    return most == -least


def _ends(seen: Sequence[Seen], ranks: Ranks) -> None:
    """Shares of dead and of constant units, from the least and the largest value of each over all parts."""
    held = [(s, record, ends) for s in seen for record, ends in s.ends.items()]
    if not (held and ranks.across):
        return
    packed = torch.cat([ends.double().flatten() for _, _, ends in held])
    reduced(packed, ranks.across, largest=True)
    pieces = torch.split(packed, [ends.numel() for _, _, ends in held])
    for (place, record, _), ends in zip(held, pieces, strict=True):
        least, most = -ends[: len(ends) // 2], ends[len(ends) // 2 :]
        still = least == most
        known = getattr(place, record)
        if known is not None:
            dead, constant = float((still & (least == 0)).double().mean()), float(still.double().mean())
            setattr(place, record, replace(known, dead=dead, constant=constant))


def _numbers(seen: Sequence[Seen], ranks: Ranks) -> None:
    """Every number of every record, in two messages: a process may lack some."""
    records: list[Record] = [(s, name, kind) for s in seen for name, kind in _RECORDS]
    values = [value for record in records for value in _values(record)]
    own = [0.0 if v is None else float(v) for v in values]
    there = [float(v is not None) for v in values]
    sums = _sent([*own, *there], ranks.groups, ranks.device)
    lowest = [-math.inf if v is None else float(v) for v in values]
    most = _sent(lowest, ranks.groups, ranks.device, largest=True)
    numbers = iter(zip(sums[: len(own)], sums[len(own) :], most, strict=True))
    for place, name, kind in records:
        setattr(place, name, _record(kind, numbers, ranks))


def _values(record: Record) -> list[float | None]:
    place, name, kind = record
    known = getattr(place, name)
    return [None if known is None else getattr(known, f.name) for f in fields(kind)]


def _record(
    kind: type[Forward] | type[Backward], numbers: Iterator[tuple[float, float, float]], ranks: Ranks
) -> Forward | Backward | None:
    found: dict[str, Any] = {}
    for f in fields(kind):
        total, count, most = next(numbers)
        one = None if not count else most if f.name in _LARGEST else total / count
        if f.name in _ADDED:
            one = total / ranks.copies
        if kind is Backward and one is not None and f.name in ("mean", "mean_abs", "second"):
            one /= ranks.parts ** (2 if f.name == "second" else 1)
        found[f.name] = round(one) if f.name in _WHOLE and one is not None else one
    return None if found["second"] is None else kind(**found)


def _sent(values: Sequence[float], groups: Sequence[Any], device: str, *, largest: bool = False) -> list[float]:
    """The sums over all processes, or the largest."""
    packed = torch.tensor(values, dtype=torch.float64, device=device)
    found: list[float] = reduced(packed, groups, largest=largest).tolist()
    return found


def from_all(own: Thing, ranks: Ranks) -> list[Thing]:
    """Everyone's, in the same order everywhere."""
    return gathered(own, ranks.groups)


def from_first(own: Thing, ranks: Ranks) -> Thing:
    """The first process's, everywhere; tensors in it are on the CPU."""
    found: list[Any] = [pytree.tree_map_only(torch.Tensor, lambda t: t.detach().cpu(), own)]
    for group in ranks.groups:
        torch.distributed.broadcast_object_list(found, group=group, group_src=0)
    return found[0]  # type: ignore[no-any-return]


def mean_loss(losses: Sequence[Loss]) -> Loss:
    """One record of equal parts' losses: their mean, beside what the theory says of all targets and outputs."""
    first = losses[0]
    shares = tuple(map(_mean, zip(*(one.class_shares for one in losses), strict=False)))
    trivial = _mean_of(losses, lambda one: one.trivial)
    if shares and all(_is_entropy(one) for one in losses):
        trivial = _entropy(shares)
    formulas = {one.formula for one in losses}
    return replace(
        first,
        value=_mean([one.value for one in losses]),
        formula=first.formula if len(formulas) == 1 else first.formula.split(",")[0],  # each part has its own s²
        expected=_mean_of(losses, lambda one: one.expected),
        trivial=trivial,
        predictions=_joined([one.predictions for one in losses]),
        targets=_joined([one.targets for one in losses]),
        class_shares=shares,
        called=_mean_of(losses, lambda one: one.called),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _mean_of(losses: Sequence[Loss], read: Callable[[Loss], float | None]) -> float | None:
    found = [v for v in map(read, losses) if v is not None]
    return _mean(found) if len(found) == len(losses) else None


def _entropy(shares: Sequence[float]) -> float:
    return -math.fsum(p * math.log(p) for p in shares if p > 0)


def _is_entropy(loss: Loss) -> bool:
    """Whether the best constant prediction's loss is the entropy of the classes, and not a sum over the batch."""
    return loss.trivial is not None and math.isclose(loss.trivial, _entropy(loss.class_shares), abs_tol=1e-6)


def _joined(values: Sequence[Values | None]) -> Values | None:
    """Moments and range of equal parts together."""
    known = [v for v in values if v is not None]
    if not known:
        return None
    mean = _mean([v.mean for v in known])
    square = _mean([v.std**2 + (v.mean - mean) ** 2 for v in known])
    return replace(
        known[0],
        mean=mean,
        std=math.sqrt(square),
        smallest=min(v.smallest for v in known),
        largest=max(v.largest for v in known),
        nonfinite=sum(v.nonfinite for v in known),
        rows_sum_to_one=all(v.rows_sum_to_one for v in known),
    )
