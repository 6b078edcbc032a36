"""Few inputs a unit, each of full size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch

from .. import fields
from ..errors import ArgumentError
from ..fields import Key
from .base import Initializer
from .checks import finite, mapping, positive
from .draws import Built, Draw
from .layout import Layout


@final
@dataclass(frozen=True, slots=True)
class Sparse(Initializer):
    """N(0, std²) with, for each input (column), a share ``sparsity`` of its outputs (rows) set to zero.

    Exactly ⌈sparsity · rows⌉ zeros in every column, at places the field decides. A kernel's positions count as inputs.

    Args:
        sparsity: share of zeros, from 0 to below 1.
        std: of the others, above 0.

    As ``torch.nn.init.sparse_``. Martens 2010, Deep learning via Hessian-free optimization.
    """

    sparsity: float = 0.9
    std: float = 0.01

    def __post_init__(self) -> None:
        finite("sparsity", self.sparsity)
        if not 0 <= self.sparsity < 1:
            raise ArgumentError(f"sparsity={self.sparsity!r} should be a share from 0 to below 1")
        positive("std", self.std, "for zero weights use Zeros")
        fields.normal(0.0, self.std)

    def draw(self, layout: Layout) -> Draw:
        """The tensor; each block has its own columns."""
        out_axis, _ = mapping("Sparse", layout)
        rows = layout.block_shape[out_axis]
        zeros = math.ceil(self.sparsity * rows)

        def build(key: Key, device: torch.device) -> torch.Tensor:
            n = layout.numel
            values = fields.values(fields.normal(0.0, self.std), key, 0, n).reshape(layout.shape)
            order = fields.words(key, n, 2 * n).reshape(layout.shape)
            for part, ranks in zip(values.chunk(layout.blocks), order.chunk(layout.blocks), strict=True):
                dropped = ranks.argsort(dim=out_axis, stable=True).narrow(out_axis, 0, zeros)
                part.scatter_(out_axis, dropped, 0.0)
            return values.to(device)

        kept = 1 - zeros / rows if rows else 0.0
        return Built(build, 0.0, self.std * math.sqrt(kept))
