"""Which block of a parameter this process holds: read from a DTensor's placements and its place in the mesh.

``apply`` writes the block alone, each element from its index in the whole tensor; ``summaries`` and ``verification``
put the blocks of all ranks together again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import UnsupportedParameterError
from ..fields import Box


@dataclass(frozen=True, slots=True)
class Held:
    """What this process holds of a tensor.

    Args:
        local: the memory itself; all of the tensor where it is not distributed.
        shape: of the whole tensor.
        box: which block of the whole tensor that is.
        mesh: the device mesh it is distributed over, ``None`` for an ordinary tensor.
        placements: how, one for each axis of the mesh.
        member: whether this process is in the mesh; where it is not, it holds nothing.
    """

    local: torch.Tensor
    shape: tuple[int, ...]
    box: Box
    mesh: Any = None
    placements: tuple[Any, ...] = ()
    member: bool = True


def held(name: str, tensor: torch.Tensor) -> Held:
    """What this process holds of ``tensor``.

    Raises:
        UnsupportedParameterError: a DTensor is placed in a way that gives its elements no place, or holds another
            block than its placements say.
    """
    shape = tuple(tensor.shape)
    if not is_distributed(tensor):
        return Held(tensor, shape, Box.whole(shape))
    mesh, placements = tensor.device_mesh, tuple(tensor.placements)  # type: ignore[attr-defined]
    local: torch.Tensor = tensor.detach().to_local()  # type: ignore[attr-defined]
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        return Held(local, shape, Box.whole(tuple(local.shape)), mesh, placements, member=False)
    box = block(name, shape, tuple(mesh.shape), coordinate, placements)
    if not (box.numel or local.numel()):  # FSDP2 writes (0, 0) for a shard of no rows and no columns
        return Held(local, shape, Box(shape, (0,) * len(shape), tuple(local.shape)), mesh, placements)
    if box.size != tuple(local.shape):
        raise UnsupportedParameterError(
            f"{name!r} {shape} is placed as {placements} on a mesh of shape {tuple(mesh.shape)}, which gives the rank "
            f"at {tuple(coordinate)} a block of shape {box.size}, and it holds {tuple(local.shape)}: shard it with "
            "fully_shard, parallelize_module or distribute_tensor"
        )
    return Held(local, shape, box, mesh, placements)


def is_distributed(tensor: torch.Tensor) -> bool:
    """Whether it is a DTensor: by what it offers, so that torch may be built without distributed."""
    return hasattr(tensor, "placements") and hasattr(tensor, "device_mesh")


def block(
    name: str, shape: Sequence[int], mesh_shape: Sequence[int], coordinate: Sequence[int], placements: Sequence[Any]
) -> Box:
    """The block of a tensor that the rank at ``coordinate`` of a mesh holds.

    Each mesh axis that shards a tensor axis cuts it as ``torch.chunk`` does, into equal parts of ⌈n/ranks⌉, the last
    ones shorter or empty. In which order several mesh axes cut the same tensor axis, a placement tells by its
    ``split_factor``: the number of parts that were there when its turn came. Plain shards cut in the mesh's order;
    FSDP2 over tensor parallelism is the case where the outer mesh axis cuts last.

    Raises:
        UnsupportedParameterError: partial values, a placement that is neither shard nor replica, or a split factor
            that no order of cuts explains.
    """
    start, size = [0] * len(shape), list(shape)
    for placement in placements:
        _refuse_unplaced(name, placement, len(shape))
    for axis in range(len(shape)):
        for mesh_axis in _order(name, axis, mesh_shape, placements):
            part = -(-size[axis] // mesh_shape[mesh_axis])
            first = min(coordinate[mesh_axis] * part, size[axis])
            size[axis] = min(part, size[axis] - first)
            start[axis] += first
    return Box(tuple(shape), tuple(start), tuple(size))


def _order(name: str, axis: int, mesh_shape: Sequence[int], placements: Sequence[Any]) -> list[int]:
    """The mesh axes that cut a tensor axis, first cut first."""
    order: list[int] = []
    cutting = [m for m, p in enumerate(placements) if getattr(p, "dim", None) == axis]
    for mesh_axis in reversed(cutting):  # of those behind it, the ones that its split factor counts have cut before
        factor = getattr(placements[mesh_axis], "split_factor", 1)
        parts, before = 1, 0
        while parts < factor and before < len(order):
            parts *= mesh_shape[order[before]]
            before += 1
        if parts != factor:
            raise UnsupportedParameterError(
                f"{name!r} is placed as {tuple(placements)} on a mesh of shape {tuple(mesh_shape)}: no order in which "
                f"the mesh cuts axis {axis} gives a split factor of {factor}, so it is not known which elements a rank "
                "holds. Initialize before sharding, or redistribute it first."
            )
        order.insert(before, mesh_axis)
    return order


def _refuse_unplaced(name: str, placement: Any, rank: int) -> None:
    if placement.is_partial():
        raise UnsupportedParameterError(
            f"{name!r} is placed as {placement!r}: ranks hold terms of a sum, and a sum has no initial value. "
            "Redistribute it to Shard or Replicate first."
        )
    axis = getattr(placement, "dim", None)
    if axis is None and not placement.is_replicate():
        raise UnsupportedParameterError(
            f"{name!r} is placed as {placement!r}, which firstlight cannot read; known are Shard and Replicate"
        )
    if axis is not None and not 0 <= axis < rank:
        raise UnsupportedParameterError(f"{name!r} has {rank} axes and is placed as {placement!r}")
