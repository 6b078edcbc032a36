"""Places from what was observed: numbered, matched with the calls of the traced graph, residual joins told apart.

``measuring`` uses it once the forward and the backward pass are done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from ..graphs import Graph, Tape
from ..graphs.residuals import Join, joins
from .observing import Seen
from .parts import Backward, Forward, Kind, Place

Statistics = TypeVar("Statistics", Forward, Backward)


def placed(seen: Sequence[Seen], graph: Graph, *, parallel: bool = False) -> tuple[Place, ...]:
    """The places in execution order; an addition that the graph knows to join no branch is none.

    Of a ``parallel`` model's value a process may have a part: the call on the tape, of the whole, tells of what shape.
    """
    tape = graph.tape
    if tape is not None and parallel:
        seen = [_completed(s, shapes) for s, shapes in zip(seen, _shapes(seen, tape), strict=True)]
    nodes = [None] * len(seen) if tape is None else _matched(seen, tape)
    known: Mapping[int, Join] = {} if tape is None else joins(tape)
    kept = [
        (place, node)
        for place, node in zip(seen, nodes, strict=True)
        if not (place.kind is Kind.JOIN and node is not None and node not in known)
    ]
    last = max(len(kept) - 1, 1)
    found = []
    for index, (place, node) in enumerate(kept):
        join = known.get(node) if node is not None else None
        branch = None if join is None else (join.place.stream, join.place.index, join.place.total)
        found.append(
            Place(
                index,
                place.module,
                place.module_type,
                place.op,
                place.kind,
                place.parameters,
                node,
                index / last,
                place.depth,
                place.shape,
                place.dtype,
                place.forward,
                place.backward,
                branch,
                place.calls,
                place.last_forward,
                place.last_backward,
            )
        )
    return tuple(found)


def _matched(seen: Sequence[Seen], tape: Tape) -> list[int | None]:
    """For each place the call on the tape: the same call of the same module, counted alike, of the same shape."""
    return [
        n if n is not None and place.shape in tape[n].shapes else None
        for place, n in zip(seen, _called(seen, tape), strict=True)
    ]


def _called(seen: Sequence[Seen], tape: Tape) -> list[int | None]:
    """The same, of whatever shape."""
    calls: dict[tuple[str, str, int], int] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for node in tape:
        if not node.is_source:
            key = (node.module, node.op)
            calls[(*key, counts[key])] = node.id
            counts[key] += 1
    return [calls.get((place.module, place.op, place.occurrence)) for place in seen]


def _shapes(seen: Sequence[Seen], tape: Tape) -> list[tuple[tuple[int, ...], ...]]:
    return [() if n is None else tuple(map(tuple, tape[n].shapes)) for n in _called(seen, tape)]


def _completed(seen: Seen, shapes: Sequence[tuple[int, ...]]) -> Seen:
    """A place of the whole value, where one axis of it is cut: its numbers are means over the parts already."""
    shape = next((s for s in shapes if len(_cut(seen.shape, s)) == 1), None)
    if seen.shape in shapes or shape is None:
        return seen
    axis = _cut(seen.shape, shape)[0]
    times = shape[axis] / seen.shape[axis]
    return replace(
        seen,
        shape=shape,
        forward=_larger(seen.forward, seen.shape[axis], times),
        backward=_larger(seen.backward, seen.shape[axis], times),
        last_forward=_larger(seen.last_forward, seen.shape[axis], times),
        last_backward=_larger(seen.last_backward, seen.shape[axis], times),
    )


def _cut(part: Sequence[int], whole: Sequence[int]) -> list[int]:
    """The axes along which a shape may be a part of another; none where it is not."""
    fits = len(part) == len(whole) and all(0 < a <= b for a, b in zip(part, whole, strict=True))
    return [i for i, (a, b) in enumerate(zip(part, whole, strict=True)) if a != b] if fits else []


def _larger(record: Statistics | None, units: int, times: float) -> Statistics | None:
    """The counts of all parts; what was cut are the units where there were as many, or else the rows."""
    if record is None:
        return None
    grown = replace(record, count=round(record.count * times), nonfinite=round(record.nonfinite * times))
    if isinstance(grown, Forward):
        name = "units" if grown.units == units else "rows"
        return replace(grown, **{name: round(getattr(grown, name) * times)})
    return grown
