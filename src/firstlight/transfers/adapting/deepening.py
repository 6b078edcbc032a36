"""Net2DeeperNet: a deeper network that computes what the shallow one did.

A further residual block adds nothing at first: the weights that close its branches are zero, all others are fresh. A
further plain layer, square and before a ReLU or nothing, is the identity (Chen et al. 2016, arXiv 1511.05641).
Which weight closes a branch only a traced forward tells. Where a norm stands on the stream itself, behind the
join (post-norm), it renormalizes, and the function is kept only as far as that changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...graphs.records import Parameter, Role
from ...initializers.base import Initializer
from ...initializers.constant import Zeros
from ...initializers.identity import Identity
from ..records import Match, Shape, Target
from .base import Model, Supplied, Supply
from .depth import extra_blocks

_MAPS = (Role.LINEAR, Role.CONV, Role.OUT)
_HARMLESS = ("", "relu", "relu6")


def supply_deeper(
    targets: Sequence[Target],
    matches: Mapping[str, Match],
    unused: Mapping[str, Shape],  # noqa: ARG001 - new blocks have no source
    model: Model,
    option: object,  # noqa: ARG001 - there is one way
) -> Supplied:
    """Zeros for what closes a new block's branches, identities for new plain layers."""
    extra = extra_blocks(targets, matches)
    if not extra:
        return Supplied()
    if model.graph.tape is None:
        why = "a further block: which of its weights close a branch only example inputs tell, give inputs="
        return Supplied(reasons=dict.fromkeys(extra, why))
    records = {t.name: t.parameter for t in targets}
    decisions: dict[str, tuple[Initializer, str]] = {}
    reasons: dict[str, str] = {}
    residual = {_block(extra[n]) for n in extra if _closes(records[n])}
    closing = {records[n].module for n in extra if _closes(records[n])}
    for name, place in extra.items():
        parameter = records[name]
        if _closes(parameter) or (parameter.role is Role.BIAS and parameter.module in closing):
            decisions[name] = (Zeros(), "a further block: it closes a branch, which adds nothing at first")
        elif _block(place) in residual:
            reasons[name] = "a further block: its branches are closed with zeros"
        elif _is_plain(parameter):
            decisions[name] = (Identity(), "a further layer: the identity")
        elif parameter.role is Role.BIAS:
            decisions[name] = (Zeros(), "a further layer: the identity has no bias")
        else:
            reasons[name] = "a further layer that no identity fits; the function is not kept"
    return Supplied(decisions=decisions, reasons=reasons)


def _block(place: tuple[str, str, int, int]) -> str:
    return f"{place[0]}{place[2]}"


def _closes(parameter: Parameter) -> bool:
    return parameter.role in _MAPS and any(u.branch is not None and u.branch.total > 0 for u in parameter.uses)


def _is_plain(parameter: Parameter) -> bool:
    shape = parameter.layout.shape
    square = len(shape) == 2 and shape[0] == shape[1] and parameter.role is Role.LINEAR
    return square and all(u.meets in _HARMLESS for u in parameter.uses)


DEEPEN = Supply("deepen", supply_deeper, "Chen et al. 2016, arXiv 1511.05641", asked=True)
