"""``init_``: all or nothing, rules, frozen parameters and buffers as a choice, dtypes, and the receipt."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.errors import (
    ArgumentError,
    ModelError,
    UncoveredParameterError,
    UnknownNameError,
    UnsupportedParameterError,
)
from firstlight.writers import digest
from models import Everything, Scale, Transposed, mlp


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def unchanged(model: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    after = model.state_dict()
    return all(torch.equal(after[k], before[k]) for k in before)


def test_unknown_parameters_are_named_with_the_rules_that_cover_them() -> None:
    model = nn.Sequential(mlp(1), Scale(16), Transposed(16, 4))
    before = snapshot(model)
    with pytest.raises(UncoveredParameterError) as caught:
        fl.init_(model, "he_normal")
    message = str(caught.value)
    assert "1.gamma" in message
    assert '"Scale.gamma": fl.Ones()' in message
    assert '"Transposed.kernel": fl.Axes(out=0, in_=1)' in message
    assert unchanged(model, before)


def test_the_rules_in_the_message_do_cover() -> None:
    model = nn.Sequential(mlp(1), Scale(16), Transposed(4096, 4))
    receipt = fl.init_(model, "he_normal", rules={"Scale.gamma": fl.Ones(), "Transposed.kernel": fl.Axes(out=1, in_=0)})
    assert (model[1].gamma == 1).all()
    assert abs(model[2].kernel.std().item() / (2 / 4096) ** 0.5 - 1) < 0.05
    assert receipt["1.gamma"].reason == "your rule 'Scale.gamma'"


def test_the_first_matching_rule_wins_and_keep_leaves_alone() -> None:
    model = mlp(2)
    rules = {"0.bias": fl.Constant(0.5), "*.bias": fl.Keep("mine")}
    receipt = fl.init_(model, "he_normal", rules=rules)
    assert (model[0].bias == 0.5).all()
    assert (model[2].bias == 7).all()
    assert [k.name for k in receipt.kept] == ["2.bias"]
    assert receipt["2.bias"].reason == "mine"


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"0.wieght": fl.Ones()}, "matches no parameter.*0.weight"),
        ({"0.weight": 3}, "give an initializer"),
        ({"0.bias": fl.HeNormal()}, "0.bias"),
        ({"0.weight": fl.Axes(0, 5)}, "0.weight"),
    ],
)
def test_rules_that_do_not_fit_are_refused(rules: dict[str, object], words: str) -> None:
    model = mlp(1)
    before = snapshot(model)
    with pytest.raises(ArgumentError, match=words):
        fl.init_(model, "he_normal", rules=rules)
    assert unchanged(model, before)


def test_frozen_parameters_are_kept_unless_asked() -> None:
    model = mlp(2)
    model[0].weight.requires_grad_(False)
    receipt = fl.init_(model, "he_normal")
    assert (model[0].weight == 7).all()
    assert [k.name for k in receipt.kept] == ["0.weight"]
    fl.init_(model, "he_normal", frozen="init")
    assert not (model[0].weight == 7).any()
    assert not model[0].weight.requires_grad


def test_running_statistics_start_anew_unless_kept() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3))
    model.register_buffer("mine", torch.full((2,), 5.0))
    model(torch.randn(8, 3) * 9)
    before = snapshot(model)
    fl.init_(model, "he_normal", buffers="keep")
    assert torch.equal(model[0].running_var, before["0.running_var"])
    fl.init_(model, "he_normal")
    assert (model[0].running_mean == 0).all()
    assert (model[0].running_var == 1).all()
    assert model[0].num_batches_tracked == 0
    assert (model.mine == 5).all()


@pytest.mark.parametrize("options", [{"frozen": "thaw"}, {"buffers": "rest"}])
def test_choices_are_checked(options: dict[str, str]) -> None:
    with pytest.raises(UnknownNameError):
        fl.init_(mlp(1), "he_normal", **options)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", None])
def test_seeds_are_64_bit_counts(seed: object) -> None:
    model = mlp(1)
    with pytest.raises(ArgumentError, match="seed"):
        fl.init_(model, "he_normal", seed=seed)
    assert (model[0].weight == 7).all()


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1])
def test_the_whole_range_of_seeds_works(seed: int) -> None:
    fl.init_(mlp(1), "he_normal", seed=seed)


def _with(parameter: nn.Parameter) -> nn.Module:
    model = mlp(1)
    model[0].register_parameter("weight", parameter)
    return model


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (_with(nn.Parameter(torch.zeros(16, 16, dtype=torch.complex64))), "complex"),
        (_with(nn.Parameter(torch.zeros(16, 16, dtype=torch.int32), requires_grad=False)), "int32"),
        (_with(nn.Parameter(torch.zeros(16, 16, device="meta"))), "to_empty"),
        (_with(nn.Parameter(torch.zeros(16, 16, dtype=torch.float8_e4m3fn))), "float8"),
        (nn.Sequential(nn.LazyConv2d(3, 3)), "lazily"),
    ],
)
def test_parameters_that_take_no_initial_weights_are_refused(model: nn.Module, words: str) -> None:
    with pytest.raises(UnsupportedParameterError, match=words):
        fl.init_(model, "he_normal", frozen="init")
    for p in model.parameters():
        if p.dtype == torch.float32 and not p.is_meta and not isinstance(p, nn.UninitializedParameter):
            assert (p == 7).all(), "something was written before the error"


@pytest.mark.filterwarnings("ignore:.*quantize.*:UserWarning")
def test_quantised_parameters_are_refused() -> None:
    quantised = torch.quantize_per_tensor(torch.zeros(16, 16), 0.1, 0, torch.qint8)
    model = _with(nn.Parameter(quantised, requires_grad=False))
    with pytest.raises(UnsupportedParameterError, match="quantised"):
        fl.init_(model, "he_normal", frozen="init")


def test_keep_passes_over_what_cannot_be_written() -> None:
    model = _with(nn.Parameter(torch.zeros(16, 16, dtype=torch.complex64)))
    receipt = fl.init_(model, "he_normal", rules={"0.weight": fl.Keep("complex")})
    assert receipt["0.weight"].decision == "Keep(reason='complex')"


@pytest.mark.filterwarnings("ignore:Initializing zero-element:UserWarning")
def test_a_fault_in_the_last_parameter_leaves_the_first_unwritten() -> None:
    model = nn.Sequential(*mlp(3), nn.Linear(0, 4))
    before = snapshot(model)
    with pytest.raises(ArgumentError, match="fan"):
        fl.init_(model, "he_normal")
    assert unchanged(model, before)


def test_no_parameters_is_an_error() -> None:
    with pytest.raises(ModelError, match="no parameters"):
        fl.init_(nn.ReLU(), "he_normal")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("scheme", ["he_normal", "orthogonal", "torch", "sparse"])
def test_the_dtype_does_not_change_the_draw(dtype: torch.dtype, scheme: str) -> None:
    single, other = Everything(), Everything().to(dtype)
    fl.init_(single, scheme, seed=4)
    fl.init_(other, scheme, seed=4)
    for (name, a), b in zip(single.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(a.to(dtype), b), name


def test_non_contiguous_parameters_hold_the_same_values() -> None:
    plain, last = nn.Conv2d(8, 16, 3), nn.Conv2d(8, 16, 3).to(memory_format=torch.channels_last)
    for scheme in ("he_normal", "orthogonal", "identity"):
        fl.init_(plain, scheme)
        fl.init_(last, scheme)
        assert torch.equal(plain.weight, last.weight)
    assert not last.weight.is_contiguous()


def test_autograd_sees_the_write() -> None:
    model = mlp(2)
    loss = model(torch.ones(1, 16)).square().sum()
    fl.init_(model, "he_normal")
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    model(torch.ones(1, 16)).sum().backward()
    assert model[0].weight.grad is not None
    assert model[0].weight.requires_grad


def test_the_receipt_says_what_is_there() -> None:
    model = Everything()
    receipt = fl.init_(model, "he_normal", seed=9)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for record in receipt:
        tensor = tensors[record.name]
        assert record.digest == digest(tensor)
        assert record.shape == tuple(tensor.shape)
        assert record.mean == pytest.approx(tensor.double().mean().item(), abs=1e-6)
        assert record.std == pytest.approx(tensor.double().std(correction=0).item(), abs=1e-6)
        assert record.reason
    assert receipt["linear.weight"].stream != receipt["conv1.weight"].stream
    assert receipt["linear.bias"].stream is None
    assert "he_normal, seed 9" in str(receipt)
    with pytest.raises(KeyError):
        receipt["nothing"]
    assert fl.init_(model, "he_normal", seed=9, digests=False)["linear.weight"].digest == ""


def test_wrapping_and_copying_change_no_weight() -> None:
    plain = mlp(2)
    compiled = torch.compile(copy.deepcopy(plain), backend="eager")
    fl.init_(plain, "orthogonal")
    fl.init_(compiled, "orthogonal")
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), compiled.parameters(), strict=True))
