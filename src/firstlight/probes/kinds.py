"""What kind of place a call is, by its name: what ``observing`` and ``predicting`` share."""

from __future__ import annotations

from ..graphs.ops import ACTIVATIONS, ATTENTION, NORMS, words
from .parts import Kind

SOFTMAX = words("softmax log_softmax")
_ARITHMETIC = words("abs square clamp clamp_max glu")  # more often than activations
_POOLS = words(
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d"
)


def kind_by_name(op: str) -> Kind | None:
    """The kind of a call that maps data by no weight; ``None`` where its name says nothing."""
    if op in ATTENTION:
        return Kind.ATTENTION
    if op in SOFTMAX:
        return Kind.SOFTMAX
    if op in NORMS:
        return Kind.NORM
    if op in _POOLS:
        return Kind.POOL
    return Kind.ACTIVATION if op in ACTIVATIONS and op not in _ARITHMETIC else None
