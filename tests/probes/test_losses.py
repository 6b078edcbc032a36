"""The loss at step 0 stands beside its theory, whoever calls it, and the theory is what random outputs give."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from firstlight.probes import Loss, measure

from .nets import normal

ROWS = 4096


class Scaled(nn.Module):
    """Gives its input times a parameter: outputs of a chosen scale."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


def loss_of(outputs: torch.Tensor, targets: Any, function: Callable[..., Any] | None = None) -> Loss:
    found = measure(Scaled(1.0), outputs, targets, function).loss
    assert found is not None
    return found


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0, 1.5])
def test_cross_entropy_is_log_c_and_half_the_variance_of_the_logits(spread: float) -> None:
    classes = 100
    logits = normal(ROWS, classes, scale=spread)
    found = loss_of(logits, torch.arange(ROWS) % classes)
    assert (found.op, found.reduction, found.classes) == ("cross_entropy", "mean", classes)
    assert found.expected == pytest.approx(math.log(classes) + spread**2 / 2, rel=0.01)
    # The chosen logit has variance s² in each row; 2 % for the logarithm of a sum of 100.
    assert found.value == pytest.approx(found.expected, abs=6 * spread / math.sqrt(ROWS) + 0.02)
    assert found.trivial == pytest.approx(math.log(classes), rel=1e-3)


def test_logits_so_large_that_one_decides() -> None:
    """Past s² = 2 log C the largest logit alone counts: s √(2 log C), in the limit of many classes."""
    classes, spread = 1000, 20.0
    found = loss_of(normal(ROWS, classes, scale=spread), torch.arange(ROWS) % classes)
    assert found.expected == pytest.approx(spread * math.sqrt(2 * math.log(classes)), rel=0.01)
    assert found.value == pytest.approx(found.expected, rel=0.15)


@pytest.mark.parametrize("spread", [0.1, 1.0, 10.0])
def test_binary_cross_entropy_is_log_2_and_an_eighth_of_the_variance(spread: float) -> None:
    logits, targets = normal(ROWS, 1, scale=spread), (torch.arange(ROWS) % 2).float()[:, None]
    found = loss_of(logits, targets, F.binary_cross_entropy_with_logits)
    assert found.expected is not None
    if spread <= 1:
        assert found.expected == pytest.approx(math.log(2) + spread**2 / 8, rel=0.02)
    assert found.value == pytest.approx(found.expected, abs=6 * spread / math.sqrt(ROWS))
    if spread <= 1:  # beyond, float32 rounds probabilities to one
        beside = loss_of(logits, targets, lambda z, y: F.binary_cross_entropy(torch.sigmoid(z), y))
        assert beside.expected == pytest.approx(found.expected, rel=1e-3)
    assert found.trivial == pytest.approx(math.log(2))


def test_squared_error_is_the_variance_of_both() -> None:
    outputs, targets = normal(ROWS, 3, scale=2.0), normal(ROWS, 3, seed=1) + 5
    found = loss_of(outputs, targets)
    assert found.op == "mse_loss"
    assert found.expected == pytest.approx(4 + 1 + 25, rel=0.05)
    assert found.value == pytest.approx(found.expected, rel=0.02)
    assert found.trivial == pytest.approx(1.0, rel=0.05)
    summed = loss_of(outputs, targets, nn.MSELoss(reduction="sum"))
    assert summed.reduction == "sum"
    assert summed.expected == pytest.approx(found.expected * ROWS * 3)


def test_the_trivial_loss_is_the_entropy_of_the_classes_shares() -> None:
    targets = torch.cat([torch.zeros(90), torch.ones(10)]).long()
    found = loss_of(torch.zeros(100, 2), targets)
    assert found.class_shares == pytest.approx((0.9, 0.1))
    assert found.trivial == pytest.approx(-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)))
    assert found.value == pytest.approx(math.log(2))


def test_probabilities_in_the_place_of_logits_are_seen() -> None:
    probabilities = normal(64, 5).softmax(1)
    assert (found := loss_of(probabilities, torch.arange(64) % 5)).predictions is not None
    assert found.predictions.rows_sum_to_one
    assert (logits := loss_of(normal(64, 5), torch.arange(64) % 5).predictions) is not None
    assert not logits.rows_sum_to_one
    one = loss_of(normal(8, 1).softmax(1), torch.zeros(8, dtype=torch.int64))
    assert "one class" in one.formula


def test_a_loss_of_ones_own_has_its_value_and_no_theory() -> None:
    found = loss_of(normal(8, 3), normal(8, 3, seed=1), lambda o, y: (o - y).square().mean())
    assert (found.op, found.expected, found.trivial) == ("", None, None)
    assert found.value > 0


def test_a_model_that_gives_its_loss_needs_no_other() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(16, 4)

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.map(x)
            return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    light = measure(Own(), {"x": normal(32, 16), "labels": torch.arange(32) % 4})
    assert light.loss is not None
    assert (light.loss.op, light.projected) == ("cross_entropy", False)
    assert measure(nn.Linear(16, 4), normal(32, 16)).projected
