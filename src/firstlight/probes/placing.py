"""Places from what was observed: numbered, matched with the calls of the traced graph, residual joins told apart.

``measuring`` uses it once the forward and the backward pass are done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..graphs import Graph, Tape
from ..graphs.residuals import Join, joins
from .observing import Seen
from .parts import Kind, Place


def placed(seen: Sequence[Seen], graph: Graph) -> tuple[Place, ...]:
    """The places in execution order; an addition that the graph knows to join no branch is none."""
    tape = graph.tape
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
    calls: dict[tuple[str, str, int], int] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for node in tape:
        if not node.is_source:
            key = (node.module, node.op)
            calls[(*key, counts[key])] = node.id
            counts[key] += 1
    found: list[int | None] = []
    for place in seen:
        node_id = calls.get((place.module, place.op, place.occurrence))
        fits = node_id is not None and place.shape in tape[node_id].shapes
        found.append(node_id if fits else None)
    return found
