"""What the processes of a device mesh send each other: sums, largest values, objects.

``ranks`` and the watch of a sharded model call it; all processes do so alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

Thing = TypeVar("Thing")


def mesh_of(parameters: Iterable[torch.Tensor]) -> Any:
    """The largest device mesh that parameters lie on, where this process is of it; ``None`` else."""
    meshes = [mesh for p in parameters if (mesh := getattr(p, "device_mesh", None)) is not None]
    mesh = max(meshes, key=lambda m: int(m.size()), default=None)
    return None if mesh is None or mesh.get_coordinate() is None else mesh


def groups_of(mesh: Any) -> tuple[Any, ...]:
    """One process group for each axis of a mesh."""
    return tuple(mesh.get_group(axis) for axis in range(mesh.ndim))


def reduced(values: torch.Tensor, groups: Sequence[Any], *, largest: bool = False) -> torch.Tensor:
    """The sums over all processes, or the largest, written into ``values``: to the bit the same on each."""
    for group in groups:
        dist.all_reduce(values, dist.ReduceOp.MAX if largest else dist.ReduceOp.SUM, group=group)
    return values


def gathered(own: Thing, groups: Sequence[Any]) -> list[Thing]:
    """Everyone's, in the same order everywhere."""
    found = [own]
    for group in groups:
        parts: list[Any] = [None] * group.size()
        dist.all_gather_object(parts, found, group=group)
        found = [one for part in parts for one in part]
    return found
