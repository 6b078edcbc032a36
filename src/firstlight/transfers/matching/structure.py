"""Matching by structure: two sides whose names differ and whose modules agree in order, role, shape and place.

Repeated blocks are found on both sides as series of numbered paths. Series whose blocks hold the same number of
values, one after the other, are laid side by side, the widest first; then the units within two blocks are paired
(``pairing``), once for all blocks that are alike. What remains outside of blocks is paired the same way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..records import Match, Shape, Target
from .evidence import Evidence
from .layouts import laid_out
from .pairing import Pair, Pairing, pair_units
from .units import Unit, numbers, template, units, weight_of
from .words import common, role

_PARTS = frozenset({"q", "k", "v", "o", "qkv", "kv", "gate", "up", "down", "gate up", "w1", "w2", "w3"})
Path = tuple[str, ...]
# Pairs of blocks that were paired before, by what makes blocks alike, and where their own paths began.
Memory = dict[object, tuple[Pairing, tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Series:
    """Blocks whose paths differ in their numbers alone, in the order of these.

    Args:
        template: their path, each number a ``#``.
        paths: theirs.
        weights: how many values each holds, by kind.
        blocks: the units of each.
        rest: the units of further blocks, which the other side has no partners for.
    """

    template: Path
    paths: tuple[Path, ...]
    weights: tuple[tuple[int, int, int], ...]
    blocks: tuple[tuple[Unit, ...], ...]
    rest: tuple[Unit, ...] = ()

    @property
    def single(self) -> bool:
        """Whether its blocks are single units."""
        return all(len(block) == 1 for block in self.blocks)

    @property
    def size(self) -> int:
        """How many units it has."""
        return sum(map(len, self.blocks))


def structural(
    targets: Sequence[Target],
    shapes: Mapping[str, Shape],
    ours: Mapping[str, Evidence] | None = None,
    theirs: Mapping[str, Evidence] | None = None,
) -> tuple[list[Match], dict[str, str]]:
    """The matches by structure, and reasons for the targets that could not be decided.

    Args:
        targets: the model's tensors without a match, in the graph's order.
        shapes: the source's tensors that are not used yet.
        ours, theirs: what the graphs of the model and of the source know; of a file nothing is known.
    """
    # In the order of names: that of a file says nothing, and may change nothing.
    here = [_informed(u, theirs or {}) for u in units(sorted(shapes.items()))]
    there = [_informed(u, ours or {}) for u in units((t.name, t.shape) for t in targets)]
    pairing = _pair_blocks(here, there, (0, 0), {})
    matches, doubts = laid_out(pairing.pairs)
    by_path = {".".join(u.path): u for u in there}
    reasons = {
        name: reason
        for path, reason in pairing.reasons.items()
        if path in by_path
        for name in by_path[path].names.values()
    }
    found = {m.target for m in matches}
    return matches, {n: r for n, r in (reasons | doubts).items() if n not in found}


def _informed(unit: Unit, known: Mapping[str, Evidence]) -> Unit:
    """A unit with what its graph knows of it."""
    found = known.get(unit.names.get("weight") or next(iter(unit.names.values())))
    if found is None:
        return unit
    return replace(
        unit, known=found.role, meets=found.meets, depth=found.depth, out_axis=found.out_axis, table=found.table
    )


def _pair_blocks(
    sources: Sequence[Unit],
    targets: Sequence[Unit],
    depth: tuple[int, int],
    known: Memory,
) -> Pairing:
    """All pairs of two blocks: first the series of blocks within them, then their own units."""
    found = Pairing()
    here, there = list(sources), list(targets)
    while True:
        met = _meeting(here, there, depth)
        if met is None:
            break
        left, right = met
        if left.single and right.single:
            found.pairs += _numbered_pairs(left, right)
        else:
            for s_path, t_path, *both in zip(left.paths, right.paths, left.blocks, right.blocks, strict=True):
                found.extend(_block(both[0], both[1], (len(s_path), len(t_path)), known))
        gone_here, gone_there = _ids(left), _ids(right)
        here = [u for u in here if id(u) not in gone_here]
        there = [u for u in there if id(u) not in gone_there]
    found.extend(pair_units(here, there, depth))
    return found


def _numbered_pairs(left: Series, right: Series) -> list[Pair]:
    """Pairs of two series of single units, by number."""
    count = len(left.paths)
    return [
        Pair(s, t, f"{t[0].kind}, number {i + 1} of {count} in both")
        for i, (s, t) in enumerate(zip(left.blocks, right.blocks, strict=True))
    ]


def _ids(series: Series) -> set[int]:
    return {id(u) for block in (*series.blocks, series.rest) for u in block}


def _block(
    sources: Sequence[Unit],
    targets: Sequence[Unit],
    depth: tuple[int, int],
    known: Memory,
) -> Pairing:
    """The pairs of two blocks; blocks like some that were paired before are paired in the same way."""
    mark = (_mark(sources, depth[0]), _mark(targets, depth[1]))
    earlier = known.get(mark)
    if earlier is None:
        found = _pair_blocks(sources, targets, depth, known)
        found.block = ".".join(sources[0].path[: depth[0]])
        known[mark] = (found, depth)
        return found
    pairing, was = earlier
    here = {u.path[depth[0] :]: u for u in sources}
    there = {u.path[depth[1] :]: u for u in targets}
    again = Pairing()
    for pair in pairing.pairs:
        again.pairs.append(
            Pair(
                tuple(here[u.path[was[0] :]] for u in pair.sources),
                tuple(there[u.path[was[1] :]] for u in pair.targets),
                pair.evidence,
            )
        )
    block, source_block = (".".join(side[0].path[:d]) for side, d in ((targets, depth[1]), (sources, depth[0])))
    for path, reason in pairing.reasons.items():
        relative = path.split(".")[was[1] :]
        again.reasons[".".join([block, *relative])] = reason.replace(pairing.block, source_block)
    return again


def _mark(found: Sequence[Unit], depth: int) -> object:
    """What makes two blocks alike: their units' paths within them, and their tensors' shapes."""
    return tuple(
        (u.path[depth:], tuple(sorted(u.shapes.items())), u.known, u.meets, _rank(u, found), u.table, u.out_axis)
        for u in found
    )


def _rank(unit: Unit, among: Sequence[Unit]) -> int:
    """How many of a block's units lie before one: depths themselves grow from block to block."""
    return sum(u.depth < unit.depth for u in among)


def _meeting(sources: Sequence[Unit], targets: Sequence[Unit], depth: tuple[int, int]) -> tuple[Series, Series] | None:
    """The widest two series that fit each other and nothing else as well."""
    here, there = _series(sources, depth[0]), _series(targets, depth[1])
    by_weights: dict[object, tuple[list[Series], list[Series]]] = defaultdict(lambda: ([], []))
    for side, found in ((0, here), (1, there)):
        for series in found:
            by_weights[series.weights][side].append(series)
    ranked = sorted((c for c in by_weights.values() if c[0] and c[1]), key=lambda c: -max(s.size for s in c[1]))
    for ours, theirs in ranked:
        met = _sole(_outer(ours), _outer(theirs))
        if met is not None:
            return met
    return _main_series(here, there)


def _outer(found: Sequence[Series]) -> list[Series]:
    """Of series nested in one another, which hold the same units, the outermost."""
    kept: list[Series] = []
    for series in sorted(found, key=lambda s: len(s.template)):
        if not any(series.template[: len(k.template)] == k.template for k in kept):
            kept.append(series)
    return kept


def _sole(ours: Sequence[Series], theirs: Sequence[Series]) -> tuple[Series, Series] | None:
    """Two series that belong together: the only ones, or those whose names share most and no others as much."""
    if all(s.single for s in (*ours, *theirs)):
        # Of single units the roles tell more than the numbers: fc1 and fc2 are no w1 and w2.
        alone = len(ours) == len(theirs) == 1 and _alike(ours[0], theirs[0])
        return (ours[0], theirs[0]) if alone else None
    if len(ours) == len(theirs) == 1:
        return ours[0], theirs[0]
    for target in theirs:
        scores = sorted(((common(s.template, target.template), i) for i, s in enumerate(ours)), reverse=True)
        score, best = scores[0]
        if score > 0 and (len(scores) == 1 or scores[1][0] < score):
            rivals = [t for t in theirs if t is not target and common(ours[best].template, t.template) >= score]
            if not rivals:
                return ours[best], target
    return None


def _alike(ours: Series, theirs: Series) -> bool:
    """Whether single units agree in kind and size one by one, and no name claims a role in attention or beside it."""
    pairs = zip(ours.blocks, theirs.blocks, strict=True)
    claimed = (u.known or role(u.path, u.kind) for s in (ours, theirs) for b in s.blocks for u in b if u.kind == "map")
    return all(s[0].form == t[0].form for s, t in pairs) and not any(c in _PARTS for c in claimed)


def _main_series(ours: Sequence[Series], theirs: Sequence[Series]) -> tuple[Series, Series] | None:
    """The blocks that make up most of either side: as many that do not hold equally much, or the first ones alike."""
    mains = []
    for side in (ours, theirs):
        many = [s for s in side if all(len(b) > 1 for b in s.blocks)]
        top = max((s.size for s in many), default=0)
        widest = _outer([s for s in many if s.size == top])
        if len(widest) != 1:
            return None
        mains.append(widest[0])
    first, second = mains
    shared = min(len(first.paths), len(second.paths))
    if len(first.paths) == len(second.paths) > 1:
        return first, second
    if len(first.paths) != len(second.paths) and first.weights[:shared] == second.weights[:shared]:
        return _cut(first, shared), _cut(second, shared)
    return None


def _cut(series: Series, count: int) -> Series:
    """The first blocks of a series."""
    rest = tuple(u for block in series.blocks[count:] for u in block)
    return Series(series.template, series.paths[:count], series.weights[:count], series.blocks[:count], rest)


def _series(found: Sequence[Unit], depth: int) -> list[Series]:
    """Every series of numbered blocks, and of numbered units, below a block."""
    held: dict[Path, dict[Path, list[Unit]]] = defaultdict(lambda: defaultdict(list))
    for unit in found:
        relative = unit.path[depth:]
        marks = template(relative)
        for end in range(1, len(marks) + 1):
            if any("#" in s for s in marks[:end]):
                held[marks[:end]][relative[:end]].append(unit)
    series = []
    for marks, blocks in held.items():
        ordered = sorted(blocks, key=numbers)
        if len(ordered) == 1 and len(blocks[ordered[0]]) == 1:
            continue  # one numbered unit is a unit
        inner = tuple(tuple(blocks[p]) for p in ordered)
        head = found[0].path[:depth]
        series.append(Series(marks, tuple((*head, *p) for p in ordered), tuple(map(weight_of, inner)), inner))
    return series
