"""``match``: which tensors of a source each tensor of a model starts from, by four rules in order.

Names and shapes alone decide; nothing is read. A tensor of the source serves one target, and a shape that differs is
left for ``adapting``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...errors import ArgumentError, UnknownNameError
from ..records import Match, Matching, Piece, Shape, Target
from .evidence import Evidence
from .exact import exact
from .prefixes import prefixed
from .renames import Renames, apply_renames, matched
from .structure import structural

RULES = ("exact", "prefix", "rename", "structure")


def match(
    targets: Sequence[Target],
    shapes: Mapping[str, Shape],
    *,
    renames: Renames | None = None,
    rules: Sequence[str] = RULES,
    ours: Mapping[str, Evidence] | None = None,
    theirs: Mapping[str, Evidence] | None = None,
) -> Matching:
    """The matches of a model's tensors with a source's.

    Args:
        targets: the model's tensors, in the graph's order.
        shapes: the source's, in its order.
        renames: the user's rules. A tensor that one of them renames is found by its new name alone.
        rules: which of exact, prefix, rename and structure are asked.
        ours, theirs: what the graphs of the model and of the source know of their tensors.

    Raises:
        ArgumentError: a rule of this name does not exist, or renames are given without their rule.
        TransferError: a rename rule does nothing, or gives two tensors one name.
    """
    for rule in rules:
        if rule not in RULES:
            raise UnknownNameError.of("matching rule", str(rule), RULES)
    if renames and "rename" not in rules:
        raise ArgumentError(f"rename= is given, but match={tuple(rules)} leaves the rule 'rename' out")
    renamed = apply_renames(renames, list(shapes))
    matches = matched(renamed, targets, shapes) if renamed else {}
    notes = [f"{len(renamed)} tensors renamed"] if renamed else []
    reasons: dict[str, str] = {}
    moved = {item.old for item in renamed}
    if "exact" in rules:
        for found in exact(_open(targets, matches), {n: s for n, s in shapes.items() if n not in moved}):
            matches[found.target] = found
    if "prefix" in rules:
        # A renamed tensor may need its prefix changed as well: it goes by its new name here.
        new = {item.old: item.new for item in renamed}
        free = {new.get(n, n): s for n, s in _unused(shapes, matches).items()}
        back = {v: k for k, v in new.items()}
        by_name = [name for name, m in matches.items() if m.rule != "rename"]
        found_by_prefix, doubts, words = prefixed(_open(targets, matches), free, by_name, list(shapes))
        for found in found_by_prefix:
            matches[found.target] = _original(found, back)
        reasons |= doubts
        notes += words
    if "structure" in rules:
        unmatched = [t for t in _open(targets, matches) if t.name not in reasons]
        free = {n: s for n, s in _unused(shapes, matches).items() if n not in moved}
        found_by_structure, doubts = structural(unmatched, free, ours, theirs)
        matches |= {found.target: found for found in found_by_structure}
        reasons |= doubts
    return Matching(matches, reasons, tuple(notes))


def _original(found: Match, back: Mapping[str, str]) -> Match:
    """A match whose pieces have the source's own names again."""
    pieces = tuple(_piece(p, back) for p in found.pieces)
    return Match(found.target, pieces, found.rule, found.evidence, found.steps)


def _piece(piece: Piece, back: Mapping[str, str]) -> Piece:
    return Piece(back.get(piece.tensor, piece.tensor), piece.shape, piece.rows)


def _open(targets: Sequence[Target], matches: Mapping[str, Match]) -> list[Target]:
    return [t for t in targets if t.name not in matches]


def _unused(shapes: Mapping[str, Shape], matches: Mapping[str, Match]) -> dict[str, Shape]:
    used = {tensor for m in matches.values() for tensor in m.tensors}
    return {n: s for n, s in shapes.items() if n not in used}
