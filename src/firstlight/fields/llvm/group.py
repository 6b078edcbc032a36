"""One group of the field, 64 elements, as straight-line vector code: Philox, the transform, the conversion, stores.

The formulas are those of ``reference.py``, operation for operation. ``codegen.py`` puts loops around them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from llvmlite import ir

from ..coefficients import FAR, NEAR, Quantile
from ..philox import MULTIPLIERS, ROUNDS, WEYL
from . import vectors as v
from .vectors import Builder, Value

ITEM_SIZES: Final = {"int32": 4, "float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}
"""Bytes of an element, by the type's name; int32 takes the raw words."""

Halves = tuple[Value, Value]


@final
@dataclass(frozen=True, slots=True)
class Constants:
    """The constants of a job, as IR values: Philox's words and those of ``transforms.Transform``."""

    key: tuple[Value, Value]
    stream: tuple[Value, Value]
    scale: Value
    shift: Value
    low: Value
    high: Value
    base: Value
    span: Value


def philox(b: Builder, group: Value, job: Constants) -> list[Halves]:
    """The four words of the group's sixteen counters: each a pair of vectors, a word in the low half of each lane.

    The state stays in 64-bit lanes with garbage above the word: the multiplication ignores it.
    """
    first = b.shl(group, v.I64(4))
    upper = [v.splat(b, b.zext(word, v.I64), v.WIDE) for word in job.stream]
    high = v.splat(b, b.lshr(first, v.I64(32)), v.WIDE)
    multipliers = v.wide(MULTIPLIERS[0]), v.wide(MULTIPLIERS[1])
    halves = []
    for lanes in (range(8), range(8, 16)):
        counter = b.or_(v.splat(b, first, v.WIDE), ir.Constant(v.WIDE, list(lanes)))
        c0, c1, c2, c3 = counter, high, upper[0], upper[1]
        k0, k1 = job.key
        for _ in range(ROUNDS):
            p0 = b.mul(v.low_word(b, c0), multipliers[0])
            p1 = b.mul(v.low_word(b, c2), multipliers[1])
            c0 = b.xor(b.xor(v.high_half(b, p1), c1), v.splat(b, b.zext(k0, v.I64), v.WIDE))
            c2 = b.xor(b.xor(v.high_half(b, p0), c3), v.splat(b, b.zext(k1, v.I64), v.WIDE))
            c1, c3 = p1, p0
            k0, k1 = b.add(k0, v.I32(WEYL[0])), b.add(k1, v.I32(WEYL[1]))
        halves.append((c0, c1, c2, c3))
    return list(zip(*halves, strict=True))


def _uniform(b: Builder, word: Halves, job: Constants) -> Value:
    c = b.or_(b.ashr(v.narrow(b, word), v.words(7)), v.words(1))
    return v.fma(b, b.sitofp(c, v.FLOATS), v.splat(b, job.scale, v.FLOATS), v.splat(b, job.shift, v.FLOATS))


def _quantile(b: Builder, t: Value, w: Value, constants: Quantile, job: Constants) -> Value:
    """``reference._quantile``; ``w`` is 1 − t² times a power of two."""
    bits = b.bitcast(w, v.WORDS)
    biased = b.sub(bits, v.words(constants.bias))
    exponent = b.sitofp(b.and_(biased, v.words(0xFF800000)), v.FLOATS)
    mantissa = b.or_(b.and_(bits, v.words(0x7FFFFF)), v.words(0x3F800000))
    fraction = b.fsub(b.bitcast(mantissa, v.FLOATS), v.floats(1.5))
    rest = v.fma(b, exponent, v.floats(constants.exponent), v.floats(constants.offset))
    y = v.fma(b, v.horner(b, constants.mantissa, fraction), fraction, rest)
    ratio = v.horner(b, constants.polynomial, y)
    if constants.tail:
        beyond = v.horner(b, constants.tail, b.fsub(y, v.floats(2.0)))
        ratio = b.select(b.fcmp_ordered(">", y, v.floats(1.0)), beyond, ratio)
    scaled = b.fmul(t, v.splat(b, job.scale, v.FLOATS))
    return v.fma(b, ratio, scaled, v.splat(b, job.shift, v.FLOATS))


def _near(b: Builder, n: Value, job: Constants) -> Value:
    """``reference._near``: n is sixteen int32."""
    n = b.or_(n, v.words(1))
    tail = b.sitofp(b.sub(v.words(1 << 31), v.magnitude(b, n)), v.FLOATS)
    square = b.fmul(tail, b.fsub(v.floats(2.0**32), tail))
    return _quantile(b, b.sitofp(n, v.FLOATS), square, NEAR, job)


def _normal(b: Builder, word: Halves, job: Constants) -> Value:
    return _near(b, v.narrow(b, word), job)


def _clamp(b: Builder, x: Value, job: Constants) -> Value:
    low, high = v.splat(b, job.low, v.FLOATS), v.splat(b, job.high, v.FLOATS)
    x = b.select(b.fcmp_ordered("<", x, low), low, x)
    return b.select(b.fcmp_ordered(">", x, high), high, x)


def _truncated(b: Builder, word: Halves, job: Constants) -> Value:
    span = v.splat(b, b.zext(b.trunc(job.span, v.I32), v.I64), v.WIDE)
    products = b.mul(v.low_word(b, word[0]), span), b.mul(v.low_word(b, word[1]), span)
    base = v.splat(b, b.trunc(job.base, v.I32), v.WORDS)
    return _clamp(b, _near(b, b.add(v.narrow(b, products, odd=1), base), job), job)


def _truncated_far(b: Builder, word: Halves, job: Constants) -> Value:
    """``reference._truncated_far``: 64-bit probabilities, eight lanes at a time until they are float32."""
    span_low = v.splat(b, b.zext(b.trunc(job.span, v.I32), v.I64), v.WIDE)
    span_high = v.splat(b, b.lshr(job.span, v.I64(32)), v.WIDE)
    base, top = v.splat(b, job.base, v.WIDE), v.wide(1 << 63)
    ts, tails = [], []
    for half in word:
        u = v.low_word(b, half)
        offset = b.add(b.mul(u, span_high), b.lshr(b.mul(u, span_low), v.wide(32)))
        n = b.or_(b.add(base, offset), v.wide(1))
        ts.append(b.sitofp(n, v.HALF_FLOATS))
        tails.append(b.sitofp(b.sub(top, v.magnitude(b, n)), v.HALF_FLOATS))
    t, tail = v.join(b, (ts[0], ts[1])), v.join(b, (tails[0], tails[1]))
    square = b.fmul(tail, b.fsub(v.floats(2.0**64), tail))
    return _clamp(b, _quantile(b, t, square, FAR, job), job)


_FORMULAS: Final = {
    "uniform": _uniform,
    "normal": _normal,
    "truncated": _truncated,
    "truncated_far": _truncated_far,
}


def _rounded_bits(b: Builder, x: Value) -> Value:
    """The bits of float32 ``x`` with its upper half rounded to bfloat16, ties to even; no NaN reaches here.

    Not the machine's conversion instruction: that flushes denormals.
    """
    bits = b.bitcast(x, v.WORDS)
    tie = b.and_(b.lshr(bits, v.words(16)), v.words(1))
    return b.add(b.add(bits, v.words(0x7FFF)), tie)


def _bfloat16(b: Builder, x: Value, y: Value) -> Value:
    """Two vectors of float32 as one of 32 bfloat16: one shuffle of upper halves."""
    pairs = ir.VectorType(v.I16, 2 * v.LANES)
    upper = [2 * lane + 1 for lane in range(2 * v.LANES)]
    return v.shuffle(b, b.bitcast(_rounded_bits(b, x), pairs), b.bitcast(_rounded_bits(b, y), pairs), upper)


def _converted(b: Builder, values: list[Value], dtype: str) -> list[Value]:
    """The group's four vectors of float32 as vectors of ``dtype``, in order."""
    if dtype == "bfloat16":
        return [_bfloat16(b, values[0], values[1]), _bfloat16(b, values[2], values[3])]
    if dtype == "float16":
        return [b.fptrunc(x, ir.VectorType(v.F16, v.LANES)) for x in values]
    if dtype == "float64":
        return [b.fpext(x, ir.VectorType(v.F64, v.LANES)) for x in values]
    return values


def value(b: Builder, kind: str, word: Halves, job: Constants) -> Value:
    """Sixteen words as values: float32, or the words themselves for the kind "words"."""
    return v.narrow(b, word) if kind == "words" else _FORMULAS[kind](b, word, job)


def store(b: Builder, dtype: str, values: list[Value], at: Value) -> None:
    """Convert a group's four vectors of values to ``dtype`` and write them.

    Args:
        b: where the code goes.
        dtype: a key of ITEM_SIZES.
        values: the group's elements in order.
        at: a byte pointer.
    """
    results = _converted(b, values, dtype)
    pointer = b.bitcast(at, results[0].type.as_pointer())
    for index, result in enumerate(results):
        place = b.gep(pointer, [v.I64(index)])
        b.store(result, place, align=ITEM_SIZES[dtype])
