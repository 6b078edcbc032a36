"""Residual streams of a tape: which additions join a branch to a stream, and how many branches a stream takes up.

``uses`` marks with it the weights that close a branch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from .ops import NORMS, POOLS, SUMS, VIEWS
from .records import Branch
from .tape import Flow, Node, Tape
from .walks import is_weight_call, meets_softmax

_ON_THE_STREAM = VIEWS | POOLS | {"relu", "mul", "div", "neg"}


@dataclass(frozen=True, slots=True)
class Join:
    """An addition of a branch to a stream.

    Args:
        node: the addition.
        skip: the value that came along the stream; ``branch`` the value that is added to it.
        projected: whether the stream itself passed a weight since the two parted: it starts anew here.
        place: where that is in its stream.
        beside: the join whose branch left the stream at the same point: parallel branches are one.
    """

    skip: int
    branch: int
    projected: bool
    place: Branch
    beside: int | None = None


def joins(tape: Tape) -> Mapping[int, Join]:
    """The residual joins of a tape, by the addition's place on it.

    An addition of a and b is a join if b was made from a through at least one weight, and a came to it unchanged but
    for views. Where both passed weights since they parted, the shortcut is projected and the stream starts anew, unless
    the sum is itself a branch: parallel branches are one. A normalization on the stream ends it as well: what follows
    has unit variance whatever was added before.
    """
    found = _found(tape)
    if not found:
        return {}
    inside = {_root(tape, j.branch)[0] for j in found.values() if not j.projected}
    kept = {n: j for n, j in found.items() if not (j.projected and n in inside)}
    stream: dict[int, int] = {}
    index: dict[int, int] = {}
    for n in sorted(kept):
        before = None if kept[n].projected else _previous(tape, kept[n].skip, kept)
        stream[n] = n if before is None else stream[before]
        new = kept[n].beside is None
        index[n] = 1 if before is None else index[before] + new
    totals = Counter(s for n, s in stream.items() if kept[n].beside is None)
    numbers = {start: i for i, start in enumerate(sorted(totals))}
    places = {n: Branch(n, numbers[stream[n]], index[n], totals[stream[n]]) for n in kept}
    return {n: replace(join, place=places[n]) for n, join in kept.items()}


def _found(tape: Tape) -> dict[int, Join]:
    found: dict[int, Join] = {}
    sums = [node for node in tape if node.flow is Flow.DATA and node.op in SUMS]
    if not sums:
        return found
    before, weights = _ancestors(tape)
    readers = tape.readers()
    for node in sums:
        data = [o.ref for o in node.operands if tape[o.ref.node].flow is Flow.DATA]
        if len(data) != 2 or data[0].shape != data[1].shape or len(node.shape) < 2:
            continue
        join = _join(tape, node, data[0].node, data[1].node, before, weights, found)
        if join is not None and not meets_softmax(readers, node.id):
            found[node.id] = join
    return found


def _join(
    tape: Tape, node: Node, a: int, b: int, before: list[int], weights: list[int], found: Mapping[int, Join]
) -> Join | None:
    place = Branch(node.id, 0, 1, 1)
    for skip, branch in ((a, b), (b, a)):
        root, passed = _root(tape, skip)
        for stop in (root, *passed):
            if stop != branch and before[branch] >> stop & 1 and weights[branch] & ~weights[stop]:
                return Join(skip, branch, False, place)
        # x + attention(x) + mlp(x): the second branch left the stream before the first joined it.
        earlier = found.get(root)
        if earlier is not None and not earlier.projected:
            start = _root(tape, earlier.skip)[0]
            if before[branch] >> start & 1 and weights[branch] & ~weights[start]:
                return Join(skip, branch, False, place, beside=root)
    own_a, own_b = weights[a] & ~weights[b], weights[b] & ~weights[a]
    if own_a and own_b and weights[a] & weights[b]:
        # The branch is the side that passed more weights.
        skip, branch = (a, b) if own_a.bit_count() < own_b.bit_count() else (b, a)
        return Join(skip, branch, True, place)
    return None


def _ancestors(tape: Tape) -> tuple[list[int], list[int]]:
    """For each node, as bit sets: the data nodes it was made from, itself among them, and the weight calls of those."""
    before, weights = [0] * len(tape), [0] * len(tape)
    for node in tape:
        if node.flow is not Flow.DATA:
            continue
        every = 1 << node.id
        calls = every if is_weight_call(tape, node) else 0
        for i in node.inputs:
            every |= before[i]
            calls |= weights[i]
        before[node.id], weights[node.id] = every, calls
    return before, weights


def _root(tape: Tape, start: int) -> tuple[int, list[int]]:
    """Where a value came from, back through views and multiplications with what is no data, and the way there."""
    passed = [start]
    while True:
        node = tape[passed[-1]]
        data = [i for i in node.inputs if tape[i].flow is Flow.DATA]
        if not data or not (node.op in VIEWS or (node.op in ("mul", "div") and len(data) == 1)):
            return passed[-1], passed
        passed.append(data[0])


def _previous(tape: Tape, skip: int, kept: Mapping[int, Join]) -> int | None:
    """The join before this one on its stream."""
    waiting, seen = [skip], set()
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        if place in kept:
            return place
        node = tape[place]
        data = [i for i in node.inputs if tape[i].flow is Flow.DATA]
        alone = len(data) == 1 or node.op in VIEWS
        if node.op in NORMS or is_weight_call(tape, node) or not alone:
            continue
        if node.op in _ON_THE_STREAM | SUMS:
            waiting += data[:1]
    return None
