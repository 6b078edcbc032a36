"""Pairs of units within one block of each side: by shape, role, number and name, and never by guess.

``structure`` brings blocks together; here the units left in two blocks are paired as far as the evidence goes. What
two pairings would fit equally is left, with the reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from .units import Unit, numbers, template, wide
from .words import FUSIONS, common, role, settled_gates

_RESIZED = frozenset({"positions", "tokens", "token types", "patches", "head", "relative bias"})


@dataclass(frozen=True, slots=True)
class Pair:
    """Units that hold the same weights: one of each side, or several on one where one of them is fused.

    Args:
        sources, targets: in the order in which the fused one stacks them.
        evidence: what speaks for it.
    """

    sources: tuple[Unit, ...]
    targets: tuple[Unit, ...]
    evidence: str


@dataclass(slots=True)
class Pairing:
    """What is found so far.

    Args:
        pairs: the pairs.
        reasons: why a unit of the model has none, by its path.
        block: the path of the source's block that it was found in, which the reasons name.
    """

    pairs: list[Pair] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    block: str = ""

    def extend(self, other: Pairing) -> None:
        """Take up what was found elsewhere."""
        self.pairs += other.pairs
        self.reasons |= other.reasons


def pair_units(sources: Sequence[Unit], targets: Sequence[Unit], depth: tuple[int, int]) -> Pairing:
    """The pairs of two blocks' units.

    Args:
        sources, targets: the units.
        depth: how many segments of their paths lead to the block, on each side.
    """
    found = Pairing()
    roles = _Roles(sources, targets, depth)
    left = _fused(list(sources), list(targets), roles, found)
    classes: dict[object, tuple[list[Unit], list[Unit]]] = defaultdict(lambda: ([], []))
    for side in (0, 1):
        for unit in left[side]:
            classes[unit.form][side].append(unit)
    for here, there in classes.values():
        if here and there:
            _pair_class(here, there, roles, depth, found)
    _pair_resized(left, roles, found)
    return found


def _pair_resized(left: tuple[list[Unit], list[Unit]], roles: _Roles, found: Pairing) -> None:
    """Pairs of tables, positions, patches and heads that no unit of their own size is left for: to be adapted."""
    paired = {id(u) for pair in found.pairs for u in (*pair.sources, *pair.targets)}
    here, there = ([u for u in side if id(u) not in paired and roles(u) in _RESIZED] for side in left)
    counts = Counter(map(roles, here)), Counter(map(roles, there))
    for unit in there:
        mark = roles(unit)
        partner = next((u for u in here if roles(u) == mark), None)
        if partner is None or counts[0][mark] != 1 or counts[1][mark] != 1:
            continue
        if len(wide(partner.main)) == len(wide(unit.main)) and partner.main != unit.main:
            found.pairs.append(Pair((partner,), (unit,), f"{mark}, of another size"))
            found.reasons.pop(_name(unit), None)


def _named_role(unit: Unit, skip: int, beside: Collection[str]) -> str:
    """The role that a name claims; a single letter claims one only beside the others: q, k and v."""
    if unit.path and len(unit.path[-1]) == 1 and not {"q", "k", "v"} <= set(beside):
        return ""
    return role(unit.path[skip:], unit.kind)


def _claimed(unit: Unit, named: str) -> str:
    """The role that the graph knows; the name's, where that says the same and more."""
    return named if not unit.known or named.endswith(f" {unit.known}") else unit.known


class _Roles:
    """The role of each unit, by the graph where it knows and by its name where not."""

    def __init__(self, sources: Sequence[Unit], targets: Sequence[Unit], depth: tuple[int, int]) -> None:
        self.of: dict[int, str] = {}
        for units, skip in ((sources, depth[0]), (targets, depth[1])):
            letters = {u.path[-1] for u in units if u.path}
            named = settled_gates([_claimed(u, _named_role(u, skip, letters)) for u in units])
            self.of |= {id(u): r for u, r in zip(units, named, strict=True)}

    def __call__(self, unit: Unit) -> str:
        return self.of[id(unit)]


def _fused(sources: list[Unit], targets: list[Unit], roles: _Roles, found: Pairing) -> tuple[list[Unit], list[Unit]]:
    """Pairs of one fused unit with its parts, either way; what is left."""
    for whole, parts in FUSIONS.items():
        for wholes, singles, at_target in ((targets, sources, True), (sources, targets, False)):
            fused = [u for u in wholes if roles(u) == whole]
            split = [[u for u in singles if roles(u) == p] for p in parts]
            if len(fused) != 1 or any(len(s) != 1 for s in split):
                continue
            pieces = tuple(s[0] for s in split)
            if not _adds_up(fused[0], pieces):
                continue
            words = f"{whole} of {', '.join(parts)}, by their names"
            pair = Pair(pieces, (fused[0],), words) if at_target else Pair((fused[0],), pieces, words)
            found.pairs.append(pair)
            gone = {id(fused[0]), *map(id, pieces)}
            sources[:] = [u for u in sources if id(u) not in gone]
            targets[:] = [u for u in targets if id(u) not in gone]
    return sources, targets


def _adds_up(fused: Unit, parts: Sequence[Unit]) -> bool:
    """Whether parts stacked along their outputs have the size of the fused one, whichever way each is laid out."""
    if len(fused.main) != 2 or any(len(p.main) != 2 for p in parts):
        return False
    a, b = fused.main
    for stacked, shared in ((a, b), (b, a)):
        for axis in (0, 1):
            if all(p.main[1 - axis] == shared for p in parts) and sum(p.main[axis] for p in parts) == stacked:
                return True
    return False


def _pair_class(
    sources: list[Unit], targets: list[Unit], roles: _Roles, depth: tuple[int, int], found: Pairing
) -> None:
    """Pairs among units of one kind and size."""
    equal = len(sources) == len(targets)
    _pair_by(sources, targets, [roles(u) for u in sources], [roles(u) for u in targets], found)
    here, there = ([".".join(u.path[d:]) for u in side] for side, d in ((sources, depth[0]), (targets, depth[1])))
    _pair_by(sources, targets, here, there, found)
    _pair_by_graph(sources, targets, roles, found)
    _pair_numbered(sources, targets, roles, found)
    _pair_by_words(sources, targets, roles, depth, found)
    _pair_by(sources, targets, [roles(u) for u in sources], [roles(u) for u in targets], found)
    if not (sources and targets):
        return
    if equal and len(sources) == len(targets) == 1:
        source, target = sources[0], targets[0]
        if not _exclude(roles(source), roles(target)):
            found.pairs.append(Pair((source,), (target,), f"the only {_named(target)} that both have left"))
            return
    for unit in targets:
        found.reasons[_name(unit)] = _doubt(unit, sources, targets, roles)


def _pair_by(
    sources: list[Unit], targets: list[Unit], here: Sequence[str], there: Sequence[str], found: Pairing
) -> None:
    """Pairs of units that share a mark which no other unit of the class has."""
    counts = Counter(here), Counter(there)
    by_mark = dict(zip(here, sources, strict=True))
    for unit, mark in zip(list(targets), there, strict=True):
        if mark and counts[0][mark] == counts[1][mark] == 1:
            partner = by_mark[mark]
            found.pairs.append(Pair((partner,), (unit,), f"{mark}, {_named(unit)}"))
            _take(sources, partner)
            _take(targets, unit)


def _pair_by_graph(sources: list[Unit], targets: list[Unit], roles: _Roles, found: Pairing) -> None:
    """Pairs by what both graphs tell: the same role before the same nonlinearity, then the order of the forward."""
    if not all(u.depth >= 0 for u in (*sources, *targets)):
        return
    marks = [
        [f"{roles(u) or u.kind}, before {u.meets or 'no nonlinearity'}" for u in side] for side in (sources, targets)
    ]
    _pair_by(sources, targets, marks[0], marks[1], found)
    groups = ({u.known for u in side} for side in (sources, targets))
    for known in sorted(set.intersection(*groups)):
        here, there = (sorted((u for u in s if u.known == known), key=lambda u: u.depth) for s in (sources, targets))
        # One behind the other on both sides: what lies side by side has no order.
        behind = all(len({u.depth for u in side}) == len(side) for side in (here, there))
        if len(here) == len(there) and behind:
            for i, (s, t) in enumerate(zip(here, there, strict=True)):
                found.pairs.append(Pair((s,), (t,), f"{_named(t)}, {i + 1} of {len(here)} along both forwards"))
                _take(sources, s)
                _take(targets, t)


def _take(units: list[Unit], gone: Unit) -> None:
    """Remove a unit by identity."""
    units[:] = [u for u in units if u is not gone]


def _pair_numbered(sources: list[Unit], targets: list[Unit], roles: _Roles, found: Pairing) -> None:
    """Pairs by number where each side is one numbered series of equal length."""
    if len(sources) != len(targets) or len(sources) < 2:
        return
    if len({template(u.path) for u in sources}) == 1 == len({template(u.path) for u in targets}):
        if any(_exclude(roles(s), roles(t)) for s, t in zip(sources, targets, strict=True)):
            return
        here, there = (sorted(side, key=lambda u: numbers(u.path)) for side in (sources, targets))
        for i, (s, t) in enumerate(zip(here, there, strict=True)):
            found.pairs.append(Pair((s,), (t,), f"{_named(t)}, number {i + 1} of {len(here)} in both"))
        sources.clear()
        targets.clear()


def _pair_by_words(
    sources: list[Unit], targets: list[Unit], roles: _Roles, depth: tuple[int, int], found: Pairing
) -> None:
    """Pairs whose names share more words with one another than with any other of their class."""

    def shared(s: Unit, t: Unit) -> int:
        return -1 if _exclude(roles(s), roles(t)) else common(s.path[depth[0] :], t.path[depth[1] :])

    if len(sources) * len(targets) > 4096:
        return
    table = {(id(s), id(t)): shared(s, t) for s in sources for t in targets}
    chosen = []
    for t in targets:
        ranked = sorted(sources, key=lambda s: -table[id(s), id(t)])
        best = ranked[0] if ranked else None
        if best is None or table[id(best), id(t)] <= 0:
            continue
        clear = len(ranked) == 1 or table[id(ranked[1]), id(t)] < table[id(best), id(t)]
        rivals = [u for u in targets if u is not t and table[id(best), id(u)] >= table[id(best), id(t)]]
        # One word in common with the only candidate says little; it has to tell two candidates apart.
        if clear and not rivals and (len(ranked) > 1 or len(targets) > 1):
            chosen.append((best, t))
    for s, t in chosen:
        found.pairs.append(Pair((s,), (t,), f"{_named(t)}, by the words of its name"))
        _take(sources, s)
        _take(targets, t)


def _exclude(a: str, b: str) -> bool:
    """Whether two roles cannot be the same thing."""
    return bool(a and b and a != b)


def _doubt(unit: Unit, sources: Sequence[Unit], targets: Sequence[Unit], roles: _Roles) -> str:
    fit = [s for s in sources if not _exclude(roles(s), roles(unit))]
    shape = "×".join(map(str, unit.main))
    if not fit:
        claimed = ", ".join(f"{_name(s)!r} ({roles(s)})" for s in sources[:3])
        return f"of its size {shape} the source has {claimed}, and by its own name it is {roles(unit)!r}"
    if len(fit) == 1 and len(targets) == 1:
        return f"{_name(fit[0])!r} has its size {shape}, and nothing more speaks for it"
    names = ", ".join(repr(_name(s)) for s in fit[:4]) + (" …" if len(fit) > 4 else "")
    rivals = f" and {len(targets) - 1} more of the model's" if len(targets) > 1 else ""
    return f"{names} fit it{rivals} equally (size {shape}): say which with rename="


def _named(unit: Unit) -> str:
    size = "×".join(map(str, wide(unit.main))) or "1"
    return f"{unit.kind} of size {size}"


def _name(unit: Unit) -> str:
    return ".".join(unit.path)
