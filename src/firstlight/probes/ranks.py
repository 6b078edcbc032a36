"""Statistics over the processes of a sharded model: each measures its own part of the batch, and they are averaged."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import nn

from .parts import Backward, Forward, Place
from .records import Light

Ranks = tuple[int, int]  # all, and how many of them have the same part of the batch
Statistics = TypeVar("Statistics", Forward, Backward)
_LARGEST = ("largest",)
_ADDED = ("nonfinite", "count", "rows")


def over_ranks(light: Light, model: nn.Module) -> Light:
    """The record with its places' and its loss's numbers reduced over the process group of a sharded model.

    Means are averaged (the parts of the batch are taken as equal), counts added, the largest of the largest kept;
    gradients are those of the mean of all ranks' losses, as the parameters' are. What concerns parameters is whole
    already: it was gathered. A model that is not sharded is left alone: its ranks may do different things.

    Ranks of one tensor-parallel group have the same part of the batch: numbers are averaged over them too, and they
    count once.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return light
    if not any(hasattr(p, "full_tensor") for p in model.parameters()):
        return light
    ranks = torch.distributed.get_world_size()
    if ranks == 1:
        return light
    copies = _copies(model, ranks)
    loss = light.loss
    if loss is not None:
        loss = replace(loss, value=_reduced([("mean", loss.value)], (ranks, copies), light.device)[0] or 0.0)
    places = tuple(_place(p, (ranks, copies), light.device) for p in light.places)
    return replace(light, places=places, loss=loss, ranks=ranks, batch=light.batch * (ranks // copies))


def _copies(model: nn.Module, ranks: int) -> int:
    """How many ranks have the same part of the batch: a tensor-parallel group, the last axis of the mesh."""
    if not any(b.__module__.startswith("torch.distributed.fsdp") for m in model.modules() for b in type(m).__mro__):
        return ranks
    meshes = [getattr(p, "device_mesh", None) for p in model.parameters()]
    joint = {mesh.size(mesh.ndim - 1) for mesh in meshes if mesh is not None and mesh.ndim > 1}
    return max(joint) if joint and _is_parallel(model) else 1


def _is_parallel(model: nn.Module) -> bool:
    """Whether a module's inputs or outputs are distributed, as tensor parallelism does."""
    hooks = (h for m in model.modules() for h in (*m._forward_pre_hooks.values(), *m._forward_hooks.values()))
    return any((getattr(h, "__module__", None) or "").startswith("torch.distributed.tensor") for h in hooks)


def _place(place: Place, ranks: Ranks, device: str) -> Place:
    forward = None if place.forward is None else _record(place.forward, ranks, device)
    backward = None if place.backward is None else _mean_loss(place.backward, ranks, device)
    last = None if place.last_forward is None else _record(place.last_forward, ranks, device)
    last_back = None if place.last_backward is None else _mean_loss(place.last_backward, ranks, device)
    return replace(place, forward=forward, backward=backward, last_forward=last, last_backward=last_back)


def _mean_loss(record: Backward, ranks: Ranks, device: str) -> Backward:
    """The gradient's numbers for the mean of all ranks' losses."""
    g, n = _record(record, ranks, device), ranks[0] // ranks[1]
    return replace(g, mean=g.mean / n, mean_abs=g.mean_abs / n, second=g.second / n**2)


def _record(record: Statistics, ranks: Ranks, device: str) -> Statistics:
    named = [(f.name, getattr(record, f.name)) for f in fields(record)]
    found = _reduced(named, ranks, device)
    changed: dict[str, Any] = {
        name: None if new is None else round(new) if isinstance(old, int) else new
        for (name, old), new in zip(named, found, strict=True)
    }
    return replace(record, **changed)


def _reduced(named: list[tuple[str, float | None]], ranks: Ranks, device: str) -> list[float | None]:
    own = [0.0 if v is None else float(v) for _, v in named]
    sums = torch.tensor(own, dtype=torch.float64, device=device)
    largest = sums.clone()
    torch.distributed.all_reduce(sums)
    torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
    found: list[float | None] = []
    for (name, value), total, most in zip(named, sums.tolist(), largest.tolist(), strict=True):
        if value is None:
            found.append(None)
        else:
            found.append(most if name in _LARGEST else total / ranks[1] if name in _ADDED else total / ranks[0])
    return found
