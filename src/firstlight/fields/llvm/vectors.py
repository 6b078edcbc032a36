"""Vector operations in LLVM IR: types, constants, and the few intrinsics the field needs.

Sixteen lanes everywhere; LLVM splits them where the machine's registers are narrower. Used by ``group.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from llvmlite import ir

LANES: Final = 16

I1, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 16, 32, 64))
F16, F32, F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()
BYTES: Final = ir.IntType(8).as_pointer()

WORDS: Final = ir.VectorType(I32, LANES)
FLOATS: Final = ir.VectorType(F32, LANES)
WIDE: Final = ir.VectorType(I64, LANES // 2)
"""Half the lanes, a 32-bit word in the low half of each: what a widening multiplication reads and writes."""
HALF_FLOATS: Final = ir.VectorType(F32, LANES // 2)

Builder = Any
Value = Any
Type = Any


def words(value: int) -> Value:
    """All sixteen lanes the same 32-bit integer."""
    signed = value - (1 << 32) if value >> 31 else value
    return ir.Constant(WORDS, [signed] * LANES)


def floats(value: float) -> Value:
    """All sixteen lanes the same float32; ``value`` is one exactly."""
    return ir.Constant(FLOATS, [value] * LANES)


def wide(value: int) -> Value:
    """All eight lanes the same 64-bit integer."""
    signed = value - (1 << 64) if value >> 63 else value
    return ir.Constant(WIDE, [signed] * WIDE.count)


def splat(b: Builder, scalar: Value, vector: Type) -> Value:
    """A scalar in every lane."""
    one = b.insert_element(ir.Constant(vector, ir.Undefined), scalar, I32(0))
    zeros = ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count)
    return b.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)


def shuffle(b: Builder, first: Value, second: Value, lanes: Sequence[int]) -> Value:
    """The given lanes of two vectors laid end to end."""
    return b.shuffle_vector(first, second, ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))


def intrinsic(b: Builder, name: str, result: Type, arguments: Sequence[Value]) -> Value:
    """A call of an LLVM intrinsic, declared in the module on first use."""
    known = b.module.globals
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = known[name] if name in known else ir.Function(b.module, kind, name)
    return b.call(function, arguments)


def fma(b: Builder, x: Value, y: Value, z: Value) -> Value:
    """x · y + z, rounded once: an explicit fma, nothing left to contraction."""
    return intrinsic(b, "llvm.fma.v16f32", FLOATS, [x, y, z])


def magnitude(b: Builder, n: Value) -> Value:
    """|n| of a vector of signed integers."""
    suffix = f"v{n.type.count}i{n.type.element.width}"
    return intrinsic(b, f"llvm.abs.{suffix}", n.type, [n, I1(0)])


def horner(b: Builder, coefficients: Sequence[float], x: Value) -> Value:
    """The polynomial with these coefficients, lowest first."""
    result = floats(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        result = fma(b, result, x, floats(c))
    return result


def high_half(b: Builder, products: Value) -> Value:
    """The high 32 bits of each 64-bit lane in its low half (and again in its high half: a plain shuffle)."""
    pairs = b.bitcast(products, WORDS)
    return b.bitcast(shuffle(b, pairs, pairs, [lane | 1 for lane in range(LANES)]), WIDE)


def low_word(b: Builder, lanes: Value) -> Value:
    """The low 32 bits of each 64-bit lane, the rest cleared."""
    return b.and_(lanes, wide(0xFFFFFFFF))


def narrow(b: Builder, halves: tuple[Value, Value], odd: int = 0) -> Value:
    """The low (odd = 0) or high (odd = 1) words of two vectors of eight 64-bit lanes, as one of sixteen."""
    lanes = [2 * lane + odd for lane in range(LANES)]
    return shuffle(b, b.bitcast(halves[0], WORDS), b.bitcast(halves[1], WORDS), lanes)


def join(b: Builder, halves: tuple[Value, Value]) -> Value:
    """Two vectors of eight lanes as one of sixteen."""
    return shuffle(b, halves[0], halves[1], range(LANES))


def interleave(b: Builder, emitters: Sequence[tuple[Callable[[], Any], float, float]]) -> list[Any]:
    """Let each emitter append its instructions, then deal all of them out; the emitters' results, in order.

    LLVM and the CPU look only some hundred instructions ahead, and each emitter is one long chain: dealt out, the
    chains hide each other's latency (measured on Zen 4: normals 20 % faster).

    Args:
        b: where the code goes.
        emitters: (function, start, stop): its instructions are spread evenly over the part [start, stop] of the whole,
            0 to 1. Emitters must not depend on each other.
    """
    written = b.block.instructions
    begin = len(written)
    results, places = [], []
    for emit, start, stop in emitters:
        before = len(written)
        results.append(emit())
        length = len(written) - before
        places += [start + (stop - start) * (index + 0.5) / length for index in range(length)]
    order = sorted(range(len(places)), key=places.__getitem__)
    written[begin:] = [written[begin + index] for index in order]
    return results
