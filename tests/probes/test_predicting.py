"""A model without values is predicted as one with them is measured: forward, backward, loss, and what is wrong."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import firstlight as fl
from firstlight.probes import Kind, Light, measure

from .nets import normal, plain

X, Y = normal(128, 256, seed=7), torch.arange(128) % 10


def mlp(activation: type[nn.Module] = nn.ReLU, depth: int = 3) -> nn.Sequential:
    layers = [m for _ in range(depth) for m in (nn.Linear(256, 256), activation())]
    return nn.Sequential(*layers, nn.Linear(256, 10))


def both(model: nn.Module, scheme: str, *given: object, **options: object) -> tuple[Light, Light]:
    """Predicted from a scheme's plan, and measured once it is carried out."""
    plan = fl.plan(model, given[0], scheme)
    predicted = fl.probe(model, *given, plan=plan, **options)  # type: ignore[arg-type]
    fl.apply_(model, plan, seed=1)
    return predicted, fl.probe(model, *given, **options)  # type: ignore[arg-type]


def test_the_loss_and_the_gradients_of_the_targets_are_predicted() -> None:
    predicted, real = both(mlp(), "he_normal", X, Y)
    assert predicted.loss is not None
    assert real.loss is not None
    assert predicted.loss.op == "cross_entropy"
    # Ten logits of one network: their variance scatters by √(2/10).
    assert predicted.loss.value == pytest.approx(real.loss.value, rel=0.25)
    assert predicted.loss.expected == pytest.approx(real.loss.expected, rel=0.25)
    assert predicted.loss.trivial == real.loss.trivial
    for a, b in zip(predicted.places[1:], real.places[1:], strict=True):
        assert a.backward is not None
        assert b.backward is not None
        assert a.backward.second == pytest.approx(b.backward.second, rel=0.35), a.label
        assert a.backward.mean_abs == pytest.approx(b.backward.mean_abs, rel=0.25), a.label
        assert a.backward.zeros == pytest.approx(b.backward.zeros, abs=0.05), a.label
    assert not predicted.projected


@pytest.mark.parametrize("scheme", ["torch", "normal(std=0.2)"])
@pytest.mark.parametrize("activation", [nn.Tanh, nn.Sigmoid, nn.Hardtanh, nn.ReLU, nn.ReLU6])
def test_zeros_and_flat_parts_follow_from_the_variance(activation: type[nn.Module], scheme: str) -> None:
    predicted, real = both(mlp(activation), scheme, X)
    for a, b in zip(predicted.of(Kind.ACTIVATION), real.of(Kind.ACTIVATION), strict=True):
        assert a.forward is not None
        assert b.forward is not None
        assert a.forward.zeros == pytest.approx(b.forward.zeros, abs=0.05)
        assert a.forward.dead == pytest.approx(b.forward.dead, abs=0.1)
        assert (a.forward.saturated is None) == (b.forward.saturated is None)
        if a.forward.saturated is not None and b.forward.saturated is not None:
            assert a.forward.saturated == pytest.approx(b.forward.saturated, abs=0.05)


def test_half_of_a_relus_values_are_zero_at_zero_mean_and_more_below() -> None:
    model = nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 2))
    rules = {"0.bias": fl.Constant(-1.0)}
    zeros = []
    for plan in (fl.plan(model, X, "lecun_normal"), fl.plan(model, X, "lecun_normal", rules=rules)):
        (place,) = measure(model, X, plan=plan).of(Kind.ACTIVATION)
        assert place.forward is not None
        zeros.append(place.forward.zeros)
    assert zeros[0] == pytest.approx(0.5, abs=0.005)
    assert zeros[1] == pytest.approx(0.5 * math.erfc(-1 / math.sqrt(2)), abs=0.02)  # Φ(1), for unit variance


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_the_first_update_is_predicted(optimizer: type[torch.optim.Optimizer]) -> None:
    model = mlp()
    made = optimizer(model.parameters(), lr=0.01)  # type: ignore[call-arg]
    predicted, real = both(model, "he_normal", X, Y, optimizer=made)
    for a, b in zip(predicted.weights, real.weights, strict=True):
        assert (a.in_optimizer, a.lr, a.units) == (b.in_optimizer, b.lr, b.units)
        if len(a.shape) > 1:
            assert a.update_ratio == pytest.approx(b.update_ratio, rel=0.3), a.name
            assert a.gradient_ratio == pytest.approx(b.gradient_ratio, rel=0.3), a.name
            assert a.grad_mean_abs == pytest.approx(b.grad_mean_abs, rel=0.35), a.name


def test_the_entropy_of_attention_is_predicted() -> None:
    layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True, norm_first=True)
    inputs = normal(8, 24, 64, seed=3)
    rules = {"*in_proj_weight": fl.Normal(std=0.2)}
    for given in ({}, rules):
        plan = fl.plan(layer, inputs, "glorot_uniform", rules=given)
        predicted = measure(layer, inputs, plan=plan)
        fl.apply_(layer, plan, seed=0)
        entropies = [
            p.forward.entropy
            for light in (predicted, measure(layer, inputs))
            for p in light
            if p.forward is not None and p.forward.entropy is not None
        ]
        assert len(entropies) == 2
        assert entropies[0] == pytest.approx(entropies[1], abs=0.05)


def test_faults_are_found_before_there_are_values_and_said_to_be_predicted() -> None:
    with torch.device("meta"):
        deep = mlp(depth=20)
        tanh = mlp(nn.Tanh, depth=20)
    found = fl.probe(deep, X, Y).findings
    assert [(f.code, f.where) for f in found.errors] == [("vanishing-gradient", "0.weight")]
    assert all(f.predicted for f in found)
    assert "\n  predicted " in str(found)
    assert type(found).from_json(found.to_json()) == found
    loud = fl.probe(tanh, X, Y, plan=fl.plan(tanh, X, "normal(std=0.5)")).findings
    assert "saturation" in {f.code for f in loud}
    assert not fl.probe(deep, X, Y, plan=fl.plan(deep, X, "he_normal")).findings.errors
    fix = found[0].fix()
    assert isinstance(fix, fl.Plan)
    assert not fl.probe(deep, X, Y, plan=fix).findings.errors


def test_the_measured_model_has_the_predicted_findings() -> None:
    for scheme in ("torch", "glorot_normal", "he_normal", "normal(std=1)"):
        predicted, real = both(mlp(depth=20), scheme, X, Y)
        assert [(f.code, f.where) for f in predicted.findings] == [(f.code, f.where) for f in real.findings]
        assert not any(f.predicted for f in real.findings)


def test_chi_is_fitted_to_what_is_predicted() -> None:
    model = plain(256, 12, nn.ReLU, 1.0)
    light = measure(model, normal(32, 256), plan=fl.plan(model, normal(32, 256), "lecun_normal"))
    scale = next(s for s in light.depth_scales if s.of == "gradient")
    assert math.exp(-scale.slope) == pytest.approx(0.5, rel=1e-3)


def test_a_record_of_a_prediction_is_read_back_and_set_beside_its_plan() -> None:
    model = mlp()
    plan = fl.plan(model, X, "he_normal")
    light = measure(model, X, Y, plan=plan)
    assert Light.from_json(light.to_json()) == light
    assert light.against(plan).error == pytest.approx(0.0, abs=1e-9)
    assert "predicted, not measured" in str(light)


def test_a_loss_that_the_model_makes_itself() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp()

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return F.cross_entropy(self.body(x), labels)

    predicted, real = both(Own(), "he_normal", {"x": X, "labels": Y})
    assert predicted.loss is not None
    assert real.loss is not None or real.projected
    assert predicted.loss.value == pytest.approx(math.log(10) + 1, rel=0.3)  # log C + s²/2 of logits of variance 2
    first = predicted.of(Kind.WEIGHT)[0]
    by_targets = both(mlp(), "he_normal", X, Y)[0].of(Kind.WEIGHT)[0]
    assert first.backward is not None
    assert by_targets.backward is not None
    assert first.backward.second == pytest.approx(by_targets.backward.second, rel=0.2)


def test_outputs_keep_their_range_and_targets_may_have_no_values() -> None:
    model = nn.Sequential(nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid())
    bits = (Y % 2).float()[:, None]
    predicted, real = both(model, "lecun_normal", X, bits, F.binary_cross_entropy)
    assert predicted.loss is not None
    assert real.loss is not None
    assert predicted.loss.value == pytest.approx(real.loss.value, rel=0.3)
    with torch.device("meta"):
        empty, x, y = mlp(), torch.empty(32, 256), torch.zeros(32, dtype=torch.long)
    light = measure(empty, x, y)
    assert light.loss is not None
    assert light.loss.value == pytest.approx(math.log(10), rel=0.1)
    assert any("targets on the meta device" in note for note in light.notes)
    with pytest.raises(fl.ArgumentError, match="class numbers"):
        measure(empty, x, torch.zeros(32, 4, 4, dtype=torch.long, device="meta"))


def test_a_loss_of_several_outputs_is_said_to_be_unknown() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(256, 4), nn.Linear(256, 4)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"a": self.a(x), "b": self.b(x)}

    light = measure(
        Two(), X, Y, lambda out, y: F.cross_entropy(out["b"], y % 4), plan=fl.plan(Two(), X, "lecun_normal")
    )
    assert light.loss is None
    assert any("which is not known before it runs" in note for note in light.notes)


def test_nan_is_refused_and_a_wrong_loss_is_said() -> None:
    model = mlp()
    plan = fl.plan(model, X, "he_normal")
    with pytest.raises(fl.DataError):
        measure(model, X.clone().fill_(torch.nan), Y, plan=plan)
    with pytest.raises(fl.ArgumentError, match="loss_fn"):
        measure(model, X, Y, F.mse_loss, plan=plan)


def test_gpt2_has_the_predicted_gradients() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=3,
        n_embd=192,
        n_head=4,
        vocab_size=500,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = transformers.GPT2LMHeadModel(config)
    inputs = {
        "input_ids": torch.randint(0, 500, (4, 48), generator=torch.Generator().manual_seed(2)),
        "use_cache": False,
    }
    predicted, real = both(model, "auto", inputs)
    at = {p.node: p for p in real if p.node is not None}
    ratios = [
        p.backward.second / q.backward.second
        for p in predicted
        if p.backward is not None and (q := at.get(p.node)) is not None and q.backward is not None
    ]
    assert len(ratios) > 30
    assert all(0.5 < r < 2 for r in ratios), ratios
    assert sorted(abs(math.log(r)) for r in ratios)[len(ratios) // 2] < 0.15
    for a, b in zip(predicted.weights, real.weights, strict=True):
        if len(a.shape) > 1:
            assert a.grad_second == pytest.approx(b.grad_second, rel=1.0), a.name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_healthy_program_is_predicted_sick() -> None:
    from ..faults.collection import HEALTHY

    for program in HEALTHY:
        case = program()
        x, y = case.first_batch()
        for rules in ({}, {"*": fl.Keep()}):
            plan = fl.plan(case.model, x, "auto", rules=rules)
            light = fl.probe(case.model, x, y, case.loss_fn, optimizer=case.optimizer(case.model), plan=plan)
            loud = [f for f in light.findings if f.severity != "note"]
            assert not loud, (program.name, loud)
