"""Models on the meta device: made where asked, ties kept, all or nothing; what no plan can know is refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.errors import ArgumentError, ParameterError, UnsupportedParameterError
from models import Everything, Tied, mlp


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()


def same(found: nn.Module, expected: nn.Module) -> bool:
    tensors = dict(expected.state_dict())
    return all(torch.equal(t, tensors[n]) for n, t in found.state_dict().items())


@pytest.mark.parametrize("scheme", ["he_normal", "orthogonal", "torch"])
def test_a_model_made_equals_one_that_was_there(scheme: str) -> None:
    real, made = Everything(), on_meta(Everything)
    expected = fl.init_(real, scheme, 5)
    receipt = fl.init_(made, scheme, 5, device="cpu")
    assert same(made, real)
    assert receipt == expected
    assert fl.verify(made, receipt).ok


def test_what_was_made_runs_and_trains_as_before() -> None:
    for make, x in ((lambda: nn.LSTM(5, 6, 2), torch.randn(3, 2, 5)), (lambda: mlp(2), torch.randn(4, 16))):
        real, made = make(), on_meta(make)
        fl.init_(real, "glorot_normal")
        fl.init_(made, "glorot_normal", device="cpu")
        out, expected = made(x), real(x)
        out, expected = (v[0] if isinstance(v, tuple) else v for v in (out, expected))
        assert torch.equal(out, expected)
        out.sum().backward()
        assert all(p.grad is not None for p in made.parameters())


def test_ties_stay_ties_and_attributes_stay() -> None:
    model = on_meta(Tied)
    model.embed.weight.shard_me = "please"
    model.body.weight.requires_grad_(False)
    fl.init_(model, "he_normal", device="cpu", frozen="init")
    assert model.embed.weight is model.head.weight
    assert not model.embed.weight.is_meta
    assert model.embed.weight.shard_me == "please"
    assert not model.body.weight.requires_grad
    assert isinstance(model.body.weight, nn.Parameter)


def test_what_has_memory_stays_the_same_tensor() -> None:
    model = on_meta(lambda: mlp(2))
    model[2].weight = nn.Parameter(torch.full((16, 16), 7.0))
    before = model[2].weight
    fl.init_(model, "he_normal", device="cpu")
    assert model[2].weight is before
    assert not (before == 7).any()


def test_strides_and_dtypes_stay() -> None:
    def make() -> nn.Module:
        return nn.Conv2d(8, 16, 3, dtype=torch.bfloat16).to(memory_format=torch.channels_last)

    made = on_meta(make)
    fl.init_(made, "he_normal", device="cpu")
    assert made.weight.stride() == make().weight.stride()
    assert made.weight.dtype == torch.bfloat16


def test_without_a_device_meta_is_refused_with_the_fix() -> None:
    with pytest.raises(UnsupportedParameterError, match=r"'0\.weight' is on the meta device.*device='cpu'"):
        fl.init_(on_meta(lambda: mlp(1)), "he_normal")


class Rotary(nn.Module):
    """A module that computes a buffer when it is built, as rotary embeddings do."""

    def __init__(self, *, plain: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        frequencies = 10000 ** -(torch.arange(4) / 4)
        if plain:
            self.frequencies = frequencies
        else:
            self.register_buffer("frequencies", frequencies, persistent=False)


@pytest.mark.parametrize("plain", [False, True])
def test_buffers_that_would_be_garbage_are_refused_and_nothing_is_made(plain: bool) -> None:
    model = on_meta(lambda: nn.Sequential(Rotary(plain=plain)))
    with pytest.raises(UnsupportedParameterError) as caught:
        fl.init_(model, "he_normal", device="cpu")
    assert "'0.frequencies' is on the meta device" in str(caught.value)
    assert "model.get_submodule('0').frequencies = values" in str(caught.value)
    assert all(p.is_meta for p in model.parameters())
    values = Rotary().frequencies
    model.get_submodule("0").frequencies = values
    fl.init_(model, "he_normal", device="cpu")
    assert torch.equal(model[0].frequencies, values)


def test_running_statistics_are_made() -> None:
    model = on_meta(lambda: nn.BatchNorm1d(3))
    fl.init_(model, "he_normal", device="cpu")
    assert (model.running_var == 1).all()
    assert model.num_batches_tracked == 0
    model = on_meta(lambda: nn.BatchNorm1d(3))
    with pytest.raises(UnsupportedParameterError, match="running_mean"):
        fl.init_(model, "he_normal", device="cpu", buffers="keep")


def test_a_kept_parameter_without_values_is_refused() -> None:
    model = on_meta(lambda: mlp(2))
    model[0].weight.requires_grad_(False)
    with pytest.raises(UnsupportedParameterError, match=r"'0.weight' is on the meta device, and the plan keeps"):
        fl.init_(model, "he_normal", device="cpu")
    assert all(p.is_meta for p in model.parameters())
    model[0].weight = nn.Parameter(torch.ones(16, 16), requires_grad=False)
    receipt = fl.init_(model, "he_normal", device="cpu")
    assert receipt["0.weight"].mean == 1


def test_a_fault_found_while_building_leaves_all_on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    model = on_meta(lambda: mlp(2))
    plan = fl.plan(model, None, "he_normal")

    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("firstlight.writers.apply.fill_many_", full)
    with pytest.raises(MemoryError):
        fl.apply_(model, plan, device="cpu")
    assert all(p.is_meta for p in model.parameters())


class Special(nn.Parameter):
    """Some library's own kind of parameter."""


def test_a_parameter_of_a_special_kind_is_left_to_its_library() -> None:
    model = on_meta(lambda: mlp(1))
    model[0].weight = Special(torch.empty(16, 16, device="meta"))
    with pytest.raises(UnsupportedParameterError, match="is a Special on the meta device"):
        fl.init_(model, "he_normal", device="cpu")


@pytest.mark.parametrize(
    ("device", "words"), [("meta", "has no memory"), ("quantum", "is no device"), (3.5, "is no dev")]
)
def test_devices_are_checked(device: object, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        fl.init_(mlp(1), "he_normal", device=device)


def test_a_plan_of_a_tied_model_does_not_fit_an_untied_one() -> None:
    plan, untied = fl.plan(Tied(), None, "he_normal"), on_meta(Tied).to_empty(device="cpu")
    assert untied.embed.weight is not untied.head.weight
    for parameter in untied.parameters():
        parameter.data.fill_(7.0)
    with pytest.raises(ParameterError, match=r"'embed.weight' and 'head.weight' were one tensor.*Tie them again"):
        fl.apply_(untied, plan)
    assert all((p == 7).all() for p in untied.parameters())
    with pytest.raises(ParameterError, match=r"'embed.weight' and 'head.weight' apart, and in the model they are one"):
        fl.apply_(Tied(), fl.plan(untied, None, "he_normal"))
