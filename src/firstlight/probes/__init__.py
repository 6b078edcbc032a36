"""Measuring the signal of a model at step 0."""

from .records import Signal
from .signals import measure_signal

__all__ = ["Signal", "measure_signal"]
