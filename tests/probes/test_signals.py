"""The signal at step 0 is right, and the model comes back untouched."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import firstlight as fl
from firstlight.probes import measure_signal

X, Y = torch.randn(32, 16, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 4


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(16, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(32, 32),
        nn.ReLU(),
        nn.Linear(32, 4),
    )


def test_moments_are_those_of_the_outputs_and_their_gradients() -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4))
    signal = measure_signal(model, X, Y, F.cross_entropy)
    first = model[0](X)
    first.retain_grad()
    last = model[2](torch.tanh(first))
    last.retain_grad()
    F.cross_entropy(last, Y).backward()
    assert signal.layers == ("0", "2")
    assert signal.activations == pytest.approx([first.square().mean().item(), last.square().mean().item()])
    assert signal.gradients == pytest.approx([first.grad.square().mean().item(), last.grad.square().mean().item()])


def snapshot(model: nn.Module) -> tuple:
    tensors = {k: v.clone() for k, v in model.state_dict().items()}
    hooks = sum(len(m._forward_hooks) for m in model.modules())
    return tensors, [p.grad for p in model.parameters()], [m.training for m in model.modules()], hooks


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_comes_back_untouched(fails: bool) -> None:
    model = network()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before, state = snapshot(model), torch.get_rng_state()

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if fails:
            raise RuntimeError("stop")
        return F.cross_entropy(output, target)

    if fails:
        with pytest.raises(RuntimeError, match="stop"):
            measure_signal(model, X, Y, loss)
    else:
        measure_signal(model, X, Y, loss)
    after = snapshot(model)
    assert all(torch.equal(before[0][k], after[0][k]) for k in before[0])
    assert (model[0].weight.grad == 1).all()
    assert [g is None for g in before[1]] == [g is None for g in after[1]]
    assert before[2:] == after[2:]
    assert torch.equal(state, torch.get_rng_state())


def test_what_is_too_small_to_square_in_float32_is_still_seen() -> None:
    model = nn.Sequential(nn.Linear(16, 16, bias=False), nn.Linear(16, 4, bias=False))
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1e-15)
    signal = measure_signal(model, torch.ones(4, 16), torch.zeros(4, dtype=torch.int64), F.cross_entropy)
    assert 0 < signal.activations[1] < 1e-50


def test_he_keeps_the_second_moment_and_glorot_halves_it() -> None:
    """Averages over 24 seeds of a 512-wide net: relative error of the mean below 4 %; bounds are 6 of those."""
    for scheme, factor in (("he_normal", 1.0), ("glorot_normal", 0.5)):
        ratios = []
        for seed in range(24):
            model = nn.Sequential(*(m for _ in range(6) for m in (nn.Linear(512, 512), nn.ReLU())))
            fl.init_(model, scheme, seed, digests=False)
            inputs = torch.randn(64, 512, generator=torch.Generator().manual_seed(seed))
            signal = measure_signal(model, inputs, inputs, F.mse_loss)
            ratios.append((signal.activations[-1] / signal.activations[0]) ** (1 / 5))
        assert sum(ratios) / len(ratios) == pytest.approx(factor, rel=0.08)


def test_frozen_models_have_no_gradients_to_show() -> None:
    model = network().requires_grad_(False)
    model[6].weight.requires_grad_(True)
    assert measure_signal(model, X, Y, F.cross_entropy).gradients[0] == 0.0


def test_an_activation_in_place_does_not_change_what_was_measured() -> None:
    plain = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    in_place = nn.Sequential(plain[0], nn.ReLU(inplace=True), plain[2])
    assert measure_signal(in_place, X, Y, F.cross_entropy) == measure_signal(plain, X, Y, F.cross_entropy)


def test_a_buffer_that_the_forward_pass_replaces_comes_back() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(16, 4)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls = self.calls + 1
            return self.inner(x)

    model = Counting()
    before = model.calls
    measure_signal(model, X, Y, F.cross_entropy)
    assert model.calls is before
    assert model.calls.item() == 0
