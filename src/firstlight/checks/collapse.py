"""Samples, or positions of one sample, that come to look alike; attention that looks at one key."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..graphs import Role
from ..graphs.ops import MATMULS, SUMS, VIEWS
from ..graphs.tape import Flow
from ..graphs.walks import backward
from ..initializers import Normal
from ..plans import Plan
from ..probes.records import Kind, Place
from .cures import cure, described
from .looking import Look, where_of
from .records import Evidence, Finding, Severity
from .repairs import overridden, replanned

ALIKE, SAME = 1e-4, 1e-6  # share of the signal that tells samples apart: a warning, an error
_ASKING = frozenset({str(Role.QUERY), str(Role.KEY), str(Role.ATTENTION)})
_USUAL = 2.5  # σ² · fan_in of every usual rule lies below
_MAPS = 4  # weights that may stand right before an attention: q, k, v and what the positions bring
_SAME_WAY = 0.9  # cosine of two samples' attention
FOCUSED, ONE_KEY = 0.3, 0.1  # H / log T of attention: a warning, an error


def rules(look: Look) -> Iterator[Finding]:
    """Findings about what the network no longer tells apart."""
    if look.light.origin is None:
        yield from _emptied(look)
        yield from _samples(look)
        yield from _positions(look)
        yield from _attention(look)


def _told_apart(place: Place) -> float | None:
    return None if place.forward is None else place.forward.sample_spread


def _emptied(look: Look) -> Iterator[Finding]:
    """A norm that is given values that differ and gives one number for all: it normalizes over an axis of one entry.

    Exact. What a scale of zero makes constant is told by it.
    """
    for place in look.light.of(Kind.NORM):
        seen, scale = place.forward, look.weight_of(place)
        if seen is None or seen.constant != 1.0 or (scale is not None and scale.second == 0):
            continue
        shift = look.weights.get(place.parameters[1]) if len(place.parameters) > 1 else None
        if seen.second > (0.0 if shift is None else shift.second * 1.001):
            continue  # what it is given is the same for all samples: a class token
        before = look.light.places[place.index - 1] if place.index else None
        if before is None or before.forward is None or before.forward.constant == 1.0 or not before.forward.second:
            continue
        yield Finding(
            "rank-collapse",
            Severity.ERROR,
            where_of(place),
            place.position,
            (Evidence("share of units that are the same for all samples", seen.constant, 1.0, 0.0, "exact"),),
            f"{place.op} at {place.label} gives the same for every sample: over an axis of one entry, x − mean is zero",
            "normalize over the features, or leave this norm out",
            f"# remove the norm at {place.label}, or give it the axis of the features",
        )
        return


def _samples(look: Look) -> Iterator[Finding]:
    """The share of E[x²] that varies between samples, at the last place before the head.

    In the ordered phase the cosine of two samples tends to one as exp(−l/ξ) (Schoenholz et al. 2017, arXiv 1611.01232)
    and the network computes a constant. Bounds: 10⁻⁴ of what the inputs have is a warning (measured: a stack of four
    LSTMs trains at 2 · 10⁻⁴, three sigmoid layers at 2 · 10⁻⁵ only by Adam), 10⁻⁶ an error, where the difference of
    two samples drowns in the common part; both times γ² where branches start nearly closed by a scale γ, through which
    alone a class token hears of the sample.
    """
    path = [p for p in look.trunk if (s := _told_apart(p)) is not None and s > -1 and p is not look.head]
    path = [p for p in path if look.head is None or p.index < look.head.index]
    if len(path) < 2:
        return
    start = max(_told_apart(path[0]) or 0.0, 0.0) * look.gate**2
    end = max(_told_apart(path[-1]) or 0.0, 0.0)
    if start <= 0 or end >= ALIKE * start:
        return
    kinds = [p for p in path if (_told_apart(p) or 0.0) < ALIKE * start]
    first = kinds[0]
    cause_at = next((p for p in path if p.kind is Kind.WEIGHT), first)
    before = look.weight_before(first) if first.kind is not Kind.WEIGHT else first
    attends = any(p.kind is Kind.SOFTMAX or p.kind is Kind.ATTENTION for p in look.light.places)
    weight = look.weight_of(before)
    remedy, repair = cure(look, weight, [n for p in look.trunk if p.kind is Kind.WEIGHT for n in p.parameters])
    yield Finding(
        "rank-collapse",
        Severity.ERROR if end < SAME * start else Severity.WARNING,
        where_of(before),
        before.position,
        (
            Evidence(f"share of E[x²] that tells samples apart, at {where_of(path[-1])}", end, ALIKE * start, start),
            Evidence("mean cosine of two samples there", _cosine(path[-1]), 1 - ALIKE, None, "Schoenholz et al. 2017"),
        ),
        "attention without skip connections averages its tokens away"
        if attends and not look.light.of(Kind.JOIN)
        else f"each layer keeps less of the difference between samples, from {where_of(cause_at)} on: "
        + described(weight),
        f"{remedy}; or add skip connections or norms",
        repair,
    )


def _cosine(place: Place) -> float:
    found = None if place.forward is None else place.forward.cosine
    return 1.0 if found is None else found


def _positions(look: Look) -> Iterator[Finding]:
    """The cosine between tokens of one sample behind attention.

    Pure attention loses rank doubly exponentially with depth (Dong et al. 2021, arXiv 2103.03404). Bounds as for
    samples.
    """
    attends = [p for p in look.light.places if p.kind in (Kind.SOFTMAX, Kind.ATTENTION) or "attention" in p.op]
    if not attends:
        return
    path = [p for p in look.trunk if p.index > attends[0].index and p.forward is not None and p.forward.position_cosine]
    path = [p for p in path if look.head is None or p.index < look.head.index]
    if not path or path[-1].forward is None or path[-1].forward.position_cosine is None:
        return
    end = 1 - path[-1].forward.position_cosine
    if end >= ALIKE:
        return
    first = next(p for p in path if p.forward is not None and 1 - (p.forward.position_cosine or 0.0) < ALIKE)
    yield Finding(
        "rank-collapse",
        Severity.ERROR if end < SAME else Severity.WARNING,
        where_of(first),
        first.position,
        (Evidence("1 − mean cosine of two tokens before the head", end, ALIKE, None, "Dong et al. 2021"),),
        "attention averages tokens, and nothing carries their differences past it",
        "add skip connections around attention and feed-forward parts",
        "# in each block: x = x + attention(norm1(x)); x = x + mlp(norm2(x))",
    )


def _attention(look: Look) -> Iterator[Finding]:
    """The entropy of attention at the start, relative to log T.

    Logits of standard deviation s leave H / log T ≈ 1 − s²/(2 log T): a good start is near one. Bounds: 0.3 (warning),
    0.1 (error, nearly one key a query, where the softmax passes no gradient; Zhai et al. 2023, arXiv 2303.06296). A
    bias of positions that alone decides, so that all samples look the same way, is no fault of queries and keys.
    """
    for place in look.light.places:
        seen = place.forward
        if place.kind not in (Kind.SOFTMAX, Kind.ATTENTION) and "attention" not in place.op:
            continue
        if seen is None or seen.entropy is None or seen.entropy >= FOCUSED:
            continue
        alone = len(place.shape) < 3 and not _reads_memory(look, place)
        if place.kind is Kind.SOFTMAX and (alone or _is_last(look, place) or _is_by_position(look, place)):
            continue
        before = _asked_by(look, place)
        yield Finding(
            "attention-collapse",
            Severity.ERROR if seen.entropy < ONE_KEY else Severity.WARNING,
            where_of(before),
            place.position,
            (Evidence("H / log T of the attention weights", seen.entropy, FOCUSED, 1.0, "Zhai et al. 2023"),),
            f"its logits are so large that each query looks at one key: {described(look.weight_of(before))}",
            "divide the logits by √d, and draw queries and keys with σ² · fan_in = 1; or, as T5 does, leave the logits "
            "and draw queries with σ² = 1/(fan_in · d)",
            _quieter(look, place, before),
        )
        return


def _quieter(look: Look, place: Place, before: Place) -> Callable[[], Plan] | str:
    """Code where the weights are usual, since the model then leaves its 1/√d out or multiplies by the root.

    Else queries, or what makes the logits, smaller by as much as these are too wide: to a standard deviation of one.
    """
    asking = _asking(look, place)
    width = None if place.forward is None else place.forward.logits
    if width is None or width <= 1:
        return replanned(look.light, before.parameters)
    if all(look.gain_of(p) <= _USUAL for p in asking or [before]):
        return f"# in {place.label}: divide the logits by the root of the queries' width (they are {width:.3g} wide)"
    narrower = _narrower(look, asking, before, width)
    if narrower:
        return overridden(look.light, narrower, "logits of unit variance, as measured: Zhai et al. 2023")
    return replanned(look.light, before.parameters)


def _narrower(look: Look, asking: list[Place], before: Place, width: float) -> dict[str, Normal]:
    """For each weight to redraw, its standard deviation over that of the logits; one stack of q and k counts twice."""
    drawn = [w for p in asking if (w := look.weight_of(p)) is not None and w.std > 0]
    queries = [w for w in drawn if w.role == str(Role.QUERY)][-1:]
    stacks = [w for w in drawn if w.role == str(Role.ATTENTION)][-1:]
    own = look.weight_of(before)
    alone = [own] if own is not None and own.std > 0 else []
    chosen, power = (queries, 1.0) if queries else (stacks, 0.5) if stacks else (alone, 1.0)
    return {w.name: Normal(std=w.std / width**power) for w in chosen}


def _asked_by(look: Look, place: Place) -> Place:
    """The weight place whose gain makes the logits: of the queries and keys before a softmax the larger one."""
    return max(_asking(look, place), key=look.gain_of, default=look.weight_before(place))


def _asking(look: Look, place: Place) -> list[Place]:
    """Queries and keys among the maps of an attention."""
    return [p for p in _near(look, place) if (w := look.weight_of(p)) is not None and w.role in _ASKING]


def _near(look: Look, place: Place) -> list[Place]:
    """The last weight places before an attention, its own maps; itself where it holds them (torch's fused layer)."""
    behind = place.index + bool(place.parameters)
    return [p for p in look.light.places[:behind] if p.parameters and look.weight_of(p) is not None][-_MAPS:]


def _is_by_position(look: Look, softmax: Place) -> bool:
    """Whether attention is much the same for all samples, and its logits are given a bias that no sample makes."""
    tape, seen = look.tape, softmax.forward
    if tape is None or softmax.node is None or seen is None or (seen.cosine or 0.0) < _SAME_WAY:
        return False
    behind = backward(tape, softmax.node, lambda n: n.op in VIEWS | SUMS | {"softmax"}, limit=20)
    added = (o.ref for n in behind if n.op in SUMS for o in n.operands)
    return any(tape[ref.node].flow is Flow.WEIGHTS and sum(n != 1 for n in ref.shape) > 1 for ref in added)


def _reads_memory(look: Look, softmax: Place) -> bool:
    """Whether a softmax weighs the rows of a parameter: the slots of a memory."""
    following = next((p for p in look.light.places[softmax.index + 1 :] if p.kind is Kind.WEIGHT), None)
    return following is not None and following.op in MATMULS and look.reads(following, softmax)


def _is_last(look: Look, place: Place) -> bool:
    return look.head is not None and place.index > look.head.index
