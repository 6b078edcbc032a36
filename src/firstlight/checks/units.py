"""Units that carry nothing: dead ones, saturated ones, those behind a norm whose scale is zero."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..graphs import Role
from ..initializers import Ones
from ..probes.records import Kind, Place, Weight
from .looking import RECURRENT, WEIGHTS, Look, rms, where_of
from .records import Evidence, Finding, Severity
from .repairs import overridden, replanned

MORE_DEAD = 0.25  # beyond the expected share: a warning
FLAT, MOSTLY_FLAT = 0.25, 0.5  # share of saturated values: a warning, an error
_WIDE = 4.0  # σ² · fan_in beyond every usual rule before a tanh
_FEWEST_UNITS, _FEWEST_ROWS = 8, 16
_FEW_DIRECTIONS = 3.0  # effective rank of what arrives
_SIGMOID_FLAT, _TANH_FLAT = 4.357, 2.178  # |z| where φ' falls below 5 % of its maximum
_TS = tuple((i + 0.5) / 50 for i in range(-400, 400))
_DENSITIES = tuple(math.exp(-t * t / 2) for t in _TS)
_ALIVE = (Kind.ACTIVATION, Kind.POOL)
_CAN_DIE = ("relu", "relu6", "threshold", "clamp", "clamp_min", "hardtanh", "hardsigmoid", "hardswish")


def rules(look: Look) -> Iterator[Finding]:
    """Findings about units that do nothing."""
    yield from _zero_scales(look)
    yield from _dead(look)
    yield from _saturated(look)
    yield from _recurrent(look)


def expected_dead(cosine: float, rows: int) -> float:
    """The share of ReLU units that are zero on a whole batch, for weights of zero mean.

    P = E_t[Φ(−t √(c/(1 − c)))^N]: a unit's argument is √c t + √(1 − c) ε with t ~ N(0, 1) shared by the N rows, whose
    mean cosine is c. It tends to one half as c → 1 and never passes it: more proves a shifted mean.

    Args:
        cosine: the mean cosine between two rows of what arrives.
        rows: N, how many rows were looked at.

    >>> round(expected_dead(0.0, 64), 3), round(expected_dead(0.999, 64), 2)
    (0.0, 0.47)
    """
    if cosine <= 0:
        return 0.5**rows
    slope = math.sqrt(min(cosine, 1 - 1e-12) / (1 - min(cosine, 1 - 1e-12)))
    total = 0.0
    for t, density in zip(_TS, _DENSITIES, strict=True):
        below = (math.erfc(t * slope / math.sqrt(2)) / 2) ** rows
        if not below:
            break  # and so it is for all that is larger
        total += density * below
    return total / sum(_DENSITIES)


def _dead(look: Look) -> Iterator[Finding]:
    """Units that are zero on every row, against the share that a centred draw leaves.

    Bounds: the expected share P + 0.25, or + 3 √(P(1 − P)/units) in a narrow layer, is a warning; ½ + 3 standard
    errors an error, since no draw of zero mean kills more than half (Lu et al. 2019, arXiv 1903.06733, gives the
    all-dead case); a layer without a living unit always. Half of the *values* being zero is what
    ReLU does, and no death.
    """
    for place in look.light.of(Kind.ACTIVATION):
        seen = place.forward
        if seen is None or place.op not in _CAN_DIE or seen.rows < _FEWEST_ROWS or seen.dead <= 0:
            continue
        before = look.weight_before(place)
        if look.is_zero(before) or (before.forward is not None and before.forward.second == 0):
            continue
        all_dead = seen.dead == 1.0
        if not all_dead and (seen.units < _FEWEST_UNITS or seen.dead <= MORE_DEAD):
            continue  # whatever share is expected
        expected = _expected_at(before, seen.rows)
        bound = expected + max(MORE_DEAD, 3 * math.sqrt(expected * (1 - expected) / seen.units))
        surely = 0.5 + 3 * 0.5 / math.sqrt(seen.units)
        if not all_dead and seen.dead <= bound:
            continue
        between = [p for p in look.light.places[before.index + 1 : place.index] if p.kind in _ALIVE]
        if between and all_dead:
            yield _emptied(between[-1], place)
            return
        bias = look.bias_of(before)
        shifted = bias is not None and abs(bias.mean) > 3 * bias.std and bias.mean < 0
        cause = (
            f"the bias {bias.name} is {bias.mean:.3g} on average, below all that arrives"
            if shifted and bias is not None
            else f"what arrives at {where_of(before)} has a mean that its weights turn negative for all samples"
        )
        yield Finding(
            "dead-units",
            Severity.ERROR if all_dead or seen.dead > surely else Severity.WARNING,
            where_of(before),
            place.position,
            (Evidence("share of dead units", seen.dead, bound, expected, "E[Φ(−t√(c/(1−c)))^N]"),),
            cause,
            "set the bias to zero and draw the weights with zero mean",
            replanned(look.light, before.parameters),
        )
        return


def _emptied(before: Place, place: Place) -> Finding:
    """No weight's doing: what an activation or a pool gave was made zero or less before the next activation."""
    return Finding(
        "dead-units",
        Severity.ERROR,
        where_of(before),
        place.position,
        (Evidence("share of dead units", 1.0, 0.5, 0.0, "exact"),),
        f"between {before.label} and {place.label} all values become zero or less: a norm over an axis of one entry, a "
        "subtraction of themselves, or a product with zero",
        "look at what is done to them there, and leave it out",
        f"# look between {before.label} and {place.label}",
    )


def _expected_at(before: Place, rows: int) -> float:
    """Of rows that are positions too, the larger cosine counts: it kills more."""
    seen = before.forward
    if seen is not None and seen.effective_rank is not None and seen.effective_rank < _FEW_DIRECTIONS:
        return 0.5  # one or two features: their common part is not Gaussian, and half may die
    cosines = [] if seen is None else [c for c in (seen.cosine, seen.position_cosine) if c is not None]
    return expected_dead(max(cosines), rows) if cosines else 0.5


def _saturated(look: Look) -> Iterator[Finding]:
    """Values on the flat part of a tanh or sigmoid within the network, |φ'| below 5 % of its maximum.

    Bounds: 25 % of the values (warning), 50 % (error). A tanh of arguments N(0, q) has 3 % at q = 1, 22 % at q = 3.16
    and half at q = 10; a sigmoid half at q = 42. Gates and outputs do not count; a tanh off the trunk, which a gate
    multiplies, from 50 % on.
    """
    head = look.head
    aside = [p for p in look.light.of(Kind.ACTIVATION) if p.op == "tanh" and p not in look.trunk]
    for place in (*look.trunk, *aside):
        seen = place.forward
        if seen is None or seen.saturated is None or (head is not None and place.index > head.index):
            continue
        if seen.saturated <= (MOSTLY_FLAT if place in aside else FLAT):
            continue
        before = look.weight_before(place)
        weight, bias = look.weight_of(before), look.bias_of(before)
        by_bias = bias is not None and bias.second > 0.5 * rms(before) ** 2
        yield Finding(
            "saturation",
            Severity.ERROR if seen.saturated > MOSTLY_FLAT else Severity.WARNING,
            where_of(before),
            place.position,
            (
                Evidence(
                    f"share of saturated values of {place.op}", seen.saturated, FLAT, 0.03, "|φ'| < 5 % of its max"
                ),
                Evidence("rms of its argument", rms(before), 3.16, 1.0, "Glorot & Bengio 2010"),
            ),
            f"the bias {bias.name} alone pushes the argument to {math.sqrt(bias.second):.3g}"
            if by_bias and bias is not None
            else f"{where_of(before)} gives arguments of rms {rms(before):.3g}{_of_weight(weight)}",
            "set the bias to zero" if by_bias else "draw the weights so that the argument has unit variance",
            replanned(look.light, _all_before_saturation(look, place)),
        )
        return


def _of_weight(weight: Weight | None) -> str:
    return "" if weight is None else f": σ² · fan_in = {weight.gain:.3g}"


def _all_before_saturation(look: Look, own: Place) -> list[str]:
    """The parameters of every weight whose activation saturates, and of those as large that meet the same one."""
    found: list[str] = []
    for place in (*look.trunk, own):
        if place.forward is not None and (place.forward.saturated or 0.0) > FLAT:
            found += look.weight_before(place).parameters
    meeting = {own.op, "sigmoid"} if own.op == "tanh" else {own.op}
    found += [w.name for w in look.light.weights if w.role in WEIGHTS and w.meets in meeting and w.gain > _WIDE]
    weight = None if look.head is None else look.weight_of(look.head)
    if look.head is not None and weight is not None and weight.gain > 10:
        found += look.head.parameters  # drawn as the body was, it would be as much too large
    return found


def _recurrent(look: Look) -> Iterator[Finding]:
    """Gates of a fused recurrent layer, from its weights: their arguments are never shown.

    A gate's argument has the mean of the biases and the variance n E[w²] E[x²] + H E[u²] E[h²], E[h²] taken for ¼. The
    share beyond |z| = 4.357, where the sigmoid's slope is below 5 % of its maximum, has the bounds of saturation.
    """
    for place in look.light.of(Kind.WEIGHT):
        weights = [w for n in place.parameters if (w := look.weights.get(n)) is not None]
        inputs = next((w for w in weights if w.role == str(Role.RECURRENT_INPUT)), None)
        hidden = next((w for w in weights if w.role == str(Role.RECURRENT_HIDDEN)), None)
        if inputs is None or hidden is None or place.op.startswith("rnn_relu"):
            continue
        biases = [w for w in weights if w.role not in RECURRENT]
        bound = _TANH_FLAT if place.op.startswith("rnn_tanh") else _SIGMOID_FLAT
        entering = look.before(place)
        arriving = entering.forward.second if entering is not None and entering.forward is not None else 1.0
        mean = sum(b.mean for b in biases[:2])
        own = hidden.fan_in * hidden.second * 0.25 + sum(b.std**2 for b in biases[:2])
        std = math.sqrt(inputs.fan_in * inputs.second * arriving + own)
        share = _beyond(mean, std, bound)
        if share <= FLAT:
            continue
        name = hidden.name if own >= inputs.fan_in * inputs.second * arriving else inputs.name
        if abs(mean) > std:
            name = biases[0].name
        yield Finding(
            "saturation",
            Severity.ERROR if share > MOSTLY_FLAT else Severity.WARNING,
            name,
            place.position,
            (
                Evidence("share of saturated gates, from the weights", share, FLAT, 0.0, "|σ'| < 5 % of its max"),
                Evidence("mean of a gate's argument", mean, bound, 0.0, "biases"),
                Evidence("standard deviation of a gate's argument", std, bound, 1.0, "n E[w²] E[x²] + H E[u²]/4"),
            ),
            f"{name} drives the gates of {place.label} to their ends, where no gradient passes",
            "draw the recurrent weights orthogonal and the input weights with σ² · fan_in = 1, biases zero",
            replanned(look.light, place.parameters),
        )
        return


def _beyond(mean: float, std: float, bound: float) -> float:
    """P(|z| > bound) for z ~ N(mean, std²)."""
    if std == 0:
        return float(abs(mean) > bound)
    return (math.erfc((bound - mean) / std / math.sqrt(2)) + math.erfc((bound + mean) / std / math.sqrt(2))) / 2


def _zero_scales(look: Look) -> Iterator[Finding]:
    """A norm's scale that is zero where no residual branch ends: nothing passes it.

    Exact. A scale that starts a residual branch from zero (Goyal et al. 2017, arXiv 1706.02677) is meant so, and so is
    one to which its module adds one, and one beside which another way leads and which gets a gradient.
    """
    zero = [
        w
        for w in look.light.weights
        if w.role == str(Role.NORM_SCALE) and w.constant and w.second == 0 and w.branch is None
    ]
    norms = {w.name: norm for w in zero if (norm := _norm_of(look, w)) is not None}
    zero = [w for w in zero if w.name in norms and (norms[w.name] in look.trunk or w.grad_zeros in (None, 1.0))]
    if zero:
        place = norms[zero[0].name]
        yield Finding(
            "zero-norm-scale",
            Severity.ERROR,
            zero[0].name,
            place.position,
            (Evidence("norm scales that are zero off a branch's end", float(len(zero)), 0.0, 0.0, "exact"),),
            "the norm multiplies everything by zero, so neither signal nor gradient passes it",
            "set the scale to one",
            overridden(look.light, {w.name: Ones() for w in zero}, "a norm starts as the identity"),
        )


def _norm_of(look: Look, scale: Weight) -> Place | None:
    """The norm that a zero scale makes zero: by its output, or, where the norm is written out, by what reads it."""
    norms = look.light.of(Kind.NORM)
    called = next((p for p in norms if p.weight == scale.name), None)
    if called is not None:
        return called if _is_constant(called) else None
    within = [p for p in norms if not p.parameters and p.module == scale.name.rpartition(".")[0]]
    return within[0] if within and "add" not in look.through(scale) else None


def _is_constant(place: Place) -> bool:
    """Whether every unit has one value on the whole batch: zero, or the norm's shift."""
    return rms(place) == 0 or (place.forward is not None and place.forward.constant == 1.0)
