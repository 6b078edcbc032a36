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
    """How many equal maps are stacked along axis 0: a fused weight's parts, and its bias's as many."""
    parameter = case.target.parameter
    if len(case.wanted) > 1 and parameter.role is Role.CONV and case.wanted[1] == 1:
        return 1  # a depthwise convolution's maps are its units
    blocks = parameter.layout.blocks
    if blocks == 1:
        blocks = case.model.stacks.get(parameter.module, 1)
    return blocks if case.given and case.given[0] % blocks == 0 == case.wanted[0] % blocks else 1


def is_input(case: Case, axis: int | None) -> bool:
    """Whether an axis counts the model's own inputs, which are no units: the channels of the first convolution."""
    return axis == case.target.parameter.layout.in_axis and case.target.name == case.model.first_conv
