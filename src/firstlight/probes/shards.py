"""Values of which tensor parallelism gives a process a part: what part that is, and the whole of them.

``observing`` carries a ``Shard`` along with such a value, for as long as its shape tells that it is still that part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class Shard:
    """How the parts of a value lie on a device mesh, and the shape of the whole."""

    mesh: Any
    placements: tuple[Any, ...]
    shape: torch.Size


def is_sharded(model: nn.Module) -> bool:
    """Whether the model's parameters are spread over processes that run."""
    spread = torch.distributed.is_available() and torch.distributed.is_initialized()
    return spread and any(hasattr(p, "full_tensor") for p in model.parameters())


def shard_of(tensor: torch.Tensor) -> Shard | None:
    """What part of a distributed tensor a plain one was taken as (``to_local``), which its place in the graph tells."""
    spec = getattr(tensor.grad_fn, "dtensor_spec", None)
    if spec is None or all(p.is_replicate() for p in spec.placements) or any(p.is_partial() for p in spec.placements):
        return None
    return Shard(spec.mesh, tuple(spec.placements), spec.shape)


def put_together(value: torch.Tensor, shard: Shard | None = None) -> torch.Tensor:
    """The whole of a value that is distributed, or that is a part of one; any other as it is.

    All processes of the mesh call it alike.
    """
    if shard is not None and not hasattr(value, "full_tensor"):
        stride = torch.empty(shard.shape, device="meta").stride()
        value = torch.distributed.tensor.DTensor.from_local(
            value.detach(), shard.mesh, shard.placements, run_check=False, shape=shard.shape, stride=stride
        )
    full = getattr(value.detach(), "full_tensor", None)
    return value if full is None else full()
