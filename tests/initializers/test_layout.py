"""Fans: against torch where it is right, against variance where it is not."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import firstlight as fl
from firstlight.errors import ArgumentError
from firstlight.initializers import Layout, sample

PLAIN = {
    "linear": (nn.Linear(7, 5), lambda m: Layout.mapping(m.weight.shape)),
    "conv1": (nn.Conv1d(4, 6, 5), lambda m: Layout.conv(m.weight.shape)),
    "conv2": (nn.Conv2d(4, 6, (3, 5)), lambda m: Layout.conv(m.weight.shape)),
    "conv3": (nn.Conv3d(4, 6, 2), lambda m: Layout.conv(m.weight.shape)),
    "bilinear": (nn.Bilinear(4, 6, 3), lambda m: Layout.bilinear(m.weight.shape)),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_torch_agrees_on_plain_layers(kind: str) -> None:
    module, make = PLAIN[kind]
    layout = make(module)
    assert (layout.fan_in, layout.fan_out) == nn.init._calculate_fan_in_and_fan_out(module.weight)


@pytest.mark.parametrize(
    ("layout", "fans"),
    [
        (Layout.conv((64, 1, 3, 3), groups=64), (9, 9)),
        (Layout.conv((64, 16, 3), groups=4), (48, 48)),
        (Layout.conv((8, 4, 3, 3), stride=(2, 2)), (36, 18)),
        (Layout.conv_transposed((16, 256, 4, 4), stride=(2, 2)), (64, 4096)),
        (Layout.conv_transposed((16, 8, 4), groups=2), (32, 32)),
        (Layout.conv_transposed((6, 4, 2, 2, 2), stride=(2, 1, 1)), (24, 32)),
        (Layout.embedding((1000, 32)), (1, 32)),
        (Layout.mapping((192, 64), blocks=3), (64, 64)),
        (Layout.mapping((64, 192), out_axis=1, in_axis=0), (64, 192)),
        (Layout.vector((5,)), (1, 1)),
    ],
)
def test_fans_where_torch_is_wrong_or_silent(layout: Layout, fans: tuple[float, float]) -> None:
    assert (layout.fan_in, layout.fan_out) == fans


def variance(y: torch.Tensor) -> float:
    return y.double().square().mean().item()


def test_a_transposed_convolution_keeps_the_variance_by_its_true_fan() -> None:
    """16 → 256, kernel 4, stride 2: torch's fan gives 1/64. Mean of 12 draws, relative standard error about 1 %."""
    layout = Layout.conv_transposed((16, 256, 4, 4), stride=(2, 2))
    x = torch.randn(4, 16, 12, 12, generator=torch.Generator().manual_seed(0))
    inner = [
        variance(F.conv_transpose2d(x, sample(fl.LecunNormal(), layout, seed=s), stride=2)[..., 4:-4, 4:-4])
        for s in range(12)
    ]
    assert sum(inner) / 12 == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("groups", [1, 4, 16])
def test_grouped_convolutions_keep_the_variance(groups: int) -> None:
    layout = Layout.conv((64, 16 // groups, 3, 3), groups=groups)
    x = torch.randn(8, 16, 12, 12, generator=torch.Generator().manual_seed(0))
    found = [variance(F.conv2d(x, sample(fl.LecunNormal(), layout, seed=s), groups=groups)) for s in range(24)]
    assert sum(found) / 24 == pytest.approx(1.0, abs=0.07)


def test_a_strided_convolutions_gradient_keeps_its_variance_by_fan_out() -> None:
    layout = Layout.conv((32, 16, 3, 3), stride=(2, 2))
    x = torch.zeros(4, 16, 25, 25, requires_grad=True)
    found = []
    for seed in range(12):
        w = sample(fl.VarianceScaling(1.0, "fan_out", "normal"), layout, seed=seed)
        y = F.conv2d(x, w, stride=2)
        (g,) = torch.autograd.grad(y, x, torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)))
        found.append(variance(g[..., 4:-4, 4:-4]))
    assert sum(found) / 12 == pytest.approx(1.0, abs=0.06)


def test_each_gate_and_each_projection_has_its_own_fan() -> None:
    assert Layout.mapping((4 * 20, 10), blocks=4).fan_out == 20
    values = sample(fl.GlorotUniform(), Layout.mapping((3 * 128, 128), blocks=3))
    assert values.abs().max().item() == pytest.approx(math.sqrt(6 / 256), rel=1e-3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Layout.mapping((3,)),
        lambda: Layout.mapping((3, 4), out_axis=0, in_axis=0),
        lambda: Layout.mapping((3, 4), blocks=2),
        lambda: Layout.mapping((4, 4), blocks=0),
        lambda: Layout((3, 4), 4, 3, out_axis=0),
        lambda: Layout((3, 4), -1, 3),
        lambda: Layout((3, 4), math.nan, 3),
    ],
)
def test_layouts_that_make_no_sense_are_refused(make) -> None:
    with pytest.raises(ArgumentError):
        make()
