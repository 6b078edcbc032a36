"""Philox4x32-10: a bijection that turns a counter and a key into four random 32-bit words.

Nothing here has state. The reference engine calls ``philox`` on tensors; the native engine reads the constants
and writes the same rounds as vector code.

Reference: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor

ROUNDS: Final = 10
MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
WEYL: Final = (0x9E3779B9, 0xBB67AE85)
MASK: Final = 0xFFFFFFFF

GROUP: Final = 64
"""Elements of a field that are computed together: 16 counters of 4 words each."""
COUNTERS: Final = 16
"""Counters of a group; element ``i`` is word ``(i >> 4) & 3`` of counter ``(i >> 6) * 16 + (i & 15)``."""


def multiply(a: Tensor, b: int) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of ``a · b``, for 32-bit ``a`` (in int64) and ``b``, without leaving int64."""
    low = a * (b & 0xFFFF)
    high = a * (b >> 16) + (low >> 16)
    return high >> 16, ((high & 0xFFFF) << 16) | (low & 0xFFFF)


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """The four words of each counter, as int64 tensors that hold uint32.

    Args:
        counter: four broadcastable int64 tensors of 32-bit words, least significant first.
        key: two 32-bit words, least significant first.

    >>> import torch
    >>> zero = torch.zeros(1, dtype=torch.int64)
    >>> [hex(int(word)) for word in philox((zero, zero, zero, zero), (0, 0))]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        high0, low0 = multiply(c0, MULTIPLIERS[0])
        high1, low1 = multiply(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3
