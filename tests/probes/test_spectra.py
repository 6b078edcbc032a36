"""The Jacobian's spectrum: formed where it is small, multiplied with where it is large, and both agree with SVD."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from firstlight.probes import measure, spectra

from .nets import normal, plain


def test_a_small_one_is_the_singular_values_of_the_jacobian() -> None:
    model = plain(24, 3, nn.Tanh, 1.2, 0.1).double()
    x = normal(5, 24).double()
    found = measure(model, x, jacobian=True).jacobian
    assert found is not None
    exact = [torch.linalg.svdvals(torch.autograd.functional.jacobian(model, row[None])[0, :, 0]) for row in x]
    assert (found.inputs, found.outputs, found.samples, found.method) == (24, 24, 5, "exact")
    assert found.values == pytest.approx(exact[0].tolist())
    assert found.mean_square == pytest.approx(float(torch.stack(exact).square().mean()))
    assert found.largest == pytest.approx(float(torch.stack([e[0] for e in exact]).mean()))
    assert found.condition == pytest.approx(sorted(float(e[0] / e[-1]) for e in exact)[2])


def test_a_large_one_is_only_multiplied_with(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = plain(96, 3, nn.Tanh, 1.0).double(), normal(8, 96).double()
    exact = measure(model, x, jacobian=True).jacobian
    monkeypatch.setattr(spectra, "_FORMED", 0)
    free = measure(model, x, jacobian=True).jacobian
    assert exact is not None
    assert free is not None
    assert free.method == "matrix-free"
    # ‖Jᵀv‖² of 16 probes; its error is estimated from them: nine of them for a t distribution of 15 degrees.
    assert abs(free.mean_square - exact.mean_square) < 9 * free.mean_square_error
    assert free.largest == pytest.approx(exact.values[0], rel=1e-3)


def test_orthogonal_layers_are_an_isometry() -> None:
    model = plain(32, 6, nn.Identity, 1.0, orthogonal=True).double()
    found = measure(model, normal(4, 32).double(), jacobian=True).jacobian
    assert found is not None
    assert found.values == pytest.approx([1.0] * 32, abs=1e-5)
    assert found.condition == pytest.approx(1.0, abs=1e-5)


def test_pictures_and_buffers_pass() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = measure(model, normal(4, 3, 8, 8), jacobian=True).jacobian
    assert found is not None
    assert (found.inputs, found.outputs) == (192, 5)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(("width", "outputs"), [(96, 96), (96, 40), (40, 96)])
def test_products_alone_bound_the_condition_number(monkeypatch: pytest.MonkeyPatch, width: int, outputs: int) -> None:
    model = nn.Sequential(nn.Linear(width, 96), nn.Tanh(), nn.Linear(96, outputs)).double()
    x = normal(2, width).double()
    exact = torch.linalg.svdvals(torch.autograd.functional.jacobian(model, x[:1])[0, :, 0])
    condition = float(exact[0] / exact[-1])
    monkeypatch.setattr(spectra, "_FORMED", 0)
    bounds = []
    for steps in (5, 10, 20, 30):
        monkeypatch.setattr(spectra, "_STEPS", steps)
        found = measure(model, x, jacobian=True).jacobian
        assert found is not None
        assert found.condition is None
        assert found.smallest_at_most is not None
        assert found.condition_at_least is not None
        assert found.largest is not None
        assert float(exact[-1]) <= found.smallest_at_most * (1 + 1e-9)
        assert found.largest <= float(exact[0]) * (1 + 1e-9)
        bounds.append(found.condition_at_least)
    assert bounds == sorted(bounds)
    assert bounds[-1] <= condition
    assert bounds[-1] > 3  # a Gaussian map: far from an isometry
    assert "condition at least" in " ".join(str(measure(model, x, jacobian=True)).split())  # it may be wrapped
    monkeypatch.setattr(spectra, "_STEPS", 96)
    whole = measure(model, x, jacobian=True).jacobian
    assert whole is not None
    assert whole.condition == pytest.approx(condition, rel=1e-6)
    assert whole.smallest == pytest.approx(float(exact[-1]), rel=1e-6)


def test_steps_end_by_themselves_where_all_singular_values_were_met(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectra, "_FORMED", 0)
    isometry = measure(plain(64, 6, nn.Identity, 1.0, orthogonal=True), normal(2, 64), jacobian=True).jacobian
    assert isometry is not None
    assert isometry.condition == pytest.approx(1.0, abs=1e-5)
    flat = nn.Linear(64, 64)
    with torch.no_grad():
        flat.weight.copy_(torch.outer(normal(64), normal(64, seed=1)))
    singular = measure(flat, normal(2, 64), jacobian=True).jacobian
    assert singular is not None
    assert singular.condition is not None
    assert singular.condition > 1e5 or math.isinf(singular.condition)
