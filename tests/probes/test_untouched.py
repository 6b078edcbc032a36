"""A probe leaves no trace: model, gradients, flags, hooks and random states are as they were, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules import module as modules

from firstlight import FirstlightError
from firstlight.probes import measure

from .nets import normal, small

X, Y = normal(32, 16), torch.arange(32) % 4


def bits(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.dtype, tensor.detach().numpy().tobytes()


def snapshot(model: nn.Module) -> dict[str, Any]:
    """Everything that a probe could change."""
    return {
        "tensors": {n: (id(t), bits(t)) for n, t in (*model.named_parameters(), *model.named_buffers())},
        "requires": [p.requires_grad for p in model.parameters()],
        "gradients": [None if p.grad is None else (id(p.grad), bits(p.grad)) for p in model.parameters()],
        "training": [m.training for m in model.modules()],
        "attributes": [
            {k: id(v) if not isinstance(v, dict) else [(a, id(b)) for a, b in v.items()] for k, v in vars(m).items()}
            for m in model.modules()
        ],
        "hooks of tensors": [dict(p._backward_hooks or {}) for p in model.parameters()],
        "global hooks": (len(modules._global_forward_hooks), len(modules._global_forward_pre_hooks)),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": str(np.random.get_state()),
        "python": random.getstate(),
        "modes": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.backends.mha.get_fastpath_enabled(),
        ),
    }


class Restless(nn.Module):
    """Changes what a forward should not: a weight, a buffer's tensor, attributes, a flag, a hook, the random states."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.table = nn.Linear(16, 8), nn.Embedding(4, 8, max_norm=0.1)
        self.register_buffer("seen", torch.zeros(1))
        self.calls, self.last = 0, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.layer.weight.mul_(1.5)
            self.layer.bias.data.add_(1.0)
        self.seen = self.seen + 1
        self.calls += 1
        self.last = self.layer(x)
        self.fresh = "made by the forward"
        self.layer.train(not self.layer.training)
        self.layer.weight.requires_grad_(False)
        self.table.register_forward_hook(lambda *_: None)
        random.random()
        np.random.random()
        return self.last + self.table(torch.arange(x.shape[0]) % 4) + torch.rand(1)


def with_gradients(model: nn.Module) -> nn.Module:
    """Some gradients stand already, one parameter is frozen, a hook hangs on a module and one on a parameter."""
    parameters = list(model.parameters())
    parameters[0].grad = torch.ones_like(parameters[0])
    parameters[1].requires_grad_(False)
    next(model.children(), model).register_forward_hook(lambda *_: None)
    parameters[0].register_hook(lambda g: g)
    return model


def interrupted(*_: Any) -> torch.Tensor:
    raise KeyboardInterrupt


def failing(*_: Any) -> torch.Tensor:
    raise ValueError("no loss today")


def fails_on_the_way_back(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    output.register_hook(failing)
    return F.cross_entropy(output, target)


def interrupts_on_the_way_back(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    output.register_hook(interrupted)
    return F.cross_entropy(output, target)


@pytest.mark.parametrize("make", [small, Restless, lambda: small().eval(), lambda: nn.LSTM(16, 4)])
def test_a_probe_leaves_no_trace(make: Callable[[], nn.Module]) -> None:
    model = with_gradients(make())
    before = snapshot(model)
    measure(model, X, lr=0.1, jacobian=not isinstance(model, nn.LSTM | Restless))
    assert snapshot(model) == before


@pytest.mark.parametrize(
    ("loss", "raised"),
    [
        (failing, FirstlightError),
        (interrupted, KeyboardInterrupt),
        (fails_on_the_way_back, FirstlightError),
        (interrupts_on_the_way_back, KeyboardInterrupt),
    ],
)
@pytest.mark.parametrize("make", [small, Restless])
def test_nor_does_one_that_is_cut_short(
    make: Callable[[], nn.Module], loss: Callable[..., torch.Tensor], raised: type[BaseException]
) -> None:
    model = with_gradients(make())
    before = snapshot(model)
    with pytest.raises(raised):
        measure(model, X, Y, loss)
    assert snapshot(model) == before


@pytest.mark.parametrize("where", ["forward", "pre", "interrupt"])
def test_nor_one_whose_hooks_raise(where: str) -> None:
    model = with_gradients(small())
    if where == "pre":
        model[4].register_forward_pre_hook(failing)
    else:
        model[4].register_forward_hook(failing if where == "forward" else interrupted)
    before = snapshot(model)
    with pytest.raises(FirstlightError if where != "interrupt" else KeyboardInterrupt):
        measure(model, X, Y)
    assert snapshot(model) == before


def test_training_goes_on_as_if_no_probe_had_been_made() -> None:
    def trained(*, probed: bool) -> list[bytes]:
        model = small()
        optimizer = torch.optim.Adam(model.parameters())
        torch.manual_seed(1)
        for step in range(4):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X), Y)
            if probed and step == 2:
                measure(model, X, Y, optimizer=optimizer)  # between a forward and its backward
            loss.backward()
            optimizer.step()
        return [p.detach().numpy().tobytes() for p in (*model.parameters(), *model.buffers())]

    assert trained(probed=True) == trained(probed=False)


def test_an_optimizer_that_steps_in_the_backward_pass_is_not_woken() -> None:
    model = small()
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(lambda p: p.data.zero_())
    before = snapshot(model)
    light = measure(model, X, Y)
    assert snapshot(model) == before
    assert all(w.reached for w in light.weights)


def test_inputs_and_targets_are_left_alone() -> None:
    x = normal(32, 16).requires_grad_()
    y = F.one_hot(Y, 4).float()
    before = bits(x), bits(y)
    measure(small(), x, y, F.cross_entropy)
    assert (bits(x), bits(y)) == before
    assert x.grad is None


class Negates(nn.Module):
    """Turns the sign of a zero and the bits of a NaN, which no comparison of numbers sees."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 4)
        self.note = nn.Parameter(torch.tensor([0.0, float("nan")]), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.note.data.neg_()
        return self.layer(x)


def test_the_sign_of_zero_comes_back() -> None:
    model = Negates()
    before = bits(model.note)
    measure(model, X, Y)
    assert bits(model.note) == before


def test_devices_that_nobody_has_used_are_not_seeded_for_later() -> None:
    before = len(torch.cuda._queued_calls) if hasattr(torch.cuda, "_queued_calls") else 0
    measure(small(), X, Y)
    assert (len(torch.cuda._queued_calls) if hasattr(torch.cuda, "_queued_calls") else 0) == before
