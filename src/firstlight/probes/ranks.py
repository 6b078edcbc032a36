"""Statistics over the processes of a sharded model: each measures its own part of the batch, and they are averaged."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import nn

from .parts import Backward, Forward, Place
from .records import Light

Statistics = TypeVar("Statistics", Forward, Backward)
_LARGEST = ("largest",)
_ADDED = ("nonfinite", "count", "rows")


def over_ranks(light: Light, model: nn.Module) -> Light:
    """The record with its places' and its loss's numbers reduced over the process group of a sharded model.

    Means are averaged (the parts of the batch are taken as equal), counts added, the largest of the largest kept;
    gradients are those of the mean of all ranks' losses, as the parameters' are. What concerns parameters is whole
    already: it was gathered. A model that is not sharded is left alone: its ranks may do different things.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return light
    if not any(hasattr(p, "full_tensor") for p in model.parameters()):
        return light
    ranks = torch.distributed.get_world_size()
    if ranks == 1:
        return light
    loss = light.loss
    if loss is not None:
        loss = replace(loss, value=_reduced([("mean", loss.value)], ranks, light.device)[0] or 0.0)
    places = tuple(_place(p, ranks, light.device) for p in light.places)
    return replace(light, places=places, loss=loss, ranks=ranks, batch=light.batch * ranks)


def _place(place: Place, ranks: int, device: str) -> Place:
    forward = None if place.forward is None else _record(place.forward, ranks, device)
    backward = None if place.backward is None else _mean_loss(place.backward, ranks, device)
    last = None if place.last_forward is None else _record(place.last_forward, ranks, device)
    last_back = None if place.last_backward is None else _mean_loss(place.last_backward, ranks, device)
    return replace(place, forward=forward, backward=backward, last_forward=last, last_backward=last_back)


def _mean_loss(record: Backward, ranks: int, device: str) -> Backward:
    """The gradient's numbers for the mean of all ranks' losses."""
    g, n = _record(record, ranks, device), ranks
    return replace(g, mean=g.mean / n, mean_abs=g.mean_abs / n, second=g.second / n**2)


def _record(record: Statistics, ranks: int, device: str) -> Statistics:
    named = [(f.name, getattr(record, f.name)) for f in fields(record)]
    found = _reduced(named, ranks, device)
    changed: dict[str, Any] = {
        name: None if new is None else round(new) if isinstance(old, int) else new
        for (name, old), new in zip(named, found, strict=True)
    }
    return replace(record, **changed)


def _reduced(named: list[tuple[str, float | None]], ranks: int, device: str) -> list[float | None]:
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
            found.append(most if name in _LARGEST else total if name in _ADDED else total / ranks)
    return found
