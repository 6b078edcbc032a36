"""The signal's size along the trunk: vanishing and exploding, forward and backward, residual growth, BatchNorm stacks.

Within a piece of the trunk between two norms the scales of weights multiply. Theory (mean field; Poole et al. 2016,
arXiv 1606.05340; Schoenholz et al. 2017, arXiv 1611.01232): E[y²] changes by a factor σw² E[φ²]/q a layer and the
squared gradient by σw² E[φ'²], both one for a good start, so that a healthy ratio over the depth is near one whatever
the depth. The bounds are how far from one it may end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..graphs import Role
from ..graphs.ops import words
from ..graphs.tape import Flow
from ..graphs.walks import backward, is_weight_call
from ..initializers import Constant
from ..probes.records import Kind, Place
from .cures import cure, described
from .growth import FAR, GROWTH, JOINS, LOST, aside, growth, levelled, over_joins, residual
from .looking import TABLES, Look, gradient_norm, rms, segments, where_of
from .records import Evidence, Finding, Severity
from .repairs import overridden, replanned

BOTH, BOTH_LOST = 1e-4, 1e-8  # the same for forward times backward, where both vanish
TABLE = 30.0  # rms of an embedding's rows that no norm follows
STACK = 1e2  # gradient growth over a stack of batch norms: a warning; FAR is an error
_USUAL = (0.3, 2.5)  # σ² · fan_in of the usual rules: what grows behind them grows by something else
_YANG = 1.211
_SCALED = 10.0  # a factor from which a difference is meant: the model scales its inputs, the first layer is drawn apart
_SMALLEST = 1e-45  # a gradient below float32's range is zero
_LINEAR = 2.0  # shift of a norm at which a ReLU passes 98 % of a unit Gaussian
_LOOKUPS = words("getitem index index_select gather take_along_dim embedding")
_MEAN_FIELD = "mean field, Poole et al. 2016, arXiv 1606.05340; bound: calibration in docs/findings.md"


def rules(look: Look) -> Iterator[Finding]:
    """Findings about the size of the signal and of the gradient."""
    if look.light.origin is None or look.light.origin.value == "inf":
        yield from _tables(look)
        forward = list(_forward(look))
        yield from forward
        if look.light.origin is None:
            yield from _backward(look, forward)


def _tables(look: Look) -> Iterator[Finding]:
    """An embedding whose rows are far from unit scale, with no norm behind it.

    Bound: an rms of 30. A tanh or softmax is saturated by arguments of 5; a unit-variance map of such rows gives 30.
    """
    tables = [p for p in look.trunk if (w := look.weight_of(p)) is not None and w.role in TABLES]
    for place in tables[:1]:
        after = [p for p in look.trunk if p.index > place.index]
        if rms(place) > TABLE and after and after[0].kind is not Kind.NORM:
            yield Finding(
                "exploding-forward",
                Severity.ERROR if rms(place) > FAR else Severity.WARNING,
                where_of(place),
                place.position,
                (Evidence("rms of the looked-up rows", rms(place), TABLE, 1.0, "LeCun et al. 1998: unit inputs"),),
                "the table's rows are far larger than the unit signal that the layers behind are made for",
                "draw the table with a standard deviation of 1 (or 0.02 before a norm)",
                replanned(look.light, place.parameters),
            )


def _forward(look: Look) -> Iterator[Finding]:
    """Size at the end of each piece of the trunk, relative to what enters it.

    Bounds: a factor 10³ (warning) or 10⁶ (error) in amplitude either way. A start on the critical line keeps the
    factor near 1 at any depth. Above 10⁶ float32's rounding of the logits is of the order of one.
    """
    for piece in segments(look.trunk):
        path = _sized(look, piece)
        if len(path) < 2 or not all(rms(p) > 0 for p in path):
            continue
        if look.head is None and rms(path[-1]) < rms(path[0]) and path[-1] is look.trunk[-1]:
            path = path[:-1]  # outputs that start near zero, as what branches have added
        end = path[-1]
        if end.kind is Kind.NORM or len(path) < 2:
            continue
        factor = rms(end) / _entering(look, path)
        if 1 / FAR < factor < FAR and math.isfinite(factor):
            continue
        yield _chain(look, path, factor)
        return


def _entering(look: Look, path: Sequence[Place]) -> float:
    """The rms of what enters a piece of the trunk.

    Inputs may be scaled by the model itself before their first weight, or choose rows of a table (a hash grid): what
    that weight was given is then told by its output, E[x²] = (E[y²] − E[b²]) / (σ² · fan_in).
    """
    start, first = path[0], path[1]
    weight, bias = look.weight_of(first), look.bias_of(first)
    if start.kind is not Kind.INPUT or weight is None or first.kind is not Kind.WEIGHT or weight.fan_in <= 0:
        return rms(start)
    own = rms(first) ** 2 - (0.0 if bias is None else bias.second)
    told = math.sqrt(max(own, 0.0) / max(weight.gain, 1e-300))
    if not (weight.second > 0 and told > 0):
        return rms(start)
    if _reads_rows(look, first):
        return told
    if 1 / _SCALED < told / rms(start) < _SCALED:
        return rms(start)
    return told if abs(math.log(told)) < abs(math.log(rms(start))) else rms(start)  # scaling brings it towards one


def _reads_rows(look: Look, place: Place) -> bool:
    """Whether a weight reads rows that the inputs chose out of a parameter."""
    tape = look.tape
    if tape is None or place.node is None:
        return False
    behind = backward(tape, place.node, lambda n: n.id == place.node or not is_weight_call(tape, n))
    chosen = (n for n in behind if n.op in _LOOKUPS and n.operands and n.flow is Flow.DATA)
    return any(tape[n.operands[0].ref.node].flow is Flow.WEIGHTS for n in chosen)


def grown_body(look: Look) -> Finding | None:
    """The growth from the inputs to the head as a finding, where it is what makes the logits too large."""
    path = next((p for piece in reversed(list(segments(look.trunk))) if len(p := _sized(look, piece)) > 1), None)
    if path is None:
        return _grown_aside(look)
    if not all(rms(p) > 0 for p in path) or rms(path[-1]) < 3 * rms(path[0]):
        return None
    factor = rms(path[-1]) / rms(path[0])
    return _chain(look, path, factor) if factor < FAR else None  # beyond, it is told already


def _grown_aside(look: Look) -> Finding | None:
    """The same where the weights are not on the trunk: a graph's layers, which its adjacency passes by."""
    arriving = None if look.head is None else look.before(look.head)
    start = next(iter(look.light.of(Kind.INPUT)), None)
    if arriving is None or start is None or look.light.of(Kind.NORM):
        return None
    weights = aside(look, start, arriving)
    if not weights or not rms(start) > 0 or rms(weights[-1]) < 3 * rms(start):
        return None
    return _chain(look, [start, *weights], rms(weights[-1]) / rms(start))


def _sized(look: Look, piece: Sequence[Place]) -> list[Place]:
    """The places whose size tells: what enters, each weight's output and join, and the last before the head."""
    kept: list[Place] = []
    last = None
    for place in piece:
        if place is look.head:
            if last is not None and kept and last.kind is Kind.ACTIVATION and rms(last) * FAR < rms(kept[-1]):
                kept.append(last)  # the activation itself lost it
            break
        if look.is_zero(place) or place.kind in (Kind.SOFTMAX, Kind.POOL):
            continue
        last = place
        if not kept or place.kind in (Kind.WEIGHT, Kind.JOIN):
            kept.append(place)
    return kept


def _backward(look: Look, forward: Sequence[Finding]) -> Iterator[Finding]:
    """The norm of the gradient at the first weight's output beside that at the head's.

    Bounds: as forward. Where the trunk has norms, gradients are taken relative to their values. Where forward and
    backward both shrink, the weights' gradients shrink by their product: a factor 10⁻⁴ is a warning and 10⁻⁸ an error
    (measured: torch's default in a ReLU network reaches 10⁻⁴ near eight layers, where plain SGD begins to stall, and
    10⁻⁸ near sixteen, where Adam's ε stops it too). A stack of batch norms without skips makes the gradient's norm grow
    by √(π/(π − 1)) = 1.211 a layer (Yang et al. 2019, arXiv 1902.08129); there a factor 100 is a warning. A branch that
    starts nearly closed by its own scale γ (LayerScale, Touvron et al. 2021, arXiv 2103.17239) is meant so: what
    reaches a class token's output through it alone is γ times as large.
    """
    path = [p for p in look.trunk if p.kind in (Kind.WEIGHT, Kind.JOIN) and gradient_norm(p) is not None]
    if look.head is None or len(path) < 3 or any(look.is_zero(p) for p in look.trunk) or _has_zero_scale(look):
        return
    factor = _backward_factor(look, path)
    if factor is None:
        return
    norms = [p for p in look.trunk if p.kind is Kind.NORM and p.op == "batch_norm"]
    joins = [p for p in path if p.kind is Kind.JOIN]
    if factor > STACK and len(norms) >= 10 and not joins:
        yield _stack(look, norms, factor)
    elif (both_ways := over_joins(look, joins)) > FAR:
        if not any(f.code in ("exploding-forward", "residual-growth") for f in forward):
            yield residual(look, joins, rms(joins[-1]) / rms(joins[0]), both_ways)
    elif factor > FAR:
        if not any(f.code in ("exploding-forward", "residual-growth") for f in forward):
            yield _gradient(look, path, factor, "exploding-gradient", factor > LOST)
    elif not any(f.code == "vanishing-forward" for f in forward):
        ahead = _gain_of(look)
        factor = min(factor / look.gate, 1.0)
        both = factor * min(ahead, 1.0)
        if factor < 1 / FAR or (both < BOTH and factor < 0.1):
            yield _gradient(look, path, factor, "vanishing-gradient", factor < 1 / LOST or both < BOTH_LOST, both)
    else:
        return


def _backward_factor(look: Look, path: Sequence[Place]) -> float | None:
    """The gradient's norm at the first weight's output over that at the last place.

    A norm divides by the size of what it is given, so behind one the gradient to a small value is large: where the
    trunk has norms, each gradient is taken relative to its value, g · rms(x), from before the head.
    """
    if look.head is None:
        return None
    normed = any(p.kind is Kind.NORM for p in look.trunk)
    last = look.before(look.head) if normed else look.head
    if last is None:
        return None
    ahead, behind = gradient_norm(path[0]), gradient_norm(last)
    if ahead is None or not behind:
        return None
    factor = ahead * rms(path[0]) / (behind * rms(last)) if normed and rms(last) else ahead / behind
    return max(factor, _SMALLEST)


def _gain_of(look: Look) -> float:
    """Forward size at the last place before the head, relative to the first: of the last piece of the trunk."""
    pieces = [_sized(look, piece) for piece in segments(look.trunk)]
    path = next((p for p in reversed(pieces) if len(p) > 1), [])
    return rms(path[-1]) / rms(path[0]) if path and rms(path[0]) > 0 else 1.0


def _has_zero_scale(look: Look) -> bool:
    return any(
        w.role in (str(Role.NORM_SCALE), str(Role.LAYER_SCALE)) and w.constant and w.second == 0 and w.branch is None
        for w in look.light.weights
    )


def _chain(look: Look, path: Sequence[Place], factor: float) -> Finding:
    """The finding for a piece of the trunk that shrinks or grows: its first or its only culprit."""
    growing = factor > 1
    place, alone = _culprit(path)
    if growing and alone and len(beside := aside(look, path[0], place)) > 1:
        path = [path[0], *beside]
        place, alone = _culprit(path)
    layers = [p for p in path if p.kind is Kind.WEIGHT]
    joins = [p for p in path if p.kind is Kind.JOIN]
    rate = factor ** (2 / max(len(path) - 1, 1))
    if growing and len(joins) >= JOINS and growth(joins) > GROWTH:
        return residual(look, joins, factor)
    if growing and place.kind is Kind.JOIN:
        place = look.loudest_before(place)
    code = "exploding-forward" if growing else "vanishing-forward"
    lost = factor > LOST or factor < 1 / LOST or not math.isfinite(factor)
    evidence = [
        Evidence(
            f"rms at {where_of(path[-1])} / rms at {where_of(path[0])}",
            factor,
            FAR if growing else 1 / FAR,
            1.0,
            _MEAN_FIELD,
        ),
        Evidence("second moment's factor a layer", rate, 2.0 if growing else 0.5, 1.0, "mean field"),
    ]
    weight = look.weight_of(place)
    if alone:
        cause = f"{where_of(place)} alone changes the signal's size so much: {described(weight)}"
        names = list(place.parameters)
    else:
        verb = "grow" if growing else "shrink"
        cause = f"all {len(layers)} layers {verb} the signal, from {where_of(place)} on: {described(weight)}"
        names = [n for p in look.trunk if p.kind is Kind.WEIGHT for n in p.parameters]
    remedy, repair = cure(look, weight, names)
    if growing and not alone and weight is not None and _USUAL[0] < weight.gain < _USUAL[1]:
        repair = overridden(look.light, levelled(look, path), "what each layer makes larger, as measured, taken out")
    return Finding(
        code,
        Severity.ERROR if lost or (not growing and _stalls(look, factor)) else Severity.WARNING,
        where_of(place),
        place.position,
        tuple(evidence),
        cause,
        remedy,
        repair,
    )


def _stalls(look: Look, forward: float) -> bool:
    """Whether forward times backward leaves the weights no gradient to speak of."""
    path = [p for p in look.trunk if p.kind in (Kind.WEIGHT, Kind.JOIN) and gradient_norm(p) is not None]
    backward = _backward_factor(look, path) if path else None
    return backward is not None and forward * min(backward, 1.0) < BOTH_LOST


def _culprit(path: Sequence[Place]) -> tuple[Place, bool]:
    """The weight at fault, and whether it alone is: it makes up more than half of the whole change."""
    steps = [(path[i], math.log(rms(path[i]) / rms(path[i - 1]))) for i in range(1, len(path))]
    total = sum(s for _, s in steps)
    if not math.isfinite(total) or total == 0:
        return next((p for p, s in steps if not math.isfinite(s) or abs(s) > 5), path[-1]), False
    place, most = max(steps, key=lambda step: step[1] / total)
    if len(steps) > 1 and most / total > 0.6:
        return place, True
    typical = total / len(steps)
    return next((p for p, s in steps if s / typical >= 0.5), steps[0][0]), len(steps) == 1


def _gradient(
    look: Look, path: Sequence[Place], factor: float, code: str, lost: bool, both: float | None = None
) -> Finding:
    names = [n for p in path if p.kind is Kind.WEIGHT for n in p.parameters]
    weights = [p for p in path if p.kind is Kind.WEIGHT and look.weight_of(p) is not None]
    inner = next(iter(weights), path[0])
    if len(weights) > 1 and _apart(look.gain_of(inner), look.gain_of(weights[1])):
        inner = weights[1]  # the first one's own weight is not on the way back to its output
    rate = factor ** (2 / max(len(path) - 1, 1))
    evidence = [
        Evidence(
            f"gradient's norm at {where_of(path[0])} / at {where_of(path[-1])}",
            factor,
            FAR if factor > 1 else 1 / FAR,
            1.0,
            _MEAN_FIELD,
        ),
        Evidence("squared gradient's factor a layer, χ₁", rate, 2.0 if factor > 1 else 0.5, 1.0, "mean field"),
    ]
    if both is not None:
        evidence.append(Evidence("forward × backward over the depth", both, BOTH, 1.0, "calibration"))
    verb = "grows" if factor > 1 else "shrinks"
    remedy, repair = cure(look, look.weight_of(inner), names)
    return Finding(
        code,
        Severity.ERROR if lost else Severity.WARNING,
        where_of(inner),
        inner.position,
        tuple(evidence),
        f"the gradient {verb} at each of {len(path)} layers on its way back: {described(look.weight_of(inner))}",
        remedy,
        repair,
    )


def _apart(one: float, other: float) -> bool:
    """Whether two gains are too different for one rule to have made both weights."""
    return one > 0 and other > 0 and not 1 / _SCALED < one / other < _SCALED


def _stack(look: Look, norms: Sequence[Place], factor: float) -> Finding:
    rate = factor ** (1 / max(len(norms) - 1, 1))
    names = [n for p in norms for n in p.parameters]
    shifts = {n: Constant(_LINEAR) for n in names if look.weights[n].role == str(Role.NORM_SHIFT)}
    return Finding(
        "batchnorm-explosion",
        Severity.ERROR if factor > FAR else Severity.WARNING,
        where_of(norms[0]),
        norms[0].position,
        (
            Evidence(
                "gradient's norm, first / last layer", factor, STACK, _YANG ** (len(norms) - 1), "Yang et al. 2019"
            ),
            Evidence("growth a layer", rate, 1.1, _YANG, "√(π/(π − 1)), Yang et al. 2019, arXiv 1902.08129"),
        ),
        f"{len(norms)} batch norms in a row without skip connections: each makes the gradient grow, whatever the "
        "weights",
        "add skip connections around every two layers; or start the norms' shifts at 2 and their scales at 1, so that "
        "the activations are nearly linear",
        overridden(look.light, shifts, "nearly linear activations: Yang et al. 2019"),
    )
