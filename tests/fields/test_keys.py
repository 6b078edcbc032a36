"""Keys: every (seed, name, stream) has a field of its own, the same on every machine."""

import hashlib
import itertools
import struct

import numpy as np
import pytest

from firstlight.errors import ArgumentError
from firstlight.fields import Key, key


def test_stream_is_the_documented_hash():
    name, stream = "encoder.größe".encode(), b"mask"
    text = struct.pack("<IQ", 1, len(name)) + name + struct.pack("<Q", len(stream)) + stream
    expected = int.from_bytes(hashlib.blake2b(text).digest()[:8], "little")
    assert key(5, "encoder.größe", "mask") == Key(5, expected)


def test_no_two_texts_share_a_field():
    texts = ["", "a", "b", "ab", "a.b", "a\0", "values", "weight"]
    pairs = list(itertools.product(texts, texts))
    assert len({key(0, name, stream).stream for name, stream in pairs}) == len(pairs)


def test_seeds_are_64_bit_integers():
    assert key(np.int64(3), "w") == key(3, "w")
    assert key((1 << 64) - 1, "w").words[:2] == (0xFFFFFFFF, 0xFFFFFFFF)
    for seed in (-1, 1 << 64, 0.5, "0", None):
        with pytest.raises(ArgumentError, match="seed"):
            key(seed, "w")


def test_any_text_is_a_name():
    assert key(0, "\ud800").stream != key(0, "?").stream
