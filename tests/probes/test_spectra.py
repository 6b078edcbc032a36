"""The Jacobian's spectrum: formed where it is small, multiplied with where it is large, and both agree with SVD."""

from __future__ import annotations

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
