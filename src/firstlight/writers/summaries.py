"""Tensors in a few numbers each: moments, digests and faults, put together over the ranks that hold them.

Each rank sums up its own block; one small table of those numbers goes over each mesh, and every rank then reads the
same answer from it. Receipts and ``verify`` are made of these. Without a mesh nothing is sent.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import torch.distributed as dist

from ..fields import Box
from .digests import chunk_of, digest_sum, row_sums
from .placements import Held, block

LEAST = 8
"""Elements that must agree before two draws count as one: by chance, 8 of the coarsest draws do once in 10¹⁶."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a tensor holds, over all ranks.

    Args:
        mean, std: over all elements (std over n), NaN where there are none or they are not real.
        unfit: how many are NaN or infinite.
        total: the sum of its digest, ``None`` where it was not asked for or this rank is not in the tensor's mesh.
        apart: replicas that hold different values, two ranks' places in the mesh; empty where none do.
        alike: shards that hold the same values, two ranks' places in the mesh; empty where none do.
    """

    mean: float
    std: float
    unfit: int
    total: int | None
    apart: tuple[tuple[int, ...], ...] = ()
    alike: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """The same of one rank's block, in numbers that can be sent; ``own`` is its digest as a tensor of its own."""

    count: int
    mean: float
    deviation: float
    unfit: int
    total: int
    own: int

    def row(self) -> tuple[int, ...]:
        """Six int64, the floats by their bits."""
        return _ROW.unpack(_PART.pack(self.count, self.mean, self.deviation, self.unfit, self.total, self.own))

    @classmethod
    def of_row(cls, row: Sequence[int]) -> Part:
        """The part that ``row`` wrote."""
        return cls(*_PART.unpack(_ROW.pack(*row)))


_PART = struct.Struct("<q2dq2Q")
_ROW = struct.Struct("<6q")


def summarized(tensors: Sequence[Held], *, digests: bool, compare: bool) -> list[Summary]:
    """A summary of each tensor; a collective call of the ranks of each mesh that one is distributed over.

    Args:
        tensors: in the same order on every rank.
        digests: whether to sum digests.
        compare: whether to find replicas that differ and shards that do not.
    """
    parts = [_part(h, digests, compare and h.mesh is not None) if h.member else _NOTHING for h in tensors]
    by_mesh: dict[Any, list[int]] = {}
    for i, h in enumerate(tensors):
        if h.mesh is not None and h.member:
            by_mesh.setdefault(h.mesh, []).append(i)
    tables = {mesh: gathered(mesh, [parts[i].row() for i in places]) for mesh, places in by_mesh.items()}
    summaries = []
    for i, h in enumerate(tensors):
        if h.mesh is None or not h.member:
            summaries.append(_alone(parts[i], digests and h.member))
        else:
            rows = tables[h.mesh][..., by_mesh[h.mesh].index(i), :]
            parts_of_ranks = [Part.of_row(row) for row in rows.reshape(-1, rows.shape[-1]).tolist()]
            summaries.append(joined(h, tuple(rows.shape[:-1]), parts_of_ranks, digests=digests, compare=compare))
    return summaries


_NOTHING = Part(0, math.nan, math.nan, 0, 0, 0)


def _part(h: Held, digests: bool, own: bool) -> Part:
    local = h.local.detach()
    mean, deviation, unfit = _moments(local)
    total = digest_sum(local, h.box) if digests else 0
    itself = 0
    if own:
        itself = total if digests and h.box.is_whole else digest_sum(local, Box.whole(tuple(local.shape)))
    return Part(local.numel(), mean, deviation, unfit, total, itself)


def _moments(local: torch.Tensor) -> tuple[float, float, int]:
    """The mean, the sum of squared deviations from it, and how many values are NaN or infinite.

    In pieces that stay in a cache, put together in float64: nearer than ``torch.std_mean``, and ten times as fast.
    """
    if local.numel() == 0 or local.is_complex() or local.is_quantized:
        return math.nan, math.nan, 0
    pieces = []
    for place, part in Box.whole(tuple(local.shape)).parts(chunk_of(local)):
        values = local[place].reshape(-1)
        values = values if values.dtype == torch.float64 else values.float()
        mean = values.mean()
        # Summed pairwise, as torch.sum does it: a plain product of vectors loses what is small beside its sum.
        pieces.append((part.numel, float(mean), float((values - mean).square_().sum())))
    _, mean_of_all, deviation = _pooled(pieces)
    # NaN and infinity never leave a mean; where a finite one overflows, the count says so.
    unfit = 0 if math.isfinite(mean_of_all) and math.isfinite(deviation) else int((~local.isfinite()).sum())
    return mean_of_all, deviation, unfit


def _alone(part: Part, digests: bool) -> Summary:
    std = math.sqrt(part.deviation / part.count) if part.count else math.nan
    return Summary(_nan(part.mean), _nan(std), part.unfit, part.total if digests else None)


def gathered(mesh: Any, rows: list[tuple[int, ...]]) -> torch.Tensor:
    """The rows of every rank of a mesh, as (*mesh shape, rows, columns)."""
    table = torch.tensor(rows, dtype=torch.int64, device=mesh.device_type)
    for axis in range(mesh.ndim - 1, -1, -1):
        size = mesh.size(axis)
        found = [torch.empty_like(table) for _ in range(size)]
        dist.all_gather(found, table, group=mesh.get_group(axis))
        table = torch.stack(found)
    return table.cpu()


def repeated_rows(tensors: Sequence[Held | None]) -> list[tuple[int, int] | None]:
    """Of each tensor with three axes or more, two slices along axis 0 that hold the same values, if there are.

    A collective call, as ``summarized``; ``None`` stands for a tensor that is not asked about.
    """
    asked = {i: h for i, h in enumerate(tensors) if h is not None and _is_stack(h.shape)}
    sums = {i: _row_sums(h) for i, h in asked.items()}
    by_mesh: dict[Any, list[int]] = {}
    for i, h in asked.items():
        if h.mesh is not None and h.member:
            by_mesh.setdefault(h.mesh, []).append(i)
    for mesh, places in by_mesh.items():
        table = torch.cat([sums[i] for i in places]).to(mesh.device_type)
        for axis in range(mesh.ndim):
            dist.all_reduce(table, group=mesh.get_group(axis))
        first = 0
        for i in places:
            sums[i] = table[first : first + len(sums[i])].cpu()
            first += len(sums[i])
    return [_first_repeat(sums[i].tolist()) if i in sums else None for i in range(len(tensors))]


def _is_stack(shape: tuple[int, ...]) -> bool:
    return len(shape) > 2 and shape[0] > 1 and math.prod(shape[1:]) >= 2 * LEAST


def _row_sums(h: Held) -> torch.Tensor:
    """The sums of all slices along axis 0 as far as this rank has them; only one of several replicas counts."""
    sums = torch.zeros(h.shape[0], dtype=torch.int64)
    replicates = [m for m, p in enumerate(h.placements) if p.is_replicate()]
    if h.member and not any(h.mesh.get_coordinate()[m] for m in replicates):
        sums[h.box.slices[0]] = row_sums(h.local.detach(), h.box).cpu()
    return sums


def _first_repeat(sums: list[int]) -> tuple[int, int] | None:
    seen: dict[int, int] = {}
    for i, total in enumerate(sums):
        if total and seen.setdefault(total, i) != i:
            return seen[total], i
    return None


def joined(h: Held, mesh_shape: tuple[int, ...], parts: Sequence[Part], *, digests: bool, compare: bool) -> Summary:
    """One tensor's summary from the parts of all ranks of its mesh, in row-major order of their places."""
    places: dict[Box, tuple[int, ...]] = {}
    held: dict[tuple[int, ...], Part] = {}
    apart: tuple[tuple[int, ...], ...] = ()
    for place, part in zip(product(*map(range, mesh_shape)), parts, strict=True):
        held[place] = part
        first = places.setdefault(block("", h.shape, mesh_shape, place, h.placements), place)
        if compare and held[first].own != part.own and not apart:
            apart = (first, place)
    shards = [held[place] for box, place in places.items() if box.numel]
    count, mean, deviation = _pooled((p.count, p.mean, p.deviation) for p in shards)
    return Summary(
        mean=mean,
        std=math.sqrt(deviation / count) if count else math.nan,
        unfit=sum(p.unfit for p in shards),
        total=sum(p.total for p in shards) % 2**64 if digests else None,
        apart=apart,
        alike=next(_alike(places, held), ()) if compare else (),
    )


def _alike(
    places: dict[Box, tuple[int, ...]], held: dict[tuple[int, ...], Part]
) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Pairs of ranks whose different blocks hold the same values."""
    seen: dict[tuple[tuple[int, ...], int], tuple[int, ...]] = {}
    for box, place in places.items():
        own = held[place].own
        if box.numel >= LEAST and own:
            first = seen.setdefault((box.size, own), place)
            if first != place:
                yield first, place


def _pooled(parts: Iterable[tuple[int, float, float]]) -> tuple[int, float, float]:
    """The count, mean and sum of squared deviations of parts together (Chan, Golub & LeVeque 1979)."""
    count, mean, deviation = 0, math.nan, math.nan
    for more, its_mean, its_deviation in parts:
        if not count:
            count, mean, deviation = more, its_mean, its_deviation
            continue
        total = count + more
        step = its_mean - mean
        deviation += its_deviation + step * step * count * more / total
        mean += step * more / total
        count = total
    return count, _nan(mean), deviation


def _nan(value: float) -> float:
    """The one NaN there is, so that records that hold it are equal."""
    return math.nan if math.isnan(value) else value
