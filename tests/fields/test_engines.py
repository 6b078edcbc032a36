"""Both engines give the same bits, and nothing outside the range asked for is touched."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firstlight.fields import Key, fill_, normal, truncated_normal, uniform, words
from firstlight.fields import reference as plain
from firstlight.fields.llvm import compiler
from firstlight.fields.transforms import WORDS

if compiler.lacks("float16"):
    pytest.skip(compiler.lacks("float16"), allow_module_level=True)

INF = float("inf")
TRANSFORMS = [
    uniform(-1.0, 1.0),
    uniform(0.1, 0.7),
    normal(0.0, 1.0),
    normal(-3.0, 0.25),
    truncated_normal(0.0, 1.0, -2.0, 2.0),
    truncated_normal(1.0, 0.5, -0.5, INF),
    truncated_normal(0.0, 1.0, 4.0, INF),
    truncated_normal(0.0, 1.0, -7.0, -6.5),
    truncated_normal(2.0, 1.0, -1e-4, 1e-4),
]
INTEGERS = {
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float64: torch.int64,
}
GUARD = -99.0
starts = st.integers(0, 300) | st.integers(0, (1 << 63) - 5000) | st.integers((1 << 36) - 100, (1 << 36) + 100)


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.equal(a.view(INTEGERS[a.dtype]), b.view(INTEGERS[b.dtype]))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("index", range(len(TRANSFORMS)), ids=lambda i: f"{TRANSFORMS[i].kind}{i}")
def test_same_bits(index, dtype):
    @given(starts, st.integers(0, 400) | st.just(4000), st.integers(0, 3), st.integers(0, 2**64 - 1))
    @example((1 << 63) - 4000, 4000, 0, 0)
    @example(63, 1, 1, 0)
    @example(63, 2, 1, 0)
    @settings(max_examples=15, deadline=None)
    def law(start, count, offset, seed):
        key = Key(seed, seed ^ 0x5555555555555555)
        outs = []
        for engine in ("llvm", "reference"):
            out = torch.full((count + 8,), GUARD, dtype=dtype)
            fill_(out[offset : offset + count], TRANSFORMS[index], key, start, engine=engine)
            outs.append(out)
        assert same_bits(*outs)
        assert (outs[0][:offset] == GUARD).all()
        assert (outs[0][offset + count :] == GUARD).all()

    law()


@pytest.mark.parametrize("index", range(len(TRANSFORMS)), ids=lambda i: f"{TRANSFORMS[i].kind}{i}")
def test_same_bits_of_many_words(index):
    a, b = (fill_(torch.empty(400_001), TRANSFORMS[index], Key(3, 4), 29, engine=e) for e in ("llvm", "reference"))
    assert same_bits(a, b)


def test_same_words():
    expected = torch.empty(100_000, dtype=torch.int64)
    plain.fill(expected, WORDS, Key(8, 9), 77)
    assert torch.equal(words(Key(8, 9), 77, 100_077), expected)


def test_alignment_and_threads_change_nothing():
    count, transform, key = 2_000_000, normal(0.0, 1.0), Key(5, 6)
    whole = fill_(torch.empty(count), transform, key)
    shifted = fill_(torch.empty(count + 1)[1:], transform, key)
    part = slice(1_000_003, 1_300_000)
    assert same_bits(whole, shifted)
    assert same_bits(whole[part], fill_(torch.empty(299_997), transform, key, part.start))


def test_flushing_denormals_changes_nothing():
    expected = [fill_(torch.empty(5000), transform, Key(1, 1)) for transform in TRANSFORMS]
    half = fill_(torch.empty(5000, dtype=torch.float16), normal(0, 1e-6), Key(1, 1), engine="llvm")
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU has no flush mode")
    try:
        flushed = [fill_(torch.empty(5000), transform, Key(1, 1)) for transform in TRANSFORMS]
        flushed_half = fill_(torch.empty(5000, dtype=torch.float16), normal(0, 1e-6), Key(1, 1), engine="llvm")
    finally:
        torch.set_flush_denormal(False)
    assert all(same_bits(a, b) for a, b in zip(expected, flushed, strict=True))
    assert same_bits(half, flushed_half)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_draws_the_same():
    """The child of a process whose threads wait for work has no such threads: it must start its own.

    numpy compares: torch's own parallel operations hang in a child whose parent has used OpenMP.
    """
    code = """
import os, sys, torch
from firstlight.fields import Key, fill_, normal
torch.set_num_threads(2)
draw = lambda: fill_(torch.empty(300_000), normal(0.0, 1.0), Key(1, 2)).numpy().tobytes()
before = draw()
child = os.fork()
if child == 0:
    os._exit(0 if draw() == before else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=60, check=False).returncode == 0


def test_python_threads_give_the_same(monkeypatch, threads):
    """Without OpenMP, as on macOS and in forked children: 20 rounds of waking and waiting."""
    from firstlight.fields.llvm import threads as module

    expected = fill_(torch.empty(300_000), normal(0.0, 1.0), Key(1, 2))
    monkeypatch.setattr(module, "_OPENMP", None)
    for number in (2, 3, 1) * 7:
        threads(number)
        assert same_bits(fill_(torch.empty(300_000), normal(0.0, 1.0), Key(1, 2)), expected)


def test_concurrent_callers_do_not_disturb_each_other():
    import threading

    expected = fill_(torch.empty(200_000), normal(0.0, 1.0), Key(1, 2))
    good: list[bool] = []

    def draw() -> None:
        good.extend(same_bits(fill_(torch.empty(200_000), normal(0.0, 1.0), Key(1, 2)), expected) for _ in range(20))

    callers = [threading.Thread(target=draw) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert good == [True] * 80
