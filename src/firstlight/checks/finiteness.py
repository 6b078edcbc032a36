"""NaN and infinity: which came first, and where."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from ..graphs import Node
from ..graphs.ops import words
from ..probes.records import Kind, Origin, Place
from .looking import Look
from .records import Evidence, Finding, Severity
from .repairs import replanned

_CURES = {
    "log": "keep its argument positive: torch.log(x.clamp_min(1e-6)), or log_softmax for probabilities",
    "sqrt": "keep its argument away from zero: torch.sqrt(x + 1e-8)",
    "div": "keep its divisor away from zero: x / (y + 1e-8)",
    "softmax": "leave at least one entry of every row unmasked",
    "norm": "add a small number under the root: (x.square().sum(-1) + 1e-12).sqrt()",
}


_STEEP = words(
    "sqrt rsqrt norm vector_norm linalg_norm linalg_vector_norm std pow log log2 log10 div reciprocal acos asin acosh "
    "atanh cdist pairwise_distance true_divide"
)
_SMALLER = "draw the weights for what they meet, so that nothing grows: fl.init_(model, 'auto', inputs=x)"


def rules(look: Look) -> Iterator[Finding]:
    """The first value that is not finite. Exact."""
    light = look.light
    bad = next((p for p in light.of(Kind.INPUT) if p.forward is not None and p.forward.nonfinite), None)
    if bad is not None and bad.forward is not None:
        yield _finding(
            "non-finite-inputs", "the inputs", 0.0, bad.forward.nonfinite, "the batch holds them", "clean the batch"
        )
        return
    targets = None if light.loss is None else light.loss.targets
    if targets is not None and targets.nonfinite:
        yield _finding(
            "non-finite-inputs", "the targets", 1.0, targets.nonfinite, "the targets hold them", "clean the targets"
        )
        return
    lost = [w for w in light.weights if w.nonfinite]
    if lost:
        first = lost[0]
        yield Finding(
            "non-finite-weights",
            Severity.ERROR,
            first.name,
            next((p.position for p in light.places if first.name in p.parameters), None),
            (Evidence("NaN or infinite values", float(first.nonfinite), 0.0, 0.0, "exact"),),
            f"{first.name} was never written (torch.empty), or a step or a file put them there",
            "draw it again",
            replanned(light, [w.name for w in lost]),
        )
        return
    if light.origin is not None:
        yield from _of_origin(look, light.origin)


def _of_origin(look: Look, origin: Origin) -> Iterator[Finding]:
    place = None if origin.place is None else look.light.places[origin.place]
    where = origin.name or origin.module or (origin.op if place is None else look.name_of(place))
    position = None if place is None else place.position
    cure = next((text for word, text in _CURES.items() if word in origin.op), "")
    if origin.what == "backward":
        call = None if place is None else _steep(look, place)
        passing = "" if call is None else f" through {call.op}" + (f" in {call.module}" if call.module else "")
        cause = (
            f"the gradient becomes {origin.value} on its way to {where}{passing}, where the forward is finite: a root, "
            "norm or power of zero has an infinite slope"
        )
        where = where if call is None or not call.module else call.module
        yield _finding(
            "non-finite-gradients",
            where,
            position,
            1,
            cause,
            cure if origin.op in _CURES else _CURES["norm" if call is None or call.op not in _CURES else call.op],
        )
        return
    if origin.what == "parameter":
        yield _finding("non-finite-weights", where, position, 1, "it holds them", "draw it again")
        return
    given = f", from inputs {origin.given}" if origin.given else ""
    if origin.what == "loss":
        where = _first_lost(look) or where
    found = _finding(
        "non-finite-values",
        where,
        position,
        1,
        f"{origin.op} makes the first {origin.value}{given}",
        cure or "look at what it is given: a value outside its domain, or one that grew too large",
    )
    grew = origin.value == "inf" and not cure
    names = [n for p in look.light.of(Kind.WEIGHT) for n in p.parameters]
    yield replace(found, repair=replanned(look.light, names), remedy=_SMALLER) if grew else found


def _steep(look: Look, place: Place) -> Node | None:
    """The call of an infinite slope at zero that reads what a place made, before the next place does."""
    tape = look.tape
    if tape is None or place.node is None:
        return None
    readers, others = tape.readers(), {p.node for p in look.light.places}
    waiting, seen = deque([place.node]), {place.node}
    while waiting:
        for reader, _ in readers[waiting.popleft()]:
            if reader.op in _STEEP:
                return reader
            if reader.id not in seen and reader.id not in others:
                seen.add(reader.id)
                waiting.append(reader.id)
    return None


def _first_lost(look: Look) -> str:
    """The first place whose values are not finite."""
    found = next((p for p in look.light.places if p.forward is not None and p.forward.nonfinite), None)
    return "" if found is None else found.label


def _finding(code: str, where: str, position: float | None, count: float, cause: str, remedy: str) -> Finding:
    return Finding(
        code,
        Severity.ERROR,
        where,
        position,
        (Evidence("values that are not finite, at least", float(count), 0.0, 0.0, "exact"),),
        cause,
        remedy,
        f"# {remedy}",
    )
