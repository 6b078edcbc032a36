"""The record of one job as native code reads it: packed here by ``engine.py``, unpacked by ``codegen.py``."""

from __future__ import annotations

import struct
from typing import Final

from ..transforms import CONSTANTS

PIECE: Final = 256
"""Groups of 64 elements that a thread takes at once: 16384 elements, some 10 µs."""

JOB: Final = struct.Struct(f"<5Q{CONSTANTS.size}s2Q")
"""pointer, start, count, seed, stream, the transform's constants, kernel and end (pieces up to this job's last)."""

FIELDS: Final = {
    "pointer": (0, "Q"),
    "start": (8, "Q"),
    "count": (16, "Q"),
    "seed_low": (24, "I"),
    "seed_high": (28, "I"),
    "stream_low": (32, "I"),
    "stream_high": (36, "I"),
    "scale": (40, "f"),
    "shift": (44, "f"),
    "low": (48, "f"),
    "high": (52, "f"),
    "base": (56, "Q"),
    "span": (64, "Q"),
    "kernel": (72, "Q"),
    "end": (80, "Q"),
}
"""Byte offset and ``struct`` code of every field."""
