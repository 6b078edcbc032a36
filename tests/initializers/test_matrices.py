"""Orthogonal, delta-orthogonal, identity, Dirac, sparse and STFT: the structure each promises."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

import firstlight as fl
from firstlight.fields import key
from firstlight.initializers import Layout, sample
from firstlight.initializers.orthogonal import haar

CPU = torch.device("cpu")


def gram_error(matrix: torch.Tensor) -> float:
    """How far the shorter side's vectors are from orthonormal."""
    tall = matrix.double() if matrix.shape[0] >= matrix.shape[1] else matrix.double().T
    return (tall.T @ tall - torch.eye(tall.shape[1], dtype=torch.float64)).abs().max().item()


@settings(max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 3))
def test_any_matrix_is_orthonormal_on_its_shorter_side(rows: int, columns: int, blocks: int) -> None:
    values = sample(fl.Orthogonal(), Layout.mapping((blocks * rows, columns), blocks=blocks))
    for block in values.chunk(blocks):
        assert gram_error(block) < 5e-6


@pytest.mark.parametrize("shape", [(256, 256), (512, 130), (130, 512)])
def test_large_matrices_are_orthonormal_and_scaled(shape: tuple[int, int]) -> None:
    assert gram_error(sample(fl.Orthogonal(2.0), Layout.mapping(shape)) / 2) < 5e-6


def test_convolutions_are_read_as_outputs_by_inputs_and_kernel() -> None:
    plain = sample(fl.Orthogonal(), Layout.conv((8, 6, 3, 3)))
    assert gram_error(plain.reshape(8, -1)) < 5e-6
    grouped = sample(fl.Orthogonal(), Layout.conv((8, 3, 3), groups=2))
    assert all(gram_error(g.reshape(4, -1)) < 5e-6 for g in grouped.chunk(2))
    transposed = sample(fl.Orthogonal(), Layout.conv_transposed((8, 6, 3, 3)))
    assert gram_error(transposed.transpose(0, 1).reshape(6, -1)) < 5e-6
    depthwise = sample(fl.Orthogonal(), Layout.conv((16, 1, 3, 3), groups=16))
    assert torch.allclose(depthwise.flatten(1).norm(dim=1), torch.ones(16), atol=1e-6)


def test_blocks_are_independent_of_each_other() -> None:
    first, second = sample(fl.Orthogonal(), Layout.mapping((16, 8), blocks=2)).chunk(2)
    assert not torch.allclose(first, second)


def test_haar_by_the_distribution_of_entries_trace_and_determinant() -> None:
    """4,000 matrices of size 5 against scipy's: four Kolmogorov-Smirnov tests at 2e-7 each, and the sign of det."""
    q = haar(4000, 5, 5, key(7, "haar"), CPU).double()
    theirs = torch.from_numpy(stats.ortho_group(5, seed=1).rvs(4000))
    for statistic in (
        lambda m: m[:, 0, 0],
        lambda m: m[:, 4, 4],
        lambda m: m.diagonal(dim1=1, dim2=2).sum(1),
        lambda m: (m @ m).diagonal(dim1=1, dim2=2).sum(1),
    ):
        assert stats.ks_2samp(statistic(q), statistic(theirs)).pvalue > 2e-7
    positive = int((torch.linalg.det(q) > 0).sum())
    assert abs(positive - 2000) < 5.3 * math.sqrt(1000)


def test_signs_are_those_of_qr_with_a_positive_diagonal_in_one_dimension() -> None:
    """A 1 × 1 Haar matrix is ±1, each half of the time."""
    q = haar(2000, 1, 1, key(1, "s"), CPU).flatten()
    assert torch.allclose(q.abs(), torch.ones(2000), atol=1e-6)
    assert abs(int((q > 0).sum()) - 1000) < 5.3 * math.sqrt(500)


@pytest.mark.parametrize(("inputs", "outputs"), [(8, 8), (8, 12), (12, 8)])
def test_delta_orthogonal_is_orthogonal_at_the_centre_and_zero_elsewhere(inputs: int, outputs: int) -> None:
    values = sample(fl.DeltaOrthogonal(), Layout.conv((outputs, inputs, 3, 5)))
    assert gram_error(values[:, :, 1, 2]) < 5e-6
    values[:, :, 1, 2] = 0
    assert (values == 0).all()


def test_a_thousand_delta_orthogonal_convolutions_keep_the_norm() -> None:
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    start = x.norm()
    for i in range(1000):
        w = sample(fl.DeltaOrthogonal(), Layout.conv((8, 8, 3, 3)), name=f"layer{i}")
        x = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), w)
    assert (x.norm() / start).item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3)])
def test_identity_is_torchs(shape: tuple[int, int]) -> None:
    assert torch.equal(sample(fl.Identity(), Layout.mapping(shape)), nn.init.eye_(torch.empty(shape)))
    assert torch.equal(sample(fl.Identity(0.5), Layout.mapping(shape)), 0.5 * torch.eye(*shape))


@pytest.mark.parametrize(("shape", "groups"), [((6, 6, 3), 1), ((6, 3, 3, 3), 2), ((8, 4, 2, 4, 5), 2), ((4, 8, 3), 1)])
def test_dirac_is_torchs(shape: tuple[int, ...], groups: int) -> None:
    ours = sample(fl.Dirac(), Layout.conv(shape, groups))
    assert torch.equal(ours, nn.init.dirac_(torch.empty(shape), groups))


def test_dirac_passes_a_transposed_convolutions_channels_on() -> None:
    w = sample(fl.Dirac(), Layout.conv_transposed((4, 6, 3, 3)))
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    y = F.conv_transpose2d(x, w, padding=1)
    assert torch.equal(y[:, :4], x)
    assert (y[:, 4:] == 0).all()


@pytest.mark.parametrize(("shape", "sparsity"), [((20, 7), 0.5), ((20, 7), 0.33), ((7, 20), 0.9), ((9, 3), 0.0)])
def test_sparse_has_exactly_as_many_zeros_in_each_column_as_torch(shape: tuple[int, int], sparsity: float) -> None:
    ours = sample(fl.Sparse(sparsity, 0.1), Layout.mapping(shape))
    theirs = nn.init.sparse_(torch.empty(shape), sparsity)
    assert ((ours == 0).sum(0) == math.ceil(sparsity * shape[0])).all()
    assert torch.equal((ours == 0).sum(0), (theirs == 0).sum(0))


def test_the_zeros_of_sparse_are_spread_evenly() -> None:
    """Each of 40 rows is dropped in half of 2,000 columns, within 5.5 standard deviations."""
    dropped = (sample(fl.Sparse(0.5, 0.1), Layout.mapping((40, 2000))) == 0).sum(1)
    assert (dropped - 1000).abs().max() < 5.5 * math.sqrt(500)
