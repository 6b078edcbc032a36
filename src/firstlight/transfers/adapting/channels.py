"""The first convolution for another number of input channels, with the scale of its output kept.

With W[o, i] the kernel of output o and old channel i, c old and n new channels:

- ``cycle``: new channel j gets W[:, j mod c], divided by how many new channels share it;
- ``mean``: every new channel gets Σ_i W[:, i] / n;
- ``sum``: with n ≤ c, new channel j gets the sum of the old ones i ≡ j (mod n); with more, as ``cycle``.

All three leave Σ_j W'[o, j] = Σ_i W[o, i], so on channels that show the same picture, as those of a grey or a multi-
spectral image nearly do, the output is what it was. ``"independent"`` after a comma (``"cycle, independent"``) scales
each output's kernel to its old norm instead: E[y²] is then kept for channels that are uncorrelated.

Common practice, as in Wightman 2019, PyTorch Image Models.
"""

from __future__ import annotations

import torch

from ...errors import UnknownNameError
from ...fields import Key
from ...graphs.records import Role
from ..records import Reader, Step
from .base import Adaptation, Answer, Case

MODES = ("cycle", "mean", "sum")
_OPTIONS = (*MODES, *(f"{m}, independent" for m in MODES))


def adapt_channels(case: Case) -> Answer:
    """The kernel with its input channels spread, averaged or summed."""
    option = "cycle" if case.option is True else case.option
    if option not in _OPTIONS:
        raise UnknownNameError.of("choice for adapt={'channels': ...}", str(option), _OPTIONS)
    mode, _, independent = str(option).partition(", ")
    if case.target.parameter.role is not Role.CONV or case.target.name != case.model.first_conv:
        return None
    if len(case.given) != len(case.wanted) or case.differing != (1,):
        return None
    old, new = case.given[1], case.wanted[1]

    def apply(values: torch.Tensor, key: Key, read: Reader) -> torch.Tensor:  # noqa: ARG001 - nothing is drawn
        return spread(values, new, mode, keep_norm=bool(independent))

    return Step("channels", f"{old} → {new} input channels, {option}", case.wanted, apply, CHANNELS.reference)


def spread(kernel: torch.Tensor, channels: int, mode: str, *, keep_norm: bool = False) -> torch.Tensor:
    """A kernel (out, in, …) for another number of input channels."""
    values = kernel.double()
    old = kernel.shape[1]
    if mode == "mean":
        made = values.sum(1, keepdim=True).expand(-1, channels, *kernel.shape[2:]) / channels
    elif mode == "sum" and channels <= old:
        made = torch.stack([values[:, j::channels].sum(1) for j in range(channels)], 1)
    else:
        source = torch.arange(channels) % old
        # Fewer new channels than old: those left out add theirs to all, so that the sum is kept.
        counts = torch.bincount(source, minlength=old).clamp(min=1)
        shape = (1, channels, *[1] * (kernel.dim() - 2))
        made = values[:, source] / counts[source].double().reshape(shape)
        if channels < old:
            made = made + values[:, channels:].sum(1, keepdim=True) / channels
    if keep_norm:
        axes = tuple(range(1, kernel.dim()))
        norm, was = made.square().sum(axes, keepdim=True).sqrt(), values.square().sum(axes, keepdim=True).sqrt()
        made = made * torch.where(norm > 0, was / norm.clamp(min=1e-300), 1.0)
    return made.to(kernel.dtype)


CHANNELS = Adaptation("channels", adapt_channels, "Wightman 2019, PyTorch Image Models")
