"""The reference engine: the field in plain torch operations, on any device.

It defines what the native engine must give, bit for bit, and stands in for it where there is none: accelerators, and
CPUs without fused multiply-add. Every operation is one that IEEE 754 fixes; fma is put together from float64
operations. ``fill.py`` is its only caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from .coefficients import FAR, NEAR, Quantile
from .keys import Key
from .philox import COUNTERS, GROUP, MASK, philox
from .transforms import Transform

CHUNK_GROUPS: Final = {"cpu": 1 << 12, "other": 1 << 16}
"""Groups of 64 elements computed at once: about 60 MB of temporaries on a CPU, 1 GB on an accelerator."""


def words(key: Key, start: int, stop: int, device: torch.device) -> Tensor:
    """Elements [start, stop) of the raw field, as int64 that hold uint32."""
    first, last = start >> 6, (stop + GROUP - 1) >> 6
    group = torch.arange(first, last, device=device, dtype=torch.int64)[:, None]
    counter = group * COUNTERS + torch.arange(COUNTERS, device=device, dtype=torch.int64)
    seed_low, seed_high, stream_low, stream_high = key.words
    upper = torch.full_like(counter, stream_low), torch.full_like(counter, stream_high)
    block = philox((counter & MASK, counter >> 32, *upper), (seed_low, seed_high))
    return torch.stack(block, dim=1).reshape(-1)[start - (first << 6) : stop - (first << 6)]


def words_at(key: Key, index: Tensor) -> Tensor:
    """The elements of the raw field at ``index`` (int64), as int64 that hold uint32."""
    counter = (index >> 6) * COUNTERS + (index & (COUNTERS - 1))
    seed_low, seed_high, stream_low, stream_high = key.words
    upper = torch.full_like(counter, stream_low), torch.full_like(counter, stream_high)
    block = philox((counter & MASK, counter >> 32, *upper), (seed_low, seed_high))
    return torch.stack(block).gather(0, ((index >> 4) & 3)[None])[0]


def fma(a: Tensor, b: Tensor | float, c: Tensor | float) -> Tensor:
    """a · b + c in float32, rounded once.

    The product of two float32 is exact in float64. The sum is rounded to odd (its last bit set if inexact), which
    float64's 29 spare bits carry safely to the final rounding.

    Reference: Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding
    to odd", IEEE Transactions on Computers 57, 2008.
    """
    product = a.double() * (b.double() if isinstance(b, Tensor) else b)
    term = c.double() if isinstance(c, Tensor) else c
    total = product + term
    part = total - product
    error = (product - (total - part)) + (term - part)
    bits = total.view(torch.int64)
    step = torch.where((error > 0) == (total > 0), 1, -1)
    odd = bits + step * ((error != 0) & ((bits & 1) == 0))
    return odd.view(torch.float64).float()


def _horner(coefficients: Sequence[float], x: Tensor) -> Tensor:
    """The polynomial with these coefficients, lowest first."""
    result: Tensor | None = None
    for c in reversed(coefficients[:-1]):
        result = fma(x, coefficients[-1], c) if result is None else fma(result, x, c)
    if result is None:
        raise ValueError("a polynomial needs at least two coefficients")
    return result


def _signed(u: Tensor) -> Tensor:
    """The int32 with the bits of uint32 ``u``: a signed distance from the median, in units of 2⁻³²."""
    return (u ^ 0x80000000) - 0x80000000


def _quantile(t: Tensor, v: Tensor, constants: Quantile, transform: Transform) -> Tensor:
    """shift + scale · t · Φ⁻¹((1 + t')/2)/t', where v is a power of two times 1 − t'² and t = t' but for scale."""
    bits = v.view(torch.int32)
    exponent = ((bits - constants.bias) & -0x800000).float()
    fraction = ((bits & 0x7FFFFF) | 0x3F800000).view(torch.float32) - 1.5
    rest = fma(exponent, constants.exponent, constants.offset)
    y = fma(_horner(constants.mantissa, fraction), fraction, rest)
    ratio = _horner(constants.polynomial, y)
    if constants.tail:
        ratio = torch.where(y > 1.0, _horner(constants.tail, y - 2.0), ratio)
    return fma(ratio, t * transform.scale, transform.shift)


def _near(n: Tensor, transform: Transform) -> Tensor:
    """The normal quantile of ½ + (n | 1) · 2⁻³², for int32 ``n``; 1 − t² from 1 − |t|, exact in the tail."""
    n = n | 1
    tail = ((1 << 31) - n.abs()).float()
    return _quantile(n.float(), tail * (2.0**32 - tail), NEAR, transform)


def _far(n: Tensor, transform: Transform) -> Tensor:
    """The normal quantile of ½ + (n | 1) · 2⁻⁶⁴, for int64 ``n``."""
    n = n | 1
    # 2⁶³ is no int64: |n| − 2⁶³ is, and |n| ≥ 1 keeps it from the one int64 without a negative.
    tail = (-(n.abs() + (-(1 << 63)))).float()
    return _quantile(n.float(), tail * (2.0**64 - tail), FAR, transform)


def _high(u: Tensor, span: int) -> Tensor:
    """⌊u · span · 2⁻³²⌋ for 32-bit ``u`` and ``span``, without leaving int64."""
    return (((u * (span & 0xFFFF)) >> 16) + u * (span >> 16)) >> 16


def _uniform(u: Tensor, transform: Transform) -> Tensor:
    """shift + scale · c: c is odd, so the values are symmetric and none sits on an end."""
    return fma(((_signed(u) >> 7) | 1).float(), transform.scale, transform.shift)


def _normal(u: Tensor, transform: Transform) -> Tensor:
    return _near(_signed(u), transform)


def _truncated(u: Tensor, transform: Transform) -> Tensor:
    n = _signed((_high(u, transform.span) + transform.base) & MASK)
    return _near(n, transform).clamp(transform.low, transform.high)


def _truncated_far(u: Tensor, transform: Transform) -> Tensor:
    base = transform.base - (1 << 64) if transform.base >> 63 else transform.base
    offset = u * (transform.span >> 32) + _high(u, transform.span & MASK)
    return _far(offset + base, transform).clamp(transform.low, transform.high)


_FORMULAS: Final[dict[str, Callable[[Tensor, Transform], Tensor]]] = {
    "uniform": _uniform,
    "normal": _normal,
    "truncated": _truncated,
    "truncated_far": _truncated_far,
}


def fill(out: Tensor, transform: Transform, key: Key, start: int) -> None:
    """Write field elements start, start + 1, … into ``out``: one-dimensional, contiguous, on a device with float64.

    An integer ``out`` takes the raw words, for the transform WORDS.
    """
    chunk = GROUP * CHUNK_GROUPS["cpu" if out.device.type == "cpu" else "other"]
    stop, position = start + out.numel(), start
    while position < stop:
        end = min(stop, (position // chunk + 1) * chunk)
        value = words(key, position, end, out.device)
        if transform.kind != "words":
            value = _FORMULAS[transform.kind](value, transform)
        out[position - start : end - start].copy_(value)
        position = end


def fill_at(out: Tensor, transform: Transform, key: Key, index: Tensor) -> None:
    """Write the field elements at ``index`` into ``out``, both one-dimensional; as ``fill``, at four times its work."""
    value = words_at(key, index)
    out.copy_(value if transform.kind == "words" else _FORMULAS[transform.kind](value, transform))
