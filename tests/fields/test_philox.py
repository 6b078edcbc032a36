"""Philox4x32-10 against the known answers that Random123 publishes (kat_vectors), in both engines."""

import ctypes

import pytest
import torch
from llvmlite import ir

from firstlight.fields import Key, words
from firstlight.fields.llvm import codegen, compiler
from firstlight.fields.llvm.layout import JOB
from firstlight.fields.philox import philox
from firstlight.fields.transforms import WORDS

ONES = 0xFFFFFFFF
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.fixture(scope="module")
def native_group():
    """``edge``, the native code of one group, which takes any group number: known answers lie beyond the field."""
    machine = compiler._host()
    if machine.lacks("int32"):
        pytest.skip(machine.lacks("int32"))
    module = ir.Module("known_answers")
    codegen._edge_function(module, "words", "int32").linkage = "external"
    (address,) = compiler._link(compiler.compile_object(str(module), machine), machine, "edge")
    types = ctypes.c_char_p, ctypes.c_uint64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
    return ctypes.CFUNCTYPE(None, *types)(address)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_reference_known_answers(counter, key, expected):
    state = tuple(torch.tensor([word]) for word in counter)
    assert tuple(int(word) for word in philox(state, key)) == expected


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_native_known_answers(native_group, counter, key, expected):
    index, stream = counter[0] | counter[1] << 32, counter[2] | counter[3] << 32
    job = JOB.pack(0, 0, 0, key[0] | key[1] << 32, stream, WORDS.packed, 0, 0)
    out = (ctypes.c_uint32 * 64)()
    native_group(job, index >> 4, 0, 64, ctypes.addressof(out))
    assert tuple(out[16 * word + (index & 15)] for word in range(4)) == expected


@pytest.mark.parametrize("start", [0, 3, (1 << 40) + 17, (1 << 63) - 200])
def test_element_layout(start):
    """Element i is word (i >> 4) & 3 of counter (i >> 6) · 16 + (i & 15), under the key's words."""
    key = Key(seed=0x0123456789ABCDEF, stream=0xFEDCBA9876543210)
    for offset, word in enumerate(words(key, start, start + 150).tolist()):
        i = start + offset
        counter = (i >> 6) * 16 + (i & 15)
        state = (counter & ONES, counter >> 32, key.stream & ONES, key.stream >> 32)
        block = philox(tuple(torch.tensor([w]) for w in state), (key.seed & ONES, key.seed >> 32))
        assert int(block[(i >> 4) & 3]) == word
