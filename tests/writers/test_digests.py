"""The digest: the sum over any blocks is the whole's, every change shows, dtype and shape count."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firstlight.fields import Box
from firstlight.writers import digests
from firstlight.writers.digests import digest, digest_sum, named, row_sums

DTYPES = [
    torch.float32,
    torch.bfloat16,
    torch.float64,
    torch.complex64,
    torch.complex128,
    torch.int64,
    torch.int8,
    torch.bool,
    torch.float8_e4m3fn,
]


def some(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 9
    return values.abs().to(dtype) if dtype == torch.bool else values.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_blocks_add_up_to_the_whole(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = some((7, 5, 6), dtype)
    total = digest_sum(tensor, Box.whole((7, 5, 6)))
    monkeypatch.setattr(digests, "CHUNK", 20)
    assert digest_sum(tensor, Box.whole((7, 5, 6))) == total
    for cut in (0, 3, 5):
        parts = []
        for first, size in ((0, cut), (cut, 5 - cut)):
            box = Box((7, 5, 6), (0, first, 0), (7, size, 6))
            parts.append(digest_sum(tensor[box.slices], box))
        assert sum(parts) % 2**64 == total
    assert digest(tensor) == named(dtype, (7, 5, 6), total)


@given(st.integers(0, 299), st.integers(0, 31))
def test_a_change_of_any_bit_shows(index: int, bit: int) -> None:
    tensor = some((300,))
    before = digest(tensor)
    tensor.view(torch.int32)[index] ^= -(2**31) if bit == 31 else 2**bit
    assert digest(tensor) != before


def test_two_changes_do_not_cancel() -> None:
    tensor = some((10, 10))
    before = digest(tensor)
    swapped = tensor.clone()
    swapped[[0, 1]] = tensor[[1, 0]]
    half = tensor.clone()
    half[3:5].neg_()
    assert len({before, *map(digest, (swapped, half, -tensor, tensor.T, tensor.flip(0)))}) == 6


def test_dtype_and_shape_count_and_strides_do_not() -> None:
    zeros = [
        torch.zeros(4),
        torch.zeros(2, 2),
        torch.zeros(4, dtype=torch.float64),
        torch.zeros(4, 0),
        torch.zeros(0, 4),
    ]
    assert len({digest(t) for t in zeros}) == len(zeros)
    tensor = some((6, 8))
    assert digest(tensor) == digest(tensor.T.contiguous().T)
    assert digest(tensor) == digest(torch.stack([tensor, tensor], -1)[..., 1])
    conjugate = some((6,), torch.complex64).conj()
    assert digest(conjugate) == digest(conjugate.resolve_conj())
    assert digest(tensor.to_sparse()) == digest(tensor)


def test_the_value_is_a_promise() -> None:
    """Receipts are kept; another value means another version of them."""
    assert digest(torch.arange(1000.0).reshape(10, 100)) == "bfbbd2023b02babf7bb6b092e4d103e0"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_equal_slices_have_equal_sums(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "CHUNK", 50)
    stack = some((5, 6, 7), dtype)
    stack[3] = stack[1]
    stack[4] = 0
    sums = row_sums(stack, Box.whole((5, 6, 7))).tolist()
    assert sums[3] == sums[1]
    assert sums[4] == 0
    assert len(set(sums)) == 4
    left, right = Box((5, 6, 7), (0, 0, 0), (5, 6, 3)), Box((5, 6, 7), (0, 0, 3), (5, 6, 4))
    assert torch.equal(row_sums(stack[left.slices], left) + row_sums(stack[right.slices], right), torch.tensor(sums))
