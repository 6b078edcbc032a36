"""From pairs of units to matches of tensors: reshapes between equal sizes, transposes, fused weights cut and joined.

Whether a square matrix lies as ``(out, in)`` or ``(in, out)`` its shape cannot say: the other matrices of the model
do. Where they disagree, or there are none and the model's own layout is not torch's, it is left and said so.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...fields import Key
from ..records import Match, Piece, Reader, Shape, Step
from .pairing import Pair
from .units import Unit, wide
from .words import role

_NO_MAPS = frozenset({"tokens", "positions", "token types", "head", "patches", "relative bias"})


def laid_out(pairs: Sequence[Pair]) -> tuple[list[Match], dict[str, str]]:
    """The matches that pairs of units mean, and reasons for those whose layout is not known."""
    turned = _turned(pairs)
    matches: list[Match] = []
    reasons: dict[str, str] = {}
    for pair in pairs:
        try:
            matches += _matches(pair, turned)
        except _UnknownLayoutError as doubt:
            reasons |= {name: str(doubt) for unit in pair.targets for name in unit.names.values()}
    return matches, reasons


class _UnknownLayoutError(Exception):
    """The layout of a pair's weights cannot be told."""


def _turned(pairs: Sequence[Pair]) -> bool | None:
    """Whether the two sides' matrices are transposes of each other; ``None`` where they disagree or none can tell."""
    votes = {v for pair in pairs if (v := _vote(pair)) is not None}
    return votes.pop() if len(votes) == 1 else None


def _vote(pair: Pair) -> bool | None:
    here, there = pair.sources[0], pair.targets[0]
    if here.kind != "map" or _is_no_map(there) or _is_no_map(here):
        return None
    a, b = here.main, there.main
    if len(pair.sources) == len(pair.targets) == 1:
        if len(a) == len(b) == 2 and a[0] != a[1]:
            return a != b
        return None
    fused, parts = (here, pair.targets) if len(pair.sources) == 1 else (there, pair.sources)
    if len(fused.main) != 2 or fused.main[0] == fused.main[1]:
        return None
    fused_in = _fused_axis(fused, parts)
    # The fused one says which way it lies; the parts, where they are not square, which way they do.
    ways = {p.main == (p.main[0], fused.main[1 - fused_in]) for p in parts if p.main[0] != p.main[1]}
    if len(ways) == 1:
        parts_first = ways.pop()
        return (fused_in == 0) != parts_first
    return True if fused_in == 1 else None


def _fused_axis(fused: Unit, parts: Sequence[Unit]) -> int:
    """The axis along which the fused weight stacks its parts."""
    total = sum(p.main[0] for p in parts)
    return 0 if fused.main[0] == total or fused.main[0] > fused.main[1] else 1


def _is_no_map(unit: Unit) -> bool:
    return unit.table or (unit.known or role(unit.path, unit.kind)) in _NO_MAPS


def _matches(pair: Pair, turned: bool | None) -> list[Match]:
    if len(pair.sources) > 1:
        return _joined(pair, turned)
    if len(pair.targets) > 1:
        return _cut(pair, turned)
    here, there = pair.sources[0], pair.targets[0]
    found = []
    for local, name in there.names.items():
        partner = local if local in here.names else _alone(here, there)
        if partner is None:
            continue
        given, wanted = here.shapes[partner], there.shapes[local]
        step = _step(given, wanted, _is_square_map(there, local) and not _is_no_map(here), there, turned)
        piece = Piece(here.names[partner], given)
        match = Match(name, (piece,), "structure", pair.evidence)
        if step is not None:
            match = match.then(step)
        if step is None and given != wanted and len(wide(given)) == len(wide(wanted)) and len(given) != len(wanted):
            match = match.then(reshaped(given, _ranked(given, wanted)))  # a table of another size, to be adapted
        if match.shape == wanted or len(match.shape) == len(wanted):
            found.append(match)
        else:
            raise _UnknownLayoutError(f"{piece.tensor!r} {given} cannot be laid out as {wanted}")
    return found


def _ranked(given: Shape, wanted: Shape) -> Shape:
    """The sizes of ``given`` in the axes that are more than one in ``wanted``."""
    sizes = iter(wide(given))
    return tuple(1 if n == 1 else next(sizes) for n in wanted)


def _alone(here: Unit, there: Unit) -> str | None:
    """The only tensor of a unit, for a lone parameter on the other side."""
    return next(iter(here.names)) if len(here.names) == len(there.names) == 1 else None


def _is_square_map(unit: Unit, local: str) -> bool:
    shape = unit.shapes[local]
    return local == "weight" and len(shape) == 2 and shape[0] == shape[1] and not _is_no_map(unit)


def _step(given: Shape, wanted: Shape, square: bool, unit: Unit, turned: bool | None) -> Step | None:
    """What lays a tensor out as the model has it; ``None`` where nothing has to be done."""
    if square and given == wanted:
        if turned is None and unit.out_axis == 1:
            raise _UnknownLayoutError(
                "a square matrix, and nothing tells whether the source has it as (out, in) or (in, out)"
            )
        return transposed(given) if turned else None
    if given == wanted:
        return None
    if len(given) == len(wanted) == 2 and given == wanted[::-1]:
        return transposed(given)
    return reshaped(given, wanted) if wide(given) == wide(wanted) else None


def _joined(pair: Pair, turned: bool | None) -> list[Match]:
    """Several tensors of the source stacked into one of the model."""
    there, parts = pair.targets[0], pair.sources
    found = []
    for local, name in there.names.items():
        if not all(local in p.names for p in parts):
            continue
        pieces = tuple(Piece(p.names[local], p.shapes[local]) for p in parts)
        match = Match(name, pieces, "structure", pair.evidence)
        if local == "weight" and _lies_turned(parts, turned, there):
            match = match.then(transposed(match.shape))
        if match.shape != there.shapes[local]:
            raise _UnknownLayoutError(f"{', '.join(p.tensor for p in pieces)} do not stack to {there.shapes[local]}")
        found.append(match)
    return found


def _lies_turned(parts: Sequence[Unit], turned: bool | None, fused: Unit) -> bool:
    """Whether the stacked parts have to be turned to lie as the fused weight does."""
    stacked = (sum(p.main[0] for p in parts), *parts[0].main[1:])
    if stacked == fused.main:
        if turned and fused.main[0] != fused.main[1]:
            raise _UnknownLayoutError("its parts lie as (in, out), which are not stacked")
        return False
    return stacked[::-1] == fused.main


def _cut(pair: Pair, turned: bool | None) -> list[Match]:
    """One tensor of the source cut into several of the model."""
    here, parts = pair.sources[0], pair.targets
    found = []
    for local in here.names:
        at = 0
        shape = here.shapes[local]
        turn = local == "weight" and len(shape) == 2 and _fused_axis(here, parts) == 1
        for part in parts:
            if local not in part.names:
                continue
            wanted = part.shapes[local]
            # A square part of a turned whole lies as the model's other matrices do.
            back = local == "weight" and turn and turned is False
            size = wanted[0] if not back else wanted[1]
            if turn:
                match = Match(part.names[local], (Piece(here.names[local], shape),), "structure", pair.evidence)
                match = match.then(transposed(shape), rows(shape[::-1], at, at + size))
                if back:
                    match = match.then(transposed(match.shape))
            else:
                piece = Piece(here.names[local], (size, *shape[1:]), (at, at + size))
                match = Match(part.names[local], (piece,), "structure", pair.evidence)
                if local == "weight" and turned:
                    match = match.then(transposed(match.shape))
            at += size
            if match.shape != wanted:
                raise _UnknownLayoutError(f"rows of {here.names[local]!r} {shape} do not make {wanted}")
            found.append(match)
        if at not in (0, shape[1] if turn else shape[0]):
            raise _UnknownLayoutError(f"the parts do not use up {here.names[local]!r} {shape}")
    return found


def transposed(shape: Shape) -> Step:
    """The matrix turned."""

    def apply(values: torch.Tensor, key: Key, read: Reader) -> torch.Tensor:  # noqa: ARG001 - nothing is drawn
        return values.T

    return Step("transposed", "transposed", shape[::-1], apply, exact=True)


def reshaped(shape: Shape, wanted: Shape) -> Step:
    """The same values under a shape that differs in axes of size one."""

    def apply(values: torch.Tensor, key: Key, read: Reader) -> torch.Tensor:  # noqa: ARG001 - nothing is drawn
        return values.reshape(wanted)

    return Step("reshaped", f"{_words(shape)} as {_words(wanted)}", wanted, apply, exact=True)


def rows(shape: Shape, start: int, stop: int) -> Step:
    """Some rows."""

    def apply(values: torch.Tensor, key: Key, read: Reader) -> torch.Tensor:  # noqa: ARG001 - nothing is drawn
        return values[start:stop]

    return Step("cut", f"rows {start} to {stop - 1}", (stop - start, *shape[1:]), apply, exact=True)


def _words(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "a scalar"
