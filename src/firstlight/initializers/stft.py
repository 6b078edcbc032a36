"""The short-time Fourier transform as the kernel of a convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import torch

from ..errors import ArgumentError, UnknownNameError
from ..fields import Key
from .base import Initializer
from .checks import mapping
from .draws import Built, Draw
from .layout import Layout

Window = Literal["hann", "hamming", "none"]


@final
@dataclass(frozen=True, slots=True)
class Stft(Initializer):
    """A Conv1d whose channels are the bins of a windowed discrete Fourier transform of its frame.

    For a weight (bins, 1, frame) with N = 2 · (bins - 1) points: w[k, 0, n] = s · h[n] · cos(2π k n / N), or
    -s · h[n] · sin(2π k n / N) for the imaginary side, with h the window and s its scaling.

    Args:
        side: ``"real"`` or ``"imag"``.
        window: ``"hann"``, ``"hamming"`` or ``"none"`` (a rectangle).
        scaling: ``"density"`` (1 / √Σh²), ``"spectrum"`` (1 / Σh), or ``"none"`` (1).
        periodic: whether the window is one period long (for overlapping frames) or symmetric.

    As ``keras.initializers.STFT``, in torch's order of axes.
    """

    side: Literal["real", "imag"] = "real"
    window: Window = "hann"
    scaling: Literal["density", "spectrum", "none"] = "density"
    periodic: bool = False

    def __post_init__(self) -> None:
        for name, given, known in (
            ("side", self.side, ("real", "imag")),
            ("window", self.window, ("hann", "hamming", "none")),
            ("scaling", self.scaling, ("density", "spectrum", "none")),
        ):
            if given not in known:
                raise UnknownNameError.of(f"choice for {name}=", str(given), known)

    def draw(self, layout: Layout) -> Draw:
        """The kernel; ArgumentError for any shape but (bins, 1, frame) with bins ≥ 2 and frame ≤ 2 · (bins - 1)."""
        mapping("Stft", layout)
        if len(layout.shape) != 3 or layout.shape[1] != 1:
            raise ArgumentError(f"Stft fills a Conv1d weight (bins, 1, frame), not the shape {layout.shape}")
        bins, _, frame = layout.shape
        points = 2 * (bins - 1)
        if bins < 2 or not 1 <= frame <= points:
            raise ArgumentError(f"Stft with {bins} bins has {points} points: a frame of {frame} does not fit them")

        def build(key: Key, device: torch.device) -> torch.Tensor:  # noqa: ARG001 - nothing random in it
            return self._kernel(bins, frame, points).reshape(layout.shape).to(device)

        return Built(build, None, None, random=False)

    def _kernel(self, bins: int, frame: int, points: int) -> torch.Tensor:
        window = torch.ones(frame, dtype=torch.float64)
        if self.window != "none":
            make = torch.hann_window if self.window == "hann" else torch.hamming_window
            window = make(frame, periodic=self.periodic, dtype=torch.float64)
        if self.scaling == "density":
            window = window / window.square().sum().sqrt()
        elif self.scaling == "spectrum":
            window = window / window.sum()
        n = torch.arange(frame, dtype=torch.int64)
        turns = (torch.arange(bins)[:, None] * n % points).double() / points
        angle = 2 * torch.pi * turns
        wave = torch.cos(angle) if self.side == "real" else -torch.sin(angle)
        return (wave * window).float()
