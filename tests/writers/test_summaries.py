"""Tensors in a few numbers: moments of pieces are those of the whole, and ranks' parts join to one answer."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firstlight.fields import Box
from firstlight.writers import digests
from firstlight.writers.digests import digest_sum
from firstlight.writers.placements import Held, block
from firstlight.writers.summaries import Part, Summary, _part, joined, summarized

INT64 = st.integers(-(2**63), 2**63 - 1)
WORD = st.integers(0, 2**64 - 1)


def summary(tensor: torch.Tensor) -> Summary:
    shape = tuple(tensor.shape)
    (found,) = summarized([Held(tensor, shape, Box.whole(shape))], digests=True, compare=True)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64])
@pytest.mark.parametrize("chunk", [1 << 16, 100])
def test_moments_are_those_of_all_values(dtype: torch.dtype, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "CHUNK", chunk)
    values = torch.randn(40, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 20
    tensor = values.to(dtype)
    for variant in (tensor, tensor.T, tensor[::2, 1::3]):
        found, exact = summary(variant), variant.double()
        assert found.mean == pytest.approx(float(exact.mean()), rel=1e-6)
        assert found.std == pytest.approx(float(exact.std(correction=0)), rel=1e-5)
        assert found.unfit == 0


def test_a_small_spread_about_a_large_mean_is_not_lost() -> None:
    values = 1000 + torch.randn(100_000, generator=torch.Generator().manual_seed(0)) * 1e-2
    assert summary(values).std == pytest.approx(float(values.double().std(correction=0)), rel=1e-3)


def test_a_few_large_values_do_not_hide_the_small_ones() -> None:
    values = torch.eye(512)
    values[0] += 100
    assert summary(values).std == pytest.approx(float(values.double().std(correction=0)), rel=1e-6)
    assert summary(torch.eye(512)).std == pytest.approx(float(torch.eye(512).double().std(correction=0)), rel=1e-6)


def test_edge_cases() -> None:
    assert math.isnan(summary(torch.zeros(0, 3)).mean)
    assert summary(torch.tensor(4.0)).mean == 4
    assert summary(torch.tensor(4.0)).std == 0
    assert summary(torch.tensor([1.0, math.nan, math.inf])).unfit == 2
    assert math.isnan(summary(torch.zeros(3, dtype=torch.complex64)).mean)
    assert summary(torch.full((4,), 3e38)).unfit == 0


@given(INT64, st.floats(allow_nan=False), st.floats(allow_nan=False), INT64, WORD, WORD)
def test_parts_survive_being_sent(count: int, mean: float, deviation: float, unfit: int, total: int, own: int) -> None:
    part = Part(count, mean, deviation, unfit, total, own)
    row = part.row()
    assert Part.of_row(torch.tensor(row, dtype=torch.int64).tolist()) == part


class Shard:
    """A placement, without torch.distributed."""

    def __init__(self, dim: int | None) -> None:
        self.dim = dim

    def is_partial(self) -> bool:
        return False

    def is_replicate(self) -> bool:
        return self.dim is None


def over_mesh(tensor: torch.Tensor, mesh: tuple[int, ...], kinds: tuple[Any, ...], wrong: Any = None) -> Summary:
    """What all ranks of a mesh would find of a tensor, of which ``wrong(place, local)`` changes some blocks."""
    parts, held = [], None
    for place in itertools.product(*map(range, mesh)):
        box = block("w", tensor.shape, mesh, place, kinds)
        local = tensor[box.slices].clone()
        if wrong is not None:
            wrong(place, local)
        held = Held(local, tuple(tensor.shape), box, "a mesh", kinds)
        parts.append(_part(held, digests=True, own=True))
    assert held is not None
    return joined(held, mesh, parts, digests=True, compare=True)


@pytest.mark.parametrize(
    ("mesh", "dims"),
    [
        ((2,), (0,)),
        ((3,), (1,)),
        ((2, 2), (0, 1)),
        ((2, 3), (None, 0)),
        ((3, 2), (0, 0)),
        ((2,), (None,)),
        ((8,), (0,)),
    ],
)
def test_the_parts_of_all_ranks_join_to_the_whole(mesh: tuple[int, ...], dims: tuple[int | None, ...]) -> None:
    tensor = torch.randn(7, 11, generator=torch.Generator().manual_seed(2))
    found = over_mesh(tensor, mesh, tuple(map(Shard, dims)))
    assert found.total == digest_sum(tensor, Box.whole((7, 11)))
    assert found.mean == pytest.approx(float(tensor.double().mean()), rel=1e-5)
    assert found.std == pytest.approx(float(tensor.double().std(correction=0)), rel=1e-6)
    assert (found.unfit, found.apart, found.alike) == (0, (), ())


def test_faults_of_single_ranks_are_everyones() -> None:
    tensor = torch.randn(8, 8, generator=torch.Generator().manual_seed(2))

    def nan(place: tuple[int, ...], local: torch.Tensor) -> None:
        if place == (1,):
            local[0, :2] = math.nan

    assert over_mesh(tensor, (2,), (Shard(0),), nan).unfit == 2

    def alike(place: tuple[int, ...], local: torch.Tensor) -> None:
        if place in ((1,), (3,)):
            local.fill_(3.0)

    assert over_mesh(tensor, (4,), (Shard(0),), alike).alike == ((1,), (3,))

    def apart(place: tuple[int, ...], local: torch.Tensor) -> None:
        if place == (1, 1):
            local[0, 0] += 1

    found = over_mesh(tensor, (2, 2), (Shard(None), Shard(0)), apart)
    assert found.apart == ((0, 1), (1, 1))
    assert found.alike == ()


def test_shards_of_zeros_are_not_alike() -> None:
    assert over_mesh(torch.zeros(8, 8), (2,), (Shard(0),)).alike == ()
