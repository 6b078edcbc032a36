"""The identity as a start: for linear maps, and through a convolution's kernel (Dirac)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from ..errors import ArgumentError
from ..fields import Key
from .base import Initializer
from .checks import finite, mapping
from .draws import Built, Draw
from .layout import Layout


@final
@dataclass(frozen=True, slots=True)
class Identity(Initializer):
    """gain · I: unit i passes input i on; outputs beyond the inputs get nothing. Each block its own.

    Args:
        gain: finite factor.

    As ``torch.nn.init.eye_``, ``keras.initializers.Identity``. Le et al. 2015, arXiv 1504.00941, use it in recurrent
    networks.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        finite("gain", self.gain)

    def draw(self, layout: Layout) -> Draw:
        """The matrix; ArgumentError for a tensor with other than two axes."""
        mapping("Identity", layout)
        if layout.kernel_axes:
            raise ArgumentError(
                f"Identity fills tensors of two axes, and the shape {layout.shape} has {len(layout.shape)}; "
                "for a convolution use fl.Dirac()"
            )
        return _diagonal(layout, self.gain)


@final
@dataclass(frozen=True, slots=True)
class Dirac(Initializer):
    """gain at a kernel's centre where output = input, 0 elsewhere: the convolution passes its channels on.

    The centre is ``size // 2``; with groups, each group passes its own channels on.

    Args:
        gain: finite factor.

    As ``torch.nn.init.dirac_``. Zagoruyko & Komodakis 2017, DiracNets, arXiv 1706.00388.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        finite("gain", self.gain)

    def draw(self, layout: Layout) -> Draw:
        """The kernel; ArgumentError for a tensor without kernel axes."""
        mapping("Dirac", layout)
        if not layout.kernel_axes:
            raise ArgumentError(
                f"Dirac fills convolutions, and the shape {layout.shape} has no kernel; use fl.Identity()"
            )
        return _diagonal(layout, self.gain)


def _diagonal(layout: Layout, gain: float) -> Draw:
    out_axis, in_axis = mapping("the identity", layout)
    block = layout.block_shape
    count = min(block[out_axis], block[in_axis])
    centre = {a: layout.shape[a] // 2 for a in layout.kernel_axes}

    def build(key: Key, device: torch.device) -> torch.Tensor:  # noqa: ARG001 - nothing random in it
        values = torch.zeros(layout.shape, device=device)
        if not values.numel():
            return values
        for part in values.chunk(layout.blocks):
            taps = part[tuple(centre.get(a, slice(None)) for a in range(part.ndim))]
            taps.diagonal()[:count] = gain
        return values

    n = layout.numel
    ones = layout.blocks * count
    mean = gain * ones / n if n else 0.0
    std = (max(0.0, gain * gain * ones / n - mean * mean)) ** 0.5 if n else 0.0
    return Built(build, mean, std, random=False)
