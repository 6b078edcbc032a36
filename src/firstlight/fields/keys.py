"""Keys: which field a parameter reads, from a seed and the parameter's canonical name.

The seed is the key of Philox; the name becomes the upper half of its counter. So every (seed, name) has 2⁶³
elements of its own, and no draw depends on any other.
"""

from __future__ import annotations

import hashlib
import operator
import struct
from dataclasses import dataclass
from typing import Final, final

from ..errors import ArgumentError

FORMAT: Final = 1
"""Version of the promise that a key, an index and a transform give the same value everywhere."""


def _word64(name: str, value: int) -> int:
    """``value`` as a 64-bit unsigned integer."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{name}={value!r} is not an integer: give one from 0 to 2**64 - 1") from None
    if not 0 <= number < 1 << 64:
        raise ArgumentError(f"{name}={number} does not fit 64 bits: give an integer from 0 to 2**64 - 1")
    return number


@final
@dataclass(frozen=True, slots=True)
class Key:
    """One field: all values that one seed and one stream hold.

    Args:
        seed: the key of Philox, 0 to 2⁶⁴ − 1.
        stream: the upper 64 bits of its counter, 0 to 2⁶⁴ − 1.

    Raises:
        ArgumentError: a number outside that range.
    """

    seed: int
    stream: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", _word64("seed", self.seed))
        object.__setattr__(self, "stream", _word64("stream", self.stream))

    @property
    def words(self) -> tuple[int, int, int, int]:
        """Seed and stream as 32-bit words: (seed low, seed high, stream low, stream high)."""
        low = 0xFFFFFFFF
        return self.seed & low, self.seed >> 32, self.stream & low, self.stream >> 32


def key(seed: int, name: str, stream: str = "values") -> Key:
    """The field of the parameter ``name`` under ``seed``.

    ``Key.stream`` is the first 8 bytes, little endian, of BLAKE2b over the format's number and the two texts, each
    with its length before it: no two (name, stream) pairs spell the same bytes.

    Args:
        seed: 0 to 2⁶⁴ − 1.
        name: the parameter's canonical name; any text.
        stream: which of the parameter's fields, where one is not enough (``"values"``, ``"mask"`` …).

    Raises:
        ArgumentError: a seed that is no integer or does not fit 64 bits.

    >>> key(0, "layers.0.weight")
    Key(seed=0, stream=6054289794013108994)
    >>> key(0, "layers.0.weight") == key(0, "layers.0.bias")
    False
    """
    digest = hashlib.blake2b(struct.pack("<I", FORMAT))
    for text in (name, stream):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(struct.pack("<Q", len(data)) + data)
    return Key(seed, int.from_bytes(digest.digest()[:8], "little"))
