"""Weights drawn for another layer than the one they are in: by another form's fan, or for another activation."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise, takewhile

from ..graphs import Role
from ..probes.records import Kind, Place, Weight
from ..schemes.auto_rules import sine_factor
from .cures import advice, described
from .looking import RECURRENT, WEIGHTS, Look, rms, segments, where_of
from .records import Evidence, Finding, Severity
from .repairs import replanned

OFF = 2.25  # σ² · fan_in beyond what any known rule gives, by this factor, for one weight alone
_RULES = (("LeCun's", 1.0), ("He's", 2.0), ("tanh's 5/3", 25 / 9))
_LOWEST, _HIGHEST = 1 / 3, 25 / 9
_ERRORS = 5.0  # standard errors of a sample variance, √(2/N) each
_ONE_MAP = WEIGHTS - RECURRENT - {str(Role.ATTENTION)}  # a stack of gates, or of q, k and v, has torch's own rule
_BOUNDED = ("tanh", "sigmoid", "softsign", "hardtanh", "hardsigmoid")  # of these saturation is told
_OPEN = _ONE_MAP - {str(Role.QUERY), str(Role.KEY)}
_LOOSE = 0.35  # a comparison within more than this says nothing
SINE = 10.0  # second moment of a sine's argument
SHRINKS, GROWS = 0.7, 1.5  # second moment's factor a layer, from which a note is made
HALF_WAY = 30.0  # amplitude over the chain: half of the decades to a warning
_CHAIN = 3  # layers in a row from which a rate can be told
DROWNED = 100.0  # amplitude of a stream behind a join over that before it
LOUD = 100.0  # a weight's gain σ² · fan_in, and with it the rms of what it makes, in squares


def rules(look: Look) -> Iterator[Finding]:
    """Findings about the scale of single weights."""
    yield from _fans(look)
    if look.light.origin is None:
        yield from _sines(look)
        yield from _loud(look)
        yield from _drowned(look) if look.traced else ()
        yield from _rates(look)


def torch_fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """The fans that torch.nn.init reads off a shape: (shape[1] · k, shape[0] · k).

    >>> torch_fans((16, 8, 3, 3))
    (72, 144)
    """
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _fans(look: Look) -> Iterator[Finding]:
    """A weight whose σ² fits a known rule by the fans that torch.nn.init reads, and none by the true ones.

    torch reads fans off the shape; groups, strides of transposed convolutions, matrices stored as (in, out) and stacks
    of experts are not in it. σ² · n is compared with 1, 2 and 25/9 (LeCun, He, tanh) within five standard errors of a
    sample variance, √(2/N) each. By the true fan it must fit none of them, torch's own 1/3 included; one weight alone
    must lie a factor 2.25 outside them all, several must agree in the rule. Weights of two other fans with the same σ
    say that it is one number for all. A stack of gates, read turn after turn, has a rule of its own. A norm behind the
    weight undoes its scale, also where another linear map stands between (a separable convolution): no finding.
    """
    matches = {w.name: match for w in _pooled(look.light.weights) if (match := _misread(w)) is not None}
    matches = {n: match for n, match in matches.items() if not (_is_undone(look, n) or _makes_gates(look, n))}
    for weight in look.light.weights:
        match = matches.get(weight.name)
        if match is None:
            continue
        if _by_one_std(weight, look.light.weights):
            continue
        agreed = [n for n, m in matches.items() if m[:2] == match[:2]]
        if len(agreed) < 2 and _LOWEST / OFF < weight.gain < _HIGHEST * OFF:
            continue
        rule, which, fan = match
        own = weight.gain
        place = next((p for p in look.light.places if p.weight == weight.name), None)
        yield Finding(
            "wrong-fan",
            Severity.WARNING,
            weight.name,
            None if place is None else place.position,
            (
                Evidence(
                    "σ² · fan_in, by the fan of its layer", own, _LOWEST / OFF if own < 1 else _HIGHEST * OFF, 1.0
                ),
                Evidence(f"fan that {rule} rule was given ({which})", fan, weight.fan_in, weight.fan_in, "shape"),
            ),
            f"its scale is {rule} rule with {which} = {fan:g} as read off the shape {weight.shape}; one unit of "
            f"this layer sums {weight.fan_in:g} inputs"
            + (f" (and {len(agreed) - 1} more weights)" if len(agreed) > 1 else ""),
            "scale by the layer's true fan: fl.init_ knows groups, strides and stacks",
            replanned(look.light, agreed),
        )
        return


def _is_undone(look: Look, name: str) -> bool:
    """Whether the next weight reads this one's output as it is, and a norm follows that."""
    place = next((p for p in look.light.places if p.weight == name), None)
    behind = None if place is None else next(iter(look.light.places[place.index + 1 :]), None)
    weight = None if behind is None or behind.kind is not Kind.WEIGHT else look.weight_of(behind)
    if place is None or behind is None or weight is None or not weight.normalized:
        return False
    return look.reads(behind, place)


def _makes_gates(look: Look, name: str) -> bool:
    """Whether a weight that runs in a loop makes arguments of sigmoids or tanhs: a recurrent cell written out."""
    places = [p for p in look.light.places if p.weight == name]
    weight = look.weights.get(name)
    return weight is not None and weight.meets in ("sigmoid", "tanh") and sum(p.calls for p in places) >= _CHAIN


def _pooled(weights: Iterable[Weight]) -> Iterator[Weight]:
    """Each weight with the moments of all of its form, where one σ made them: small filters tell little one by one."""
    forms: dict[tuple[object, ...], list[Weight]] = defaultdict(list)
    for w in weights:
        if w.role in _ONE_MAP:
            forms[w.role, w.shape, w.fan_in, w.fan_out, w.normalized].append(w)
    for alike in forms.values():
        count = max(sum(w.count for w in alike), 1)
        mean = sum(w.mean * w.count for w in alike) / count
        second = sum(w.second * w.count for w in alike) / count
        one = all(abs(w.second - second) <= _ERRORS * math.sqrt(2 / max(w.count, 1)) * second for w in alike)
        yield from (replace(w, mean=mean, second=second, count=count) if one else w for w in alike)


def _by_one_std(weight: Weight, weights: Iterable[Weight]) -> bool:
    """Whether weights of other fans have the same σ: then one number was given to all, and no fan was read."""
    alike = {
        w.fan_in
        for w in weights
        if w.role in WEIGHTS and not w.constant and w.count > 1 and w.fan_in != weight.fan_in
        if abs(w.second / weight.second - 1) < _ERRORS * math.sqrt(2 / w.count + 2 / weight.count) < _LOOSE
    }
    return len(alike) >= 2


def _misread(weight: Weight) -> tuple[str, str, float] | None:
    if weight.role not in _ONE_MAP or len(weight.shape) < 2 or weight.normalized or weight.fan_in <= 0:
        return None
    if weight.constant or not weight.count or abs(weight.mean) > 0.2 * math.sqrt(weight.second):
        return None
    tolerance = _ERRORS * math.sqrt(2 / weight.count)
    if tolerance > _LOOSE:
        return None
    fan_in, fan_out = torch_fans(weight.shape)
    true = (1 / 3, *(value for _, value in _RULES))
    fans = _meant(weight)
    if any(abs(weight.second * fan / value - 1) < tolerance for fan in fans for value in true):
        return None
    for which, fan in (("fan_in", fan_in), ("fan_out", fan_out)):
        if fan in fans:
            continue
        for rule, value in _RULES:
            if abs(weight.second * fan / value - 1) < tolerance:
                return rule, which, float(fan)
    if (fan_in + fan_out) != weight.fan_in + weight.fan_out:
        glorot = weight.second * (fan_in + fan_out) / 2
        if abs(glorot - 1) < tolerance:
            return "Glorot's", "(fan_in + fan_out)/2", (fan_in + fan_out) / 2
    return None


def _meant(weight: Weight) -> tuple[float, ...]:
    """The fans that a rule may have been meant to take.

    Of a transposed convolution, and of a matrix stored as (in, out), torch's fan_in is the true fan_out. Where the two
    differ by a factor 4 and more the signal is lost or explodes by it, and nobody who asks for ``fan_in`` means it.
    """
    ratio = weight.fan_out / weight.fan_in
    if torch_fans(weight.shape)[0] != weight.fan_in and not 0.25 < ratio < 4:
        return (weight.fan_in,)
    return (weight.fan_in, weight.fan_out, (weight.fan_in + weight.fan_out) / 2)


def _sines(look: Look) -> Iterator[Finding]:
    """The argument of a sine within the network: ω y should have a second moment of about 1.

    Sitzmann et al. 2020 (arXiv 2006.09661) draw U(±√(6/n)/ω) for it. Beyond 10 the sine wraps around several times,
    neighbouring samples get independent values, and the gradient grows by ω² σ² n / 2 a layer. The first layer, which
    reads the coordinates, is meant to span periods.
    """
    tape = look.tape
    if tape is None:
        return
    readers = tape.readers()
    weights = [p for p in look.light.of(Kind.WEIGHT) if p.node is not None]
    for place in weights:
        if place.node is None or place.depth <= 1:
            continue
        omega = sine_factor(tape, readers, tape[place.node])
        if omega is None:
            continue
        argument = (omega * rms(place)) ** 2
        if argument <= SINE:
            continue
        yield Finding(
            "wrong-gain",
            Severity.ERROR,
            where_of(place),
            place.position,
            (
                Evidence(
                    f"second moment of the argument of sin({omega:g} y)", argument, SINE, 1.0, "Sitzmann et al. 2020"
                ),
            ),
            f"{described(look.weight_of(place))}, and the sine multiplies it by {omega:g}",
            "draw the hidden layers from U(±√(6/fan_in)/ω)",
            replanned(look.light, _of_sines(weights)),
        )
        return


def _of_sines(weights: list[Place]) -> list[str]:
    return [name for place in weights for name in place.parameters]


def _loud(look: Look) -> Iterator[Finding]:
    """One weight that makes values far above the unit scale out of ordinary ones, on the trunk or off it.

    Bounds: σ² · fan_in > 100, fifty times He's, and E[y²] > 100 where what enters is below that; no norm behind it.
    The head is judged by its loss, queries, keys and other logits by the entropy of their softmax; a sine's or cosine's
    argument is meant to span periods.
    """
    for place in look.light.of(Kind.WEIGHT):
        weight = look.weight_of(place)
        if weight is None or not _is_loud(look, place, weight) or _enters_wave(look, place):
            continue
        yield Finding(
            "exploding-forward",
            Severity.WARNING,
            where_of(place),
            place.position,
            (
                Evidence("σ² · fan_in", weight.gain, LOUD, 1.0, "LeCun et al. 1998: unit outputs"),
                Evidence("rms of its output", rms(place), math.sqrt(LOUD), 1.0, ""),
            ),
            f"{where_of(place)} makes values of rms {rms(place):.3g} and nothing normalizes them: {described(weight)}",
            f"draw the weights for what they meet: {advice(weight)}",
            replanned(look.light, place.parameters),
        )
        return


def _drowned(look: Look) -> Iterator[Finding]:
    """A residual branch so much larger than its stream that nothing of the stream is left.

    Bound: the stream grows by a factor 100 at one join: what was there is then 10⁻⁴ of its second moment. (Measured: an
    embedding at 0.02 before branches of unit size makes up to 50.)
    """
    for piece in segments(look.trunk):
        for before, join in pairwise(p for p in piece if p.kind in (Kind.WEIGHT, Kind.JOIN, Kind.NORM, Kind.INPUT)):
            if join.kind is not Kind.JOIN or not rms(before) > 0 or before.kind is Kind.NORM:
                continue
            factor = rms(join) / rms(before)
            if not factor > DROWNED:
                continue
            place = look.loudest_before(join)
            yield Finding(
                "exploding-forward",
                Severity.WARNING,
                where_of(place),
                place.position,
                (Evidence(f"rms of the stream behind / before {join.label}", factor, DROWNED, 1.0, "calibration"),),
                f"this branch is {factor:.3g} times as large as the stream that it is added to, which drowns",
                "scale the branch to its stream: its last weight by 1/√N, or zero",
                replanned(look.light, place.parameters),
            )
            return


def _is_loud(look: Look, place: Place, weight: Weight) -> bool:
    inside = weight.role in _OPEN and weight.trainable and not (weight.head or weight.normalized or place is look.head)
    if not inside or weight.meets in (*_BOUNDED, "softmax"):
        return False
    return weight.gain > LOUD and rms(place) ** 2 > LOUD


def _enters_wave(look: Look, place: Place) -> bool:
    """Whether a sine or cosine reads what a place makes."""
    tape = look.tape
    if tape is None or place.node is None:
        return False
    readers = tape.readers()
    read = any(n.op in ("sin", "cos") for n, _ in readers[place.node])
    return read or sine_factor(tape, readers, tape[place.node]) is not None


def _rates(look: Look) -> Iterator[Finding]:
    """What every layer of a chain does to the second moment, beside the mean-field expectation of one.

    A factor σw² E[φ²]/q a layer (Poole et al. 2016, arXiv 1606.05340): 1/2 for LeCun's or Glorot's rule before a ReLU,
    1/6 for torch's default. A note where the layers make up a factor of 30 together; past 10³ it is a fault, and told
    as vanishing or exploding.
    """
    for piece in segments(look.trunk):
        path = list(takewhile(lambda p: p is not look.head, piece))
        layers = [p for p in path if p.kind is Kind.WEIGHT and look.weight_of(p) is not None]
        if len(layers) < _CHAIN or any(p.kind is Kind.JOIN for p in path) or not all(rms(p) > 0 for p in layers):
            continue
        rate = (rms(layers[-1]) / rms(layers[0])) ** (2 / (len(layers) - 1))
        all_in_all = rms(layers[-1]) / rms(layers[0])
        if SHRINKS < rate < GROWS or not math.isfinite(rate) or 1 / HALF_WAY < all_in_all < HALF_WAY:
            continue
        weight = look.weight_of(layers[1])
        yield Finding(
            "wrong-gain",
            Severity.NOTE,
            where_of(layers[1]),
            layers[1].position,
            (
                Evidence(
                    "second moment's factor a layer", rate, SHRINKS if rate < 1 else GROWS, 1.0, "Poole et al. 2016"
                ),
            ),
            f"each of {len(layers)} layers {'shrinks' if rate < 1 else 'grows'} the signal: {described(weight)}",
            f"draw the weights for what they meet: {advice(weight)}",
            replanned(look.light, [n for p in layers for n in p.parameters]),
        )
        return
