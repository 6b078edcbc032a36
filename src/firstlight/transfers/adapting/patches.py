"""A patch embedding for another patch size.

``pi``: with B the matrix that resizes a patch of the old size to the new, the new kernel is w' = (Bᵀ)⁺ w, so that a
resized patch has the embedding that the patch had: ⟨B x, w'⟩ = ⟨x, w⟩ for all x where the patch grows, and nearest to
it where it shrinks (Beyer et al. 2023, FlexiViT, arXiv 2212.08013). ``resample`` only interpolates the kernel, and its
output then scales with the number of pixels.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from ...errors import UnknownNameError
from ...fields import Key
from ...graphs.records import Role
from ..records import Reader, Shape, Step
from .base import Adaptation, Answer, Case, sizes

_MODES = ("pi", "resample")


def adapt_patches(case: Case) -> Answer:
    """The kernel at another size, where its patches do not overlap."""
    mode = "pi" if case.option is True else case.option
    if mode not in _MODES:
        raise UnknownNameError.of("choice for adapt={'patch': ...}", str(mode), _MODES)
    given, wanted = case.given, case.wanted
    if case.target.parameter.role is not Role.CONV or len(given) != 4 or len(wanted) != 4 or given[:2] != wanted[:2]:
        return None
    if not _without_overlap(case):
        return None

    def apply(values: torch.Tensor, key: Key, read: Reader) -> torch.Tensor:  # noqa: ARG001 - nothing is drawn
        return pi_resized(values, wanted[2:]) if mode == "pi" else resampled(values, wanted[2:])

    words = f"patches {sizes(given[2:])} → {sizes(wanted[2:])}, {'PI-resize' if mode == 'pi' else 'resampled'}"
    return Step("patch", words, wanted, apply, PATCH.reference)


def _without_overlap(case: Case) -> bool:
    """Whether the convolution steps by its whole kernel: then each input is under one placement."""
    layout = case.target.parameter.layout
    return math.isclose(layout.fan_out, layout.shape[0] / layout.blocks)


def pi_resized(kernel: torch.Tensor, size: Shape) -> torch.Tensor:
    """FlexiViT's pseudo-inverse resize of a kernel (out, in, height, width)."""
    old = tuple(kernel.shape[2:])
    if old == size:
        return kernel
    resize = _matrix(old, size)
    inverse = torch.linalg.pinv(resize.T)  # (new, old)
    flat = kernel.double().reshape(*kernel.shape[:2], -1)
    made: torch.Tensor = (flat @ inverse.T).reshape(*kernel.shape[:2], *size).to(kernel.dtype)
    return made


def resampled(kernel: torch.Tensor, size: Shape) -> torch.Tensor:
    """A kernel interpolated bilinearly."""
    made = functional.interpolate(kernel.double(), size, mode="bilinear", antialias=True)
    return made.to(kernel.dtype)


def _matrix(old: Shape, new: Shape) -> torch.Tensor:
    """The matrix (new cells, old cells) of bilinear resizing."""
    cells = math.prod(old)
    basis = torch.eye(cells, dtype=torch.float64).reshape(cells, 1, *old)
    resized = functional.interpolate(basis, new, mode="bilinear", antialias=False)
    return resized.reshape(cells, -1).T


PATCH = Adaptation("patch", adapt_patches, "Beyer et al. 2023, arXiv 2212.08013")
