"""What a probe cannot measure is an error of the firstlight tree that shows what was given, and says what fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import firstlight as fl
from firstlight.probes import measure

from .nets import normal, small

X, Y = normal(32, 16), torch.arange(32) % 4


def hooked(kind: str) -> nn.Module:
    """A network with a hook that raises."""

    def objects(*_: Any) -> None:
        raise ValueError("the hook objects")

    model = small()
    getattr(model[4], f"register_{kind}")(objects)
    return model


def built_in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return small()


NAN = X.clone()
NAN[3, 5] = torch.nan

CASES: dict[str, tuple[type[Exception], tuple[str, ...], Callable[[], object]]] = {
    "another width": (
        fl.ModelError,
        ("module '0'", "weight (32, 16)", "float32 (32, 15)"),
        lambda: measure(small(), normal(32, 15), Y),
    ),
    "not the model's arguments": (fl.ModelError, ("forward", "Sequential"), lambda: measure(small(), (X, X), Y)),
    "a list": (fl.ArgumentError, ("list", "tuple"), lambda: measure(small(), [X], Y)),
    "an empty batch": (fl.DataError, ("(0, 16)",), lambda: measure(small(), X[:0], Y[:0])),
    "a NaN batch": (fl.DataError, ("1 NaN of 512", "(3, 5)"), lambda: measure(small(), NAN, Y)),
    "NaN targets": (fl.DataError, ("targets", "NaN"), lambda: measure(small(), X, NAN[:, 4:8], F.mse_loss)),
    "a loss for each sample": (
        fl.ArgumentError,
        ("(32,)", "scalar", "mean"),
        lambda: measure(small(), X, Y, nn.CrossEntropyLoss(reduction="none")),
    ),
    "a loss that is a number": (
        fl.ArgumentError,
        ("float", "scalar tensor"),
        lambda: measure(small(), X, Y, lambda o, y: F.cross_entropy(o, y).item()),
    ),
    "a count for a loss": (
        fl.ArgumentError,
        ("int64", "real number"),
        lambda: measure(small(), X, Y, lambda o, y: (o.argmax(1) == y).sum()),
    ),
    "targets of another type": (
        fl.ArgumentError,
        ("cross_entropy", "float32 (32, 4)", "float32 (32,)"),
        lambda: measure(small(), X, Y.float(), F.cross_entropy),
    ),
    "targets that are words": (
        fl.ArgumentError,
        ("cross_entropy", "str"),
        lambda: measure(small(), X, "cats", F.cross_entropy),
    ),
    "targets of another shape": (
        fl.ArgumentError,
        ("float32 (32, 4)", "float32 (32, 3)", "loss_fn"),
        lambda: measure(small(), X, X[:, :3]),
    ),
    "no parameters": (fl.ModelError, ("ReLU", "no parameters"), lambda: measure(nn.ReLU(), X)),
    "no module": (fl.ArgumentError, ("function", "Module"), lambda: measure(F.relu, X)),  # type: ignore[arg-type]
    "a hook that raises": (
        fl.ModelError,
        ("'objects'", "Linear", "the hook objects"),
        lambda: measure(hooked("forward_hook"), X, Y),
    ),
    "a pre-hook that raises": (
        fl.ModelError,
        ("'objects'", "Linear"),
        lambda: measure(hooked("forward_pre_hook"), X, Y),
    ),
    "a backward hook that raises": (
        fl.ModelError,
        ("backward pass", "the hook objects"),
        lambda: measure(hooked("full_backward_hook"), X, Y),
    ),
    "a model of inference mode": (
        fl.ModelError,
        ("inference mode", "outside"),
        lambda: measure(built_in_inference_mode(), X, Y),
    ),
    "two optimizers": (
        fl.ArgumentError,
        ("optimizer=", "lr="),
        lambda: measure(small(), X, Y, lr=0.1, optimizer=torch.optim.SGD(small().parameters())),
    ),
    "no optimizer": (fl.ArgumentError, ("str",), lambda: measure(small(), X, Y, optimizer="adam")),  # type: ignore[arg-type]
    "no learning rate": (fl.ArgumentError, ("lr=-1",), lambda: measure(small(), X, Y, lr=-1)),
    "no samples": (fl.ArgumentError, ("max_samples=0",), lambda: measure(small(), X, Y, max_samples=0)),
    "a Jacobian of words": (
        fl.ArgumentError,
        ("jacobian", "floating point"),
        lambda: measure(nn.Embedding(9, 4), torch.arange(9), jacobian=True),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_says_what_was_given_and_what_fits(case: str) -> None:
    error, words, run = CASES[case]
    with pytest.raises(error) as raised:
        run()
    assert [w for w in words if w not in str(raised.value)] == []


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_measured_where_they_are_off(mode: Callable[[], Any]) -> None:
    model = small()
    with mode():
        light = measure(model, X.clone(), Y)
    assert light.bare() == measure(model, X, Y).bare()
    assert all(p.backward is not None for p in light.places[1:])
