"""NaN and infinity: which came first, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..probes.records import Kind, Origin
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
    where = origin.name or origin.module or origin.op
    position = None if place is None else place.position
    cure = next((text for word, text in _CURES.items() if word in origin.op), "")
    if origin.what == "backward":
        cause = (
            f"the gradient becomes {origin.value} on its way to {where}, where the forward is finite: a root, norm or "
        )
        cause += "power of zero has an infinite slope"
        yield _finding(
            "non-finite-gradients",
            where,
            position,
            1,
            cause,
            cure if origin.op in _CURES else _CURES["norm"],
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
