"""Orthogonal matrices, Haar-distributed, as products of random reflections: no factorisation.

A random orthogonal matrix is a product of Householder reflections of independent Gaussian vectors of falling length
(Stewart 1980). Reflections are applied in blocks as I - V T Vᵀ, so the work is matrix products.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch

from .. import fields
from ..fields import Key
from .base import Initializer
from .checks import mapping, positive
from .draws import Built, Draw
from .layout import Layout

_PANEL = 128
_SMALL = 128


@final
@dataclass(frozen=True, slots=True)
class Orthogonal(Initializer):
    """gain · Q with orthonormal rows or columns, whichever are fewer, uniform by the Haar measure.

    A tensor is read as the matrix (outputs) × (inputs · kernel positions), each block its own matrix.

    Args:
        gain: above 0.

    The Gaussian input is the field's, bit for bit; Q is equal up to the rounding of matrix products (|QᵀQ - I| about
    1e-6). As ``torch.nn.init.orthogonal_`` with the signs that make it exactly Haar. Saxe et al. 2014, Exact solutions
    to the nonlinear dynamics of learning in deep linear neural networks, arXiv 1312.6120; Stewart 1980, The efficient
    generation of random orthogonal matrices.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        positive("gain", self.gain, "for zero weights use Zeros")

    def draw(self, layout: Layout) -> Draw:
        """The matrices; ArgumentError where no axes are declared."""
        out_axis, in_axis = mapping("Orthogonal", layout)
        block = layout.block_shape
        rows = block[out_axis]
        columns = math.prod(block) // rows if rows else 0

        def build(key: Key, device: torch.device) -> torch.Tensor:
            q = haar(layout.blocks, rows, columns, key, device, self.gain)
            return _unflatten(q, layout, out_axis, in_axis)

        n = rows * columns
        std = self.gain * math.sqrt(min(rows, columns) / n) if n else 0.0
        return Built(build, 0.0, std)


@final
@dataclass(frozen=True, slots=True)
class DeltaOrthogonal(Initializer):
    """An orthogonal matrix at the kernel's centre, 0 elsewhere: a convolution that keeps every norm.

    The centre is ``size // 2`` of each kernel axis. With fewer outputs than inputs the rows are orthonormal.

    Args:
        gain: above 0.

    Xiao et al. 2018, Dynamical isometry and a mean field theory of CNNs, arXiv 1806.05393.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        positive("gain", self.gain, "for zero weights use Zeros")

    def draw(self, layout: Layout) -> Draw:
        """The kernel; ArgumentError where no axes are declared. Without kernel axes it is ``Orthogonal``."""
        out_axis, in_axis = mapping("DeltaOrthogonal", layout)
        block = layout.block_shape
        rows, columns = block[out_axis], block[in_axis]

        def build(key: Key, device: torch.device) -> torch.Tensor:
            q = haar(layout.blocks, rows, columns, key, device, self.gain)
            values = torch.zeros(layout.shape, device=device)
            if values.numel():
                centre = {a: layout.shape[a] // 2 for a in layout.kernel_axes}
                for part, matrix in zip(values.chunk(layout.blocks), q, strict=True):
                    taps = part[tuple(centre.get(a, slice(None)) for a in range(part.ndim))]
                    taps.copy_(matrix if out_axis < in_axis else matrix.T)
            return values

        n = math.prod(block)
        return Built(build, 0.0, self.gain * math.sqrt(min(rows, columns) / n) if n else 0.0)


def haar(count: int, rows: int, columns: int, key: Key, device: torch.device, gain: float = 1.0) -> torch.Tensor:
    """``count`` independent matrices (rows, columns) with orthonormal rows or columns, times ``gain``, in float32.

    Matrix b reads elements b · rows · columns onwards of the field; a wide one is the transpose of a tall one.
    """
    tall, short = max(rows, columns), min(rows, columns)
    numbers = fields.values(fields.normal(0.0, 1.0), key, 0, count * rows * columns, device=device)
    gaussian = numbers.reshape(count, tall, short)
    # Many small matrices go as one batch; a large one alone, where products without a batch axis are faster.
    # In the order of memory that the result is wanted in, so that a wide one is not copied to be turned.
    q = torch.zeros(count, rows, columns, device=device)
    upright = q if rows >= columns else q.mT
    if count > 1 and tall <= _SMALL:
        _reflect(gaussian, gain, upright)
    else:
        for numbers_of_one, matrix in zip(gaussian, upright, strict=True):
            _reflect(numbers_of_one, gain, matrix)
    return q


def _reflect(gaussian: torch.Tensor, gain: float, q: torch.Tensor) -> None:
    """Haar-distributed (…, n, m), n ≥ m, times ``gain``, into the zeros ``q``; from independent normals, overwritten.

    Reflection j sends e_j to -sign · x_j / |x_j|, where x_j is column j from row j on; v_j is scaled so that |v_j|² = 2
    and the reflection is I - v vᵀ. The last sign is fixed by multiplying column j by -sign_j, as in QR with a positive
    diagonal, which makes the product exactly Haar.
    """
    if not gaussian.numel():
        return
    x = gaussian.tril_()
    q.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    m = x.shape[-1]
    signs = torch.where(x.diagonal(dim1=-2, dim2=-1) >= 0, 1.0, -1.0)
    for start in range((m - 1) // _PANEL * _PANEL, -1, -_PANEL):
        stop = min(m, start + _PANEL)
        panel, triangle = _panel(x[..., start:, start:stop], signs[..., start:stop])
        # The panel's own columns of Q are still those of the identity, so Vᵀ Q there is Vᵀ itself.
        width = stop - start
        rest = panel[..., width:, :].mT @ q[..., stop:, stop:]
        projected = torch.cat([panel[..., :width, :].mT, rest], dim=-1)
        target = q[..., start:, start:]
        subtract = target.addmm_ if target.ndim == 2 else target.baddbmm_
        subtract(panel, triangle @ projected, alpha=-1)
    q.mul_(signs.mul_(-gain).unsqueeze(-2))


def _panel(x: torch.Tensor, sign: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """V and T of a panel of columns x_j, zero above the diagonal: the product of their reflections is I - V T Vᵀ.

    T⁻¹ is the upper triangle of VᵀV with the diagonal 1. The products x_iᵀ x_j give the lengths and, with what the
    diagonal adds, VᵀV too, so that the columns are read once.
    """
    width = x.shape[-1]
    products = x.mT @ x
    # A column that is exactly zero has probability zero; it would be left as it is.
    length = products.diagonal(dim1=-2, dim2=-1).sqrt().clamp_min_(torch.finfo(x.dtype).tiny)
    first = x.diagonal(dim1=-2, dim2=-1)
    shift = sign * length
    scale = (length * (length + first.abs())).rsqrt_()
    panel = x * scale.unsqueeze(-2)
    panel.diagonal(dim1=-2, dim2=-1).add_(shift * scale)
    # For i < j, v_i · v_j is x_i · x_j and what the shift of x_j's first entry meets of x_i; x_j is 0 where x_i begins.
    inverse = products.addcmul_(x[..., :width, :].mT, shift.unsqueeze(-2))
    inverse = inverse.mul_(scale.unsqueeze(-2)).mul_(scale.unsqueeze(-1)).triu_(1)
    inverse.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    identity = torch.eye(width, dtype=x.dtype, device=x.device)
    return panel, torch.linalg.solve_triangular(inverse, identity, upper=True)


def _unflatten(q: torch.Tensor, layout: Layout, out_axis: int, in_axis: int) -> torch.Tensor:
    """(blocks, rows, columns) as the layout's tensor: columns run over the inputs, then the kernel's positions."""
    block = layout.block_shape
    others = [in_axis, *layout.kernel_axes]
    shaped = q.reshape(layout.blocks, block[out_axis], *(block[a] for a in others))
    source = {axis: position + 1 for position, axis in enumerate([out_axis, *others])}
    return shaped.permute(0, *(source[a] for a in range(len(block)))).reshape(layout.shape)
