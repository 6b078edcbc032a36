"""Gradients through linear calls, norms, pools and attention, backwards: what each hands on of E[g²].

The gradient's statistics are a ``Signal`` like any other. Weights met on the way back are taken as independent of those
met on the way forward (the gradient independence assumption; Yang 2020, arXiv 2006.14548, says where it holds).
``backward`` walks the tape and asks here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from .attended import Focus
from .normed import in_common
from .signal import Signal


def added(g: Signal, samples: float, positions: float, units: float = 1.0) -> Signal:
    """The sum of gradients over samples, positions and units: what a value that was handed to all of them gets."""
    both = min(g.shared, g.local)
    between = positions * g.shared + positions * (positions - 1) * both
    variance = samples * (positions * g.variance + positions * (positions - 1) * g.local)
    variance = units * (variance + samples * (samples - 1) * between)
    variance = max(variance, 0.0)
    return Signal(
        samples * positions * units * g.mean,
        variance,
        variance if samples > 1 else units * between,
        variance if positions > 1 else units * (samples * g.local + samples * (samples - 1) * both),
        known=g.known,
    )


def thinned(g: Signal, part: float) -> Signal:
    """A gradient that reaches only this part of a value; the rest gets none."""
    return Signal(g.mean * part, g.second * part - (g.mean * part) ** 2, g.shared * part, g.local * part, known=g.known)


def averaged(g: Signal, window: float, reached: float, positions: float, *, summed: bool) -> Signal:
    """Behind a mean over windows of this size, each value in so many of them; ``positions`` that a sample's value has.

    Two values of one window get the same gradient.
    """
    factor = 1.0 if summed else 1.0 / window
    one = Signal(reached * g.mean, reached * g.variance, reached * g.shared, known=g.known)
    near = (window - 1) / (positions - 1) if positions > 1 else 0.0
    local = g.local + max(g.variance - g.local, 0.0) * min(near, 1.0)
    return Signal(one.mean, one.variance, one.shared, reached * local, known=g.known).scaled(factor)


def chosen(g: Signal, part: float) -> Signal:
    """Behind a maximum: one value of a window gets all, so this part of the values gets any."""
    return Signal(
        g.mean * part, g.second * part - (g.mean * part) ** 2, g.shared * part**2, g.local * part**2, known=g.known
    )


def strided(g: Signal, share: float) -> Signal:
    """Behind a convolution that has this share of its input's positions as outputs.

    Only inputs that lie alike to the stride are reached through the same weights; what adds up to nothing still does.
    """
    return replace(g, local=g.local * min(share, 1.0), shared=g.shared * (share if g.shared < 0 else 1.0))


def sloped(g: Signal, slope: Signal) -> Signal:
    """Behind a function with this slope. What adds up to nothing before it does not behind: slopes differ."""
    out = g.times(slope)
    return replace(out, shared=g.shared * slope.mean**2) if g.shared < 0 else out


def shared_out(by_value: Signal, g: Signal, x: Signal, whole: Signal) -> Signal:
    """The gradient times one summand x, from the gradient times the whole sum.

    Of the whole the summand explains its share of the variance.
    """
    share = min(x.variance / whole.variance, 1.0) if whole.variance > 0 else 0.0
    alone = g.times(x.plain())
    pairs = [(alone.shared, share**2 * by_value.shared), (alone.local, share**2 * by_value.local)]
    shared, local = (max(pair, key=abs) for pair in pairs)
    return replace(alone, shared=shared, local=local)


def unnormed(op: str, g: Signal, square: float, size: float, shape: tuple[int, ...]) -> Signal:
    """Behind a norm that divides by √``square``, over ``size`` values, without its scale.

    g ↦ (g - mean(g) - x̂ mean(g x̂)) / σ: two of ``size`` directions are lost, one for a norm that takes away no mean; a
    batch or instance norm takes away what samples or positions of a unit have in common.
    """
    left = max(1 - (1 if op in ("rms_norm", "normalize") else 2) / max(size, 2.0), 0.0)
    if op == "batch_norm":
        common = in_common(g, shape)
        rest = max(g.variance - common, 0.0) * (1 - 1 / max(size, 2.0))
        local = max(0.0, g.local - common)
        # Over the batch they add up to nothing: what samples have in common is negative.
        positions = math.prod(shape[2:])
        between = -(rest + (positions - 1) * local) / (positions * max(shape[0] - 1, 1))
        return Signal(0.0, rest / square, between / square, local / square, known=g.known)
    if op == "instance_norm":
        return Signal(0.0, max(g.variance - g.local, 0.0) * left / square, 0.0, 0.0, known=g.known)
    return Signal(0.0, g.second * left / square, g.shared * left / square, g.local * left / square, known=g.known)


def to_values(g: Signal, squares: float, allowed: Sequence[int], queries: int, keys: int) -> Signal:
    """What attention's values get: Σ_q p_qk g_q. Queries in common add up by columns, the rest by E[Σ p²]."""
    own = max(g.variance - g.local, 0.0)
    per_key = queries / keys
    column = _columns(allowed, queries, keys)
    pairs = per_key * (1 - squares) / (keys - 1) if keys > 1 else 0.0
    common = (g.local + g.mean**2) * column
    return Signal(0.0, own * per_key * squares + common, g.shared * column, own * pairs + common, known=g.known)


def _columns(allowed: Sequence[int], queries: int, keys: int) -> float:
    """The mean over keys of (Σ_q p_qk)², for weights that are even over the first n keys of each query."""
    if len(allowed) < 2 or min(allowed) == max(allowed):
        return (queries / keys) ** 2
    sums = [0.0] * (keys + 1)
    for n in allowed:
        sums[min(n, keys) - 1] += queries / len(allowed) / n
    total = column = 0.0
    for k in reversed(range(keys)):
        column += sums[k]
        total += column**2
    return total / keys


def to_weights(g: Signal, value: Signal, width: float) -> Signal:
    """What attention's weights get: g_q · v_k, of which only what differs between keys matters behind a softmax."""
    return Signal(0.0, width * g.second * max(value.variance - value.local, 0.0), known=g.known)


def to_logits(g: Signal, slope: float, keys: float) -> Signal:
    """Behind a softmax over keys: p (g - Σ p g), whose squares over the keys add up to the focus' slope."""
    return Signal(0.0, slope / keys * g.second, known=g.known)


def to_query(g: Signal, key: Signal, keys: float) -> Signal:
    """What a query gets of its logits' gradients, which add up to zero: Σ_k g_k k_k."""
    return Signal(0.0, keys * g.second * max(key.variance - key.local, 0.0), known=g.known)


def to_key(g: Signal, query: Signal, queries: float) -> Signal:
    """What a key gets: Σ_q g_q q_q."""
    return Signal(0.0, queries * g.second * query.second, known=g.known)


def attended(
    g: Signal,
    signals: tuple[Signal, Signal, Signal],
    focus: Focus,
    allowed: Sequence[int],
    shape: tuple[int, int, int],
    scale: float,
) -> tuple[Signal, Signal, Signal]:
    """What queries, keys and values get through a whole attention; ``shape`` is (queries, keys, width of a head)."""
    query, key, value = signals
    queries, keys, width = shape
    logits = to_logits(to_weights(g, value, width), focus.slope, keys).scaled(scale)
    return (
        to_query(logits, key, keys),
        to_key(logits, query, queries),
        to_values(g, focus.squares, allowed, queries, keys),
    )


def is_finite(g: Signal) -> bool:
    """Whether all of its numbers are finite."""
    return all(map(math.isfinite, (g.mean, g.variance, g.shared, g.local)))
