"""Matching by prefix: names that agree but for what stands before them, on either side.

``module.``, ``model.``, ``backbone.`` and their like are found from the names themselves: the pair of prefixes that
brings most tensors of equal shape together is taken, then the next. Two prefixes that fit one part of the model
equally well (a teacher and a student) are not chosen between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from ..records import Match, Piece, Shape, Target

Pair = tuple[str, str]  # the source's prefix, the model's


def prefixed(
    targets: Sequence[Target], shapes: Mapping[str, Shape], settled: Sequence[str] = (), names: Sequence[str] = ()
) -> tuple[list[Match], dict[str, str], list[str]]:
    """The matches by prefix, reasons for targets that two prefixes fit, and notes.

    Args:
        targets: those without a match.
        shapes: the source's tensors that are not used yet.
        settled: the targets that have a match under their own name: a prefix that fewer tensors ask for than do
            without is a chance agreement.
        names: all the source's names.
    """
    open_targets = {name: t for t in targets for name in t.parameter.names}
    open_tensors = dict(shapes)
    matches: list[Match] = []
    reasons: dict[str, str] = {}
    notes: list[str] = []
    while True:
        found = _best(open_targets, open_tensors, settled, names)
        if found is None:
            return matches, reasons, notes
        pair, rivals, met = found
        if rivals:
            listed = " and ".join(repr(p[0]) for p in (pair, *rivals))
            for name, _ in met:
                reasons[open_targets[name].name] = (
                    f"the source has it under {listed}: choose with rename={{'{pair[0]}*': '{pair[1]}*'}} or section="
                )
            _drop(open_targets, [open_targets[name] for name, _ in met])
            continue
        evidence = _words(pair)
        notes.append(f"prefix {evidence}")
        for name, tensor in met:
            target = open_targets.get(name)
            if target is not None:
                matches.append(Match(target.name, (Piece(tensor, shapes[tensor]),), "prefix", evidence))
                open_tensors.pop(tensor)
                _drop(open_targets, [target])


def _drop(open_targets: dict[str, Target], done: Sequence[Target]) -> None:
    for target in done:
        for name in target.parameter.names:
            open_targets.pop(name, None)


def _words(pair: Pair) -> str:
    source, model = pair
    if source and model:
        return f"{source!r} read as {model!r}"
    return f"{source!r} dropped" if source else f"{model!r} added"


def _best(
    targets: Mapping[str, Target], shapes: Mapping[str, Shape], settled: Sequence[str], everything: Sequence[str]
) -> tuple[Pair, list[Pair], list[tuple[str, str]]] | None:
    """The pair of prefixes that fits best, the others that fit as well, and the names it brings together."""
    votes: dict[Pair, list[tuple[str, str]]] = defaultdict(list)
    for name, tensor, pair in _meetings(targets, shapes):
        votes[pair].append((name, tensor))
    good: dict[Pair, tuple[int, int]] = {}
    for pair, names in votes.items():
        equal = sum(targets[n].shape == shapes[t] for n, t in names)
        without = sum(n.startswith(pair[1]) for n in settled)
        if equal > without and not _one_of_many(pair[0], everything) and _holds(pair, names, equal, targets):
            # Most tensors; then one prefix rather than two; then the shorter.
            good[pair] = (equal, -(bool(pair[0]) + bool(pair[1])))
    if not good:
        return None
    top = max(good.values())
    best = [p for p, score in good.items() if score == top]
    first = min(best, key=lambda p: (len(p[0]) + len(p[1]), p))
    # Rivals bring the same targets under another prefix of the source.
    own = {n for n, _ in votes[first]}
    rivals = [p for p in best if p != first and p[1] == first[1] and {n for n, _ in votes[p]} == own]
    return first, rivals, votes[first]


def _holds(pair: Pair, names: Sequence[tuple[str, str]], equal: int, targets: Mapping[str, Target]) -> bool:
    """Whether a pair of prefixes is more than a chance agreement of a few last segments."""
    if 2 * equal <= len(names):
        return False
    source, model = pair
    below = [n for n in targets if n.startswith(model)]
    if not (source and model):
        # One prefix more: anything that agrees in the rest of the name, if it is more than "weight".
        return any("." in n[len(model) :] for n, _ in names) or 2 * equal > len(below)
    # One prefix for another: blocks that differ in their number are not the same block.
    if _numbered(source) or _numbered(model):
        return False
    return equal >= 3 and 2 * equal > len(below) and any("." in n[len(model) :] for n, _ in names)


def _numbered(prefix: str) -> bool:
    return any(s.isdigit() for s in prefix.split("."))


def _one_of_many(prefix: str, names: Sequence[str]) -> bool:
    """Whether a prefix ends in a number that has siblings: one block of several says nothing by its name."""
    parts = prefix.removesuffix(".").split(".")
    if not parts[-1].isdigit():
        return False
    above = "".join(f"{p}." for p in parts[:-1])
    return any(n.startswith(above) and not n.startswith(prefix) and n[len(above) :][:1].isdigit() for n in names)


def _meetings(targets: Mapping[str, Target], shapes: Mapping[str, Shape]) -> Iterator[tuple[str, str, Pair]]:
    """Pairs of names with a common end, and the prefixes before the longest such end."""
    ends: dict[str, list[str]] = defaultdict(list)
    for tensor in shapes:
        for end in _ends(tensor):
            ends[end].append(tensor)
    for name in targets:
        seen: set[str] = set()
        for end in _ends(name):
            fresh = [t for t in ends.get(end, ()) if t not in seen]
            seen.update(fresh)
            for tensor in fresh if len(fresh) <= 64 else ():
                yield name, tensor, (tensor[: len(tensor) - len(end)], name[: len(name) - len(end)])


def _ends(name: str) -> list[str]:
    """A name's ends at its dots, the longest first."""
    parts = name.split(".")
    return [".".join(parts[i:]) for i in range(len(parts))]
