"""verify: a model holds what was written, every parameter once, or the difference is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import firstlight as fl
from models import Everything, Tied, mlp


def test_what_was_written_holds() -> None:
    model = Everything()
    receipt = fl.init_(model, "he_normal", 3)
    found = fl.verify(model, receipt)
    assert found.ok
    assert str(found).startswith(f"all {found.checked} tensors")
    found.raise_if_failed()


def _nan(model: nn.Sequential) -> None:
    model[2].weight.data[0, 0] = float("nan")


def _moved(model: nn.Sequential) -> None:
    model[2].weight.data[0, 0] += 1e-3


def _copied(model: nn.Sequential) -> None:
    model[2].weight.data.copy_(model[4].weight.data)


def _reshaped(model: nn.Sequential) -> None:
    model[2].weight = nn.Parameter(torch.zeros(3, 3))


def _cast(model: nn.Sequential) -> None:
    model[2].to(torch.float64)


def _lost(model: nn.Sequential) -> None:
    model[2].bias = None


def _more(model: nn.Sequential) -> None:
    model.extra = nn.Parameter(torch.zeros(2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_nan, "2.weight: holds 1 values that are NaN"),
        (_moved, "2.weight: holds other values"),
        (_copied, "holds the same values as"),
        (_reshaped, r"has the shape \(3, 3\)"),
        (_cast, "is float64, was float32"),
        (_lost, "2.bias: the model has no such tensor"),
        (_more, "extra: the receipt does not know it"),
    ],
)
def test_every_change_is_named(change: Callable[[nn.Sequential], None], words: str) -> None:
    model = mlp(4)
    receipt = fl.init_(model, "he_normal", 0)
    change(model)
    found = fl.verify(model, receipt)
    assert not found.ok
    with pytest.raises(fl.VerificationError, match=words):
        found.raise_if_failed()


def test_without_digests_moments_are_compared() -> None:
    model = mlp(3)
    receipt = fl.init_(model, "he_normal", 0, digests=False)
    assert fl.verify(model, receipt).by == "moments"
    assert fl.verify(model, receipt).ok
    with torch.no_grad():
        model[0].weight.mul_(1.01)
    assert not fl.verify(model, receipt).ok


def test_experts_that_hold_the_same_draw_are_found() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3, 8, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.einsum("nd,edf->enf", x, self.weight)

    model = Experts()
    receipt = fl.init_(model, "he_normal", 0, inputs=torch.randn(4, 8))
    assert fl.verify(model, receipt).ok
    with torch.no_grad():
        model.weight[2].copy_(model.weight[0])
    assert "blocks 0 and 2" in str(fl.verify(model, receipt))


def test_constants_may_be_alike() -> None:
    model = nn.Sequential(nn.LayerNorm(8), nn.LayerNorm(8))
    assert fl.verify(model, fl.init_(model, "he_normal")).ok


def test_what_is_not_drawn_may_be_alike() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    assert fl.verify(model, fl.init_(model, "identity")).ok


def test_tied_weights_that_are_untied_are_named() -> None:
    model = Tied()
    receipt = fl.init_(model, "he_normal")
    assert fl.verify(model, receipt).ok
    model.head.weight = nn.Parameter(model.embed.weight.detach().clone())
    assert "embed.weight: tied weights untied: 'head.weight' is a tensor of its own" in str(fl.verify(model, receipt))


def test_weights_tied_since_are_named() -> None:
    model = Tied()
    model.head.weight = nn.Parameter(torch.zeros(50, 16))
    receipt = fl.init_(model, "he_normal")
    model.head.weight = model.embed.weight
    assert "head.weight: is one tensor with 'embed.weight'; they were written apart" in str(fl.verify(model, receipt))


def test_a_lost_alias_is_named() -> None:
    model = Tied()
    receipt = fl.init_(model, "he_normal")
    model.head.weight = None
    assert "the model has no 'head.weight', another name of this tensor" in str(fl.verify(model, receipt))


def test_a_model_on_meta_holds_nothing() -> None:
    receipt = fl.init_(mlp(1), "he_normal")
    assert "0.weight: is on the meta device and holds nothing" in str(fl.verify(mlp(1).to("meta"), receipt))


def test_small_draws_may_agree_by_chance() -> None:
    model = nn.Sequential(nn.Linear(4, 1), nn.Linear(4, 1)).to(torch.bfloat16)
    receipt = fl.init_(model, "normal(std=1)")
    with torch.no_grad():
        model[1].weight.copy_(model[0].weight)
    assert not any("same values" in f.fault for f in fl.verify(model, receipt).faults)


def test_draws_of_zeros_alone_are_no_copies() -> None:
    model = nn.Sequential(nn.Linear(8, 2), nn.Linear(8, 2))
    assert fl.verify(model, fl.init_(model, "sparse(sparsity=0.9)")).ok
