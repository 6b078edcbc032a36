"""Measuring the signal of a model at step 0."""

from .measuring import measure
from .records import Backward, DepthScale, Forward, Jacobian, Kind, Light, Loss, Origin, Place, Signal, Stream, Values
from .records import Weight as Weight
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
