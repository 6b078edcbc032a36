"""Every scheme through one table: it covers every module torch has, and what it promises of each role holds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from firstlight import HeNormal, init_
from firstlight.graphs import Role, structure
from firstlight.schemes import catalogue, parse
from models import Everything, Tied

TEXTS = {"constant": "constant(0.3)", "uniform": "uniform(0.05)", "normal": "normal(0.01)"}
TEXTS |= {"truncated_normal": "truncated_normal(0.02)"}
SCHEMES = [TEXTS.get(s.name, s.name) for s in catalogue() if s.name != "pretrained"]
# An identity needs two axes; a bilinear form has three.
NO_BILINEAR = {"identity"}


def everything(scheme: str) -> nn.Module:
    model = Everything()
    if scheme in NO_BILINEAR:
        del model.bilinear
    return model


def poison(model: nn.Module) -> None:
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(77)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_writes_every_parameter_and_statistic(scheme: str) -> None:
    model = everything(scheme)
    poison(model)
    receipt = init_(model, scheme, seed=1)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert {w.name for w in receipt.written} == set(tensors)
    assert not receipt.kept
    for name, tensor in tensors.items():
        assert not (tensor == 77).any(), name
        assert torch.isfinite(tensor.float()).all(), name


@pytest.mark.parametrize("scheme", [s for s in SCHEMES if s != "torch"])
def test_roles_other_than_weights_have_their_own_rules(scheme: str) -> None:
    model = everything(scheme)
    poison(model)
    init_(model, scheme, seed=1)
    for p in structure(model).parameters:
        values = model.get_parameter(p.name).detach()
        match p.role:
            case Role.BIAS | Role.TOKEN_BIAS | Role.NORM_SHIFT:
                assert (values == 0).all(), p.name
            case Role.NORM_SCALE:
                assert (values == 1).all(), p.name
            case Role.SLOPE:
                assert (values == 0.25).all(), p.name
            case Role.GATE_BIAS if "lstm" in p.name or "cell" in p.name:
                expected = torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(values.numel() // 4)
                assert torch.equal(values, expected), p.name
            case Role.GATE_BIAS:
                assert (values == 0).all(), p.name
            case Role.EMBEDDING:
                rows = [i for i in range(len(values)) if i != p.declared.zero_row]
                assert 0.5 < values[rows].std() < 1.6, p.name
    assert (model.embedding.weight[3] == 0).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_value_depends_on_seed_and_name_alone(scheme: str) -> None:
    first, again, other_seed = (everything(scheme) for _ in range(3))
    alone = nn.Module()
    alone.linear = nn.Linear(6, 8)
    state = torch.get_rng_state()
    init_(first, scheme, seed=1)
    assert torch.equal(state, torch.get_rng_state()), "the global random state was read or advanced"
    torch.manual_seed(99)
    init_(again, scheme, seed=1)
    init_(other_seed, scheme, seed=2)
    init_(alone, scheme, seed=1)
    for (name, a), b in zip(first.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(first.linear.weight, alone.linear.weight)
    if scheme not in ("zeros", "ones", "constant(0.3)", "identity", "sparse"):
        assert not torch.equal(first.linear.weight, other_seed.linear.weight)


@pytest.mark.parametrize("scheme", ["orthogonal", "he_normal", "torch"])
def test_layers_do_not_share_draws(scheme: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    init_(model, scheme)
    assert not torch.equal(model[0].weight, model[1].weight)


def test_recurrent_matrices_are_orthogonal_gate_by_gate_unless_asked_otherwise() -> None:
    lstm = nn.LSTM(5, 16)
    init_(lstm, "glorot_uniform")
    for gate in lstm.weight_hh_l0.detach().chunk(4):
        assert torch.allclose(gate @ gate.T, torch.eye(16), atol=1e-5)
    init_(lstm, "glorot_uniform(recurrent=same, forget_bias=0)")
    limit = math.sqrt(6 / 32)
    assert 0.9 * limit < lstm.weight_hh_l0.abs().max() <= limit
    assert (lstm.bias_ih_l0 == 0).all()


def test_gates_have_the_fans_of_one_gate() -> None:
    lstm = nn.LSTM(64, 256)
    init_(lstm, "glorot_uniform")
    limit = math.sqrt(6 / (64 + 256))
    assert lstm.weight_ih_l0.abs().max() <= limit
    assert lstm.weight_ih_l0.abs().max() > 0.999 * limit


def test_fused_attention_has_the_fans_of_each_projection() -> None:
    attention = nn.MultiheadAttention(128, 4)
    init_(attention, "xavier_uniform")
    limit = math.sqrt(6 / 256)
    assert 0.999 * limit < attention.in_proj_weight.abs().max() <= limit


def test_a_tied_table_is_scaled_for_its_head() -> None:
    model = Tied()
    receipt = init_(model, "he_normal")
    assert len(receipt.written) == 3
    assert model.head.weight is model.embed.weight
    assert abs(model.embed.weight.std().item() - 0.25) < 0.04


def test_an_initializer_is_a_scheme() -> None:
    a, b = Everything(), Everything()
    assert init_(a, HeNormal(), seed=3).scheme == repr(HeNormal())
    init_(b, "he_normal", seed=3)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_every_usage_parses_with_its_defaults() -> None:
    for text in SCHEMES:
        assert parse(text).label
