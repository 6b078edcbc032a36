"""Measuring the signal of a model at step 0."""

from .measuring import measure
from .parts import Backward, DepthScale, Forward, Jacobian, Kind, Loss, Origin, Place, Signal, Stream, Values, Weight
from .records import Light
from .signals import measure_signal

__all__ = [
    "Backward",
    "DepthScale",
    "Forward",
    "Jacobian",
    "Kind",
    "Light",
    "Loss",
    "Origin",
    "Place",
    "Signal",
    "Stream",
    "Values",
    "Weight",
    "measure",
    "measure_signal",
]
