"""Which axes of a parameter count units, for the rules that make a network wider or narrower."""

from __future__ import annotations

from ...graphs.records import Role
from .base import Case

_VECTORS = frozenset(
    {
        Role.BIAS,
        Role.NORM_SCALE,
        Role.NORM_SHIFT,
        Role.LAYER_SCALE,
        Role.SCALE,
        Role.SLOPE,
        Role.RUNNING_MEAN,
        Role.RUNNING_VARIANCE,
    }
)
_TABLES = frozenset({Role.EMBEDDING, Role.POSITIONAL, Role.TOKEN})


def unit_axes(case: Case) -> tuple[int | None, int | None] | None:
    """The axis that counts the parameter's outputs and the one that counts its inputs; ``None`` where neither is known.

    A vector's and a table's last axis counts outputs; entries and positions are no units.
    """
    parameter = case.target.parameter
    rank = len(case.wanted)
    if parameter.role in _VECTORS or rank == 1:
        return rank - 1, None
    if parameter.role in _TABLES:
        return rank - 1, None
    layout = parameter.layout
    return (layout.out_axis, layout.in_axis) if layout.out_axis is not None else None


def stacked(case: Case) -> int:
    """How many equal maps are stacked along axis 0: a fused weight's parts; a depthwise convolution's are units."""
    layout = case.target.parameter.layout
    blocks = layout.blocks
    if blocks > 1 and len(case.wanted) > 1 and case.wanted[1] == 1:
        return 1
    return blocks if case.given and case.given[0] % blocks == 0 else 1
