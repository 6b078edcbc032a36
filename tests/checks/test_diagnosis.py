"""Diagnosis: theory against measurement, causes before consequences, fixes that fix, findings as data."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import firstlight as fl
from firstlight.checks import CATALOGUE, Evidence, Finding, Severity
from firstlight.checks.diagnosis import EXPLAINS
from firstlight.checks.looking import dominators, look_at
from firstlight.checks.scale import torch_fans
from firstlight.checks.units import expected_dead
from firstlight.graphs import trace
from firstlight.plans import Keep, Plan


def _mlp(depth: int, gain: float = math.sqrt(2), width: int = 64) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(width, width), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, gain / math.sqrt(width))
            nn.init.zeros_(layer.bias)
    return model


def _batch(n: int = 64, width: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(n, width, generator=g), torch.arange(n) % 10


def _findings(model: nn.Module, loss=F.cross_entropy, **options) -> fl.Findings:
    return fl.probe(model, *_batch(), loss, **options).findings


@pytest.mark.parametrize("depth", [1, 4, 12, 24])
def test_a_critical_network_is_healthy_at_any_depth(depth):
    assert _findings(_mlp(depth)).errors == ()


@pytest.mark.parametrize(
    ("gain", "code"), [(1.0, "vanishing-forward"), (0.3, "vanishing-forward"), (4.0, "exploding-forward")]
)
def test_off_the_critical_line_the_rate_is_the_mean_field_one(gain, code):
    """E[y²] changes by gain²/2 a layer in a ReLU network; the scatter of 24 layers of 64 units is about √(5·24/64)."""
    found = _findings(_mlp(24, gain))[0]
    assert found.code == code
    rate = next(e for e in found.evidence if e.quantity.startswith("second moment's factor"))
    assert abs(math.log(rate.value) - math.log(gain**2 / 2)) < 5 * math.sqrt(5 * 24 / 64) / 24


@pytest.mark.parametrize(("factor", "code"), [(1e-8, "vanishing-forward"), (1e8, "exploding-forward")])
@pytest.mark.parametrize("layer", [0, 4, 8])
def test_one_layer_of_the_wrong_size_is_named_itself(layer, factor, code):
    model = _mlp(6)
    with torch.no_grad():
        model[layer].weight.mul_(factor)
    found = _findings(model)[0]
    assert (found.code, found.where) == (code, f"{layer}.weight")
    assert found.severity is Severity.ERROR


@pytest.mark.parametrize("cosine", [0.5, 0.9, 0.99])
def test_the_expected_share_of_dead_units(cosine):
    """40,000 units, each dead or not: the share is within 5 standard errors, a false alarm in 2 million."""
    g = torch.Generator().manual_seed(0)
    shared = torch.randn(40_000, 1, generator=g)
    own = torch.randn(40_000, 32, generator=g)
    dead = ((math.sqrt(cosine) * shared + math.sqrt(1 - cosine) * own) < 0).all(1).float().mean()
    expected = expected_dead(cosine, 32)
    assert abs(float(dead) - expected) < 5 * math.sqrt(expected * (1 - expected) / 40_000)


def test_no_draw_of_zero_mean_kills_more_than_half():
    assert expected_dead(1.0, 10**6) == pytest.approx(0.5, abs=2e-3)
    assert expected_dead(-0.2, 64) == pytest.approx(0.0)


def test_half_of_the_values_zero_is_no_death():
    assert "dead-units" not in {f.code for f in _findings(_mlp(3))}


def test_the_trunk_is_what_every_path_passes():
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.branch, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            return self.head(x + self.branch(x))

    model = Skip()
    light = fl.probe(model, torch.randn(16, 8))
    look = look_at(light)
    assert [p.weight for p in look.trunk if p.weight] == ["first.weight", "head.weight"]
    tape = trace(model, torch.randn(4, 8)).tape
    assert tape is not None
    on = {tape[i].module for i in dominators(tape)}
    assert "branch" not in on
    assert {"first", "head"} <= on


def test_a_zero_branch_and_a_zero_head_are_meant_so():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(64, 64), nn.Linear(64, 64)
            nn.init.zeros_(self.outer.weight)
            nn.init.zeros_(self.outer.bias)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.outer(F.relu(self.inner(x)))

    head = nn.Linear(64, 10)
    nn.init.zeros_(head.weight)
    assert _findings(nn.Sequential(Block(), Block(), Block(), head)).errors == ()


def test_one_cause_is_told_once():
    """All that follows from a NaN in one weight, or from zero weights, is that one finding."""
    model = _mlp(4)
    with torch.no_grad():
        model[2].weight[0, 0] = math.nan
    assert [(f.code, f.where) for f in _findings(model)] == [("non-finite-weights", "2.weight")]
    model = _mlp(4)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.weight)
    assert [(f.code, f.where) for f in _findings(model)] == [("constant-init", "0.weight")]


def test_findings_come_the_most_severe_first():
    model = _mlp(3)
    model[2].weight.requires_grad_(False)
    nn.init.constant_(model[0].bias, -100.0)
    ranks = [list(Severity).index(f.severity) for f in _findings(model)]
    assert ranks == sorted(ranks)
    assert len(ranks) > 1


def test_a_fix_is_a_plan_that_leaves_the_rest_alone():
    model = _mlp(6)
    with torch.no_grad():
        model[4].weight.mul_(1e-8)
    kept = {n: p.clone() for n, p in model.named_parameters()}
    fix = _findings(model)[0].fix()
    assert isinstance(fix, Plan)
    assert {e.parameter.name for e in fix if not isinstance(e.decision, Keep)} == {"4.weight", "4.bias"}
    fl.apply_(model, fix, seed=0)
    assert _findings(model) == ()
    assert all(torch.equal(p, kept[n]) for n, p in model.named_parameters() if not n.startswith("4."))


def test_a_light_from_json_gives_code_in_a_plans_place():
    light = fl.probe(_mlp(24, 1.0), *_batch(), F.cross_entropy)
    again = fl.diagnose(fl.Light.from_json(light.to_json()))
    assert [f.code for f in again] == [f.code for f in light.findings]
    assert isinstance(again[0].fix(), str)
    assert "fl.init_" in again[0].fix()


def test_findings_survive_json():
    found = _findings(_mlp(24, 0.3)) + _findings(_mlp(3), lambda p, y: -F.cross_entropy(p, y))
    odd = Finding(
        "dead-units", Severity.NOTE, "", None, (Evidence("x", math.inf, -math.inf, None, "s"),), "c", "r", "f"
    )
    before = fl.Findings((*found, odd))
    assert fl.Findings.from_json(before.to_json()) == before
    assert fl.Findings.from_json(before.to_json())[0].fix() == before[0].remedy


@pytest.mark.parametrize("text", ["", "3", '[{"code": 1}]', "{}x"])
def test_what_is_no_json_of_findings_is_refused(text):
    with pytest.raises(fl.ArgumentError, match="no JSON of findings"):
        fl.Findings.from_json(text)


def test_findings_print_place_evidence_cause_and_fix():
    text = str(_findings(_mlp(24, 0.3)))
    assert text.startswith("✗ error vanishing-forward at 0.weight")
    assert all(word in text for word in ("measured", "cause", "fix", "expected 1", "bound 0.001", "fl.init_"))
    assert max(map(len, text.split("\n"))) <= 110
    assert str(fl.Findings()) == "nothing found: the signal gets through"


def test_a_batch_with_nan_is_refused_by_name():
    x, y = _batch()
    x[3, 4] = math.nan
    with pytest.raises(fl.DataError, match=r"inputs .* NaN .*\(3, 4\)"):
        fl.probe(_mlp(2), x, y, F.cross_entropy)


def test_an_infinite_input_is_the_inputs_fault():
    x, y = _batch()
    x[3, 4] = math.inf
    found = fl.probe(_mlp(2), x, y, F.cross_entropy).findings
    assert [f.code for f in found] == ["non-finite-inputs"]


def test_a_layer_that_is_never_called_is_a_warning():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.skipped = nn.Linear(64, 10), nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    found = _findings(Net())
    assert [(f.code, f.severity, f.where) for f in found] == [("unused-parameter", Severity.WARNING, "skipped.weight")]


def test_a_vector_that_is_never_read_is_a_note():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.mask_token = nn.Linear(64, 10), nn.Parameter(torch.randn(64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    assert [(f.code, f.severity) for f in _findings(Net())] == [("unused-parameter", Severity.NOTE)]


def test_an_output_that_the_loss_does_not_read_is_no_cut():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head, self.other = nn.Linear(64, 32), nn.Linear(32, 10), nn.Linear(32, 5)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            h = F.relu(self.body(x))
            return self.head(h), self.other(h)

    x, y = torch.randn(64, 64), torch.arange(64) % 10
    found = fl.probe(Net(), x, y, lambda out, y: F.cross_entropy(out[0], y)).findings
    assert [(f.code, f.severity, f.where) for f in found] == [("no-gradient", Severity.WARNING, "other.weight")]
    assert "does not read" in found[0].cause


def test_what_each_layer_does_to_the_signal_is_a_note_before_it_is_a_fault():
    x, y = torch.randn(256, 64), torch.arange(256) % 10

    def after(layers: int):
        torch.manual_seed(0)
        widths = [nn.Linear(64, 64) for _ in range(layers)]
        model = nn.Sequential(*(m for w in widths for m in (w, nn.ReLU())), nn.Linear(64, 10))
        for w in widths:
            nn.init.xavier_normal_(w.weight)
            nn.init.zeros_(w.bias)
        return fl.probe(model, x, y, F.cross_entropy).findings

    assert after(5) == ()
    (note,) = after(11)
    assert (note.code, note.severity) == ("wrong-gain", Severity.NOTE)
    assert note.evidence[0].value == pytest.approx(0.5, rel=0.15)
    assert "wrong-gain" not in [f.code for f in after(30)]


def test_one_loud_branch_is_named():
    class Block(nn.Module):
        def __init__(self, std: float) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(64, 64), nn.Linear(64, 64)
            nn.init.normal_(self.down.weight, std=std)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.down(F.relu(self.up(x)))

    def net(std: float) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(Block(0.1), Block(std), Block(0.1), nn.Linear(64, 10))

    assert _findings(net(0.1)) == ()
    assert [(f.code, f.where) for f in _findings(net(5.0))] == [("exploding-forward", "1.down.weight")]


class _Recurrence(nn.Module):
    """h ← φ(W x + U h), written by hand, over 40 turns."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.into, self.over, self.head = nn.Linear(4, 32), nn.Linear(32, 32), nn.Linear(32, 10)
        nn.init.normal_(self.over.weight, std=gain / 32**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.new_zeros(len(x), 32)
        for t in range(x.shape[1]):
            h = F.relu(self.into(x[:, t]) + self.over(h))
        return self.head(h)


@pytest.mark.parametrize(("gain", "expected"), [(1.0, []), (2.4, [("exploding-forward", "over.weight")])])
def test_a_loop_that_grows_is_named_at_its_recurrent_weight(gain, expected):
    x, y = torch.randn(64, 40, 4), torch.arange(64) % 10
    model = _Recurrence(gain)
    found = fl.probe(model, x, y, F.cross_entropy).findings
    assert [(f.code, f.where) for f in found] == expected
    for finding in found:
        fl.apply_(model, finding.fix(), seed=0)
        assert fl.probe(model, x, y, F.cross_entropy).findings == ()


def test_a_model_that_is_given_its_labels_and_returns_its_loss_has_a_trunk():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.body, self.head = nn.Embedding(20, 32), nn.Linear(32, 32), nn.Linear(32, 20)
            nn.init.normal_(self.head.weight, std=20.0)

        def forward(self, ids: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.head(F.gelu(self.body(self.table(ids))))
            return {"loss": F.cross_entropy(logits.flatten(0, 1), labels.flatten()), "logits": logits}

    torch.manual_seed(0)
    ids = torch.randint(20, (16, 8))
    light = fl.probe(Net(), {"ids": ids, "labels": ids})
    assert [p.label for p in look_at(light).trunk if p.weight] == ["table", "body", "head"]
    assert [(f.code, f.where) for f in light.findings] == [("large-head", "head.weight")]


def test_queries_and_keys_are_named_where_attention_looks_at_one_key():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
    nn.init.normal_(layer.self_attn.in_proj_weight[32:64], std=20.0)
    found = fl.probe(layer, torch.randn(16, 12, 32)).findings
    assert [(f.code, f.where) for f in found] == [("attention-collapse", "self_attn.in_proj_weight")]


def test_layers_in_a_plain_list_are_no_part_of_the_model():
    class Net(nn.Module):
        def __init__(self, kept) -> None:
            super().__init__()
            self.layers, self.head = kept([nn.Linear(64, 64) for _ in range(3)]), nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = F.relu(layer(x))
            return self.head(x)

    assert [f.code for f in _findings(Net(list))] == ["unregistered-layer"]
    assert _findings(Net(nn.ModuleList)) == ()


def test_every_code_is_explained_in_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "findings.md").read_text()
    for code, kind in CATALOGUE.items():
        assert f"### {code}\n" in page or (kind.family == "training" and f"`{code}`" in page), code


def test_diagnose_wants_a_light():
    with pytest.raises(fl.ArgumentError, match="Linear"):
        fl.diagnose(nn.Linear(2, 2))


def test_every_explained_code_is_in_the_catalogue():
    assert {*EXPLAINS, *(c for codes in EXPLAINS.values() for c in codes)} <= set(CATALOGUE)


@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv2d(6, 4, 3), nn.ConvTranspose2d(6, 4, 3)])
def test_torch_fans_are_those_of_torch(layer):
    assert torch_fans(tuple(layer.weight.shape)) == nn.init._calculate_fan_in_and_fan_out(layer.weight)


def test_adam_forgives_a_summed_loss():
    def summed(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(p, y, reduction="sum")

    model = _mlp(3)
    by_sgd = _findings(model, summed, optimizer=torch.optim.SGD(model.parameters(), 0.1))
    by_adam = _findings(model, summed, optimizer=torch.optim.Adam(model.parameters(), 0.1))
    assert [(f.code, f.severity) for f in by_sgd] == [("unreduced-loss", Severity.WARNING)]
    assert [(f.code, f.severity) for f in by_adam] == [("unreduced-loss", Severity.NOTE)]


def _regressed(model: nn.Module, y: torch.Tensor, loss) -> list[tuple[str, str]]:
    x = torch.randn(len(y), 64, generator=torch.Generator().manual_seed(0))
    return [(f.code, f.severity) for f in fl.probe(model, x, y, loss).findings]


def _quantile(f: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    levels = torch.tensor([0.1, 0.5, 0.9])
    return torch.maximum(levels * (y - f), (levels - 1) * (y - f)).mean()


def test_a_loss_written_by_hand_that_vanishes_at_the_targets_compares_with_them():
    y = -torch.rand(64, 1)
    softplus = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3), nn.Softplus())
    assert _regressed(softplus, y, _quantile) == [("unreachable-targets", Severity.ERROR)]
    assert _regressed(softplus, -y, _quantile) == []
    assert _regressed(softplus, y, lambda f, y: (f * y).mean().square()) == []  # compares nothing


def test_an_activation_within_the_model_is_not_its_last():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.scale = nn.Linear(64, 8), nn.Parameter(torch.tensor(3.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale * torch.tanh(self.layer(x))

    assert _regressed(Scaled(), 3 * torch.randn(64, 8), F.mse_loss) == []


def test_outputs_far_wider_than_the_targets_are_a_large_head():
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    y = torch.randn(64, 4)
    assert _regressed(model, y, F.mse_loss) == []
    nn.init.normal_(model[2].weight, std=5.0)
    assert _regressed(model, y, F.mse_loss) == [("large-head", Severity.WARNING)]


def test_the_end_of_a_stack_may_be_left_unread():
    class Stack(nn.Module):
        def __init__(self, read: int) -> None:
            super().__init__()
            self.over = nn.ModuleList(nn.Linear(64, 64) for _ in range(3))
            self.out, self.head, self.read = nn.ModuleList(nn.Linear(64, 64) for _ in range(3)), nn.Linear(64, 10), read

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total = torch.zeros_like(x)
            for i, (over, out) in enumerate(zip(self.over, self.out, strict=True)):
                y = out(x)
                total = total + (y if i < self.read else 0.0 * x)
                x = F.relu(over(x))
            return self.head(total)

    found = _findings(Stack(3))
    assert [(f.code, f.severity, f.where) for f in found] == [("no-gradient", Severity.NOTE, "over.2.weight")]


def test_softmax_of_a_masked_row_is_named_though_the_loss_is_finite():
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map, self.head = nn.Linear(64, 8), nn.Linear(8, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = self.map(x).masked_fill(torch.arange(len(x))[:, None] < 1, -math.inf)
            return self.head(logits.softmax(-1))

    x, y = torch.randn(64, 64), torch.arange(64) % 10
    y[0] = -100
    found = fl.probe(Masked(), x, y, F.cross_entropy).findings
    assert [(f.code, "unmasked" in f.remedy) for f in found][:1] == [("non-finite-values", True)]


def test_a_gain_that_scales_a_weight_is_no_constant_weight():
    class Standardized(nn.Linear):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__(inputs, outputs)
            self.gain = nn.Parameter(torch.ones(outputs, 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.linear(x, self.weight / self.weight.std(1, keepdim=True) / 8 * self.gain, self.bias)

    assert _findings(nn.Sequential(Standardized(64, 32), nn.Tanh(), Standardized(32, 10))) == ()


def test_inputs_that_the_model_scales_itself_do_not_vanish():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x / 1e6)

    x, y = 1e6 * torch.randn(64, 64), torch.arange(64) % 10
    assert fl.probe(Scaled(), x, y, F.cross_entropy).findings == ()


@pytest.mark.parametrize(("behind", "expected"), [(False, []), (True, ["frozen"])])
def test_a_frozen_target_beside_the_network_is_meant(behind, expected):
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.target = nn.Linear(64, 10).requires_grad_(False)
            self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
            self.head = nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.net(x)
            return self.head(h) - self.target(h if behind else x)

    assert [f.code for f in _findings(Pair())] == expected


def test_a_branch_that_drowns_its_stream_is_named():
    class Branches(nn.Module):
        def __init__(self, std: float) -> None:
            super().__init__()
            self.stem, self.head, self.norm = nn.Linear(64, 64), nn.Linear(64, 10), nn.LayerNorm(64)
            self.out = nn.Linear(64, 64)
            nn.init.normal_(self.out.weight, std=std)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            return self.head(self.norm(x + self.out(F.relu(x))))

    torch.manual_seed(0)
    assert _findings(Branches(0.1)) == ()
    assert [(f.code, f.where) for f in _findings(Branches(30.0))] == [("exploding-forward", "out.weight")]


def test_kl_divergence_of_raw_outputs_is_named():
    def loss(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.kl_div(p, F.one_hot(y, 10).float(), reduction="batchmean")

    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    assert [f.code for f in _findings(model, loss)] == ["missing-softmax"]
    assert _findings(nn.Sequential(*model, nn.LogSoftmax(1)), loss) == ()


def test_the_sign_of_a_loss_written_by_hand():
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))
    y = torch.randn(64, 4)
    assert _regressed(model, y, lambda f, y: (f - y).abs().mean()) == []
    assert _regressed(model, y, lambda f, y: -(f - y).abs().mean()) == [("flipped-loss", Severity.ERROR)]


def test_wide_logits_of_rare_classes_are_named():
    def focal(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        cross = F.binary_cross_entropy_with_logits(z, y, reduction="none")
        return ((y - z.sigmoid()).square() * cross).sum() / y.sum()

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 40))
    nn.init.constant_(model[2].bias, -5.0)
    y = torch.zeros(64, 40)
    y[:, 0] = 1.0
    assert _regressed(model, y, focal) == []
    nn.init.normal_(model[2].weight, std=3.0)
    assert _regressed(model, y, focal) == [("large-head", Severity.WARNING)]


def test_a_convolution_without_bias_in_a_plain_list_is_found_and_a_fixed_projection_is_not():
    class Net(nn.Module):
        def __init__(self, weight: torch.Tensor) -> None:
            super().__init__()
            self.kept, self.head = [weight], nn.Linear(32, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(F.relu(F.linear(x, self.kept[0])))

    weight = torch.randn(32, 64) / 8
    assert _findings(Net(weight)) == ()
    assert [f.code for f in _findings(Net(nn.Parameter(weight)))] == ["unregistered-layer"]


def _log_likelihood(f: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    mean, log_std = f.chunk(2, 1)
    return (-0.5 * ((y - mean) * torch.exp(-log_std)).square() - log_std).sum(1).mean()


def test_a_likelihood_of_turned_sign_falls_without_end():
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 4))
    y = torch.randn(64, 2)
    assert _regressed(model, y, lambda f, y: -_log_likelihood(f, y)) == []
    assert _regressed(model, y, _log_likelihood) == [("flipped-loss", Severity.ERROR)]


@pytest.mark.parametrize(
    "loss",
    [
        lambda f, y: -f.mean(),  # a log-density
        lambda f, y: (f[:, :1] * y[:, :1].sign()).mean(),  # a critic of real and made
        lambda f, y: -(y[:, :1] * f.log_softmax(1)[:, :1]).mean(),  # a policy: advantages of both signs
        lambda f, y: (f.exp() - y.abs() * f).mean(),  # Poisson
    ],
)
def test_losses_that_may_fall_by_design_are_let_be(loss):
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 4))
    assert _regressed(model, torch.randn(64, 4), loss) == []


class _Unscaled(nn.Module):
    """Attention whose logits nobody divides by √d."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(64, 64, bias=False) for _ in range(3))
        self.head = nn.Linear(64, 10)
        for layer in (self.q, self.k, self.v):
            nn.init.normal_(layer.weight, std=64**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.layer_norm(x, (64,))
        logits = self.q(x) @ self.k(x).transpose(1, 2)
        return self.head((logits.softmax(-1) @ self.v(x)).mean(1))


def test_attention_without_its_root_is_told_to_take_it():
    """Usual weights are not at fault; large ones are drawn so that the logits' measured width becomes one."""
    torch.manual_seed(0)
    model, x = _Unscaled(), torch.randn(32, 12, 64)
    y = torch.arange(32) % 10
    (found,) = fl.probe(model, x, y, F.cross_entropy).findings
    assert found.code == "attention-collapse"
    assert "divide the logits" in found.fix()
    with torch.no_grad():
        model.q.weight.mul_(10)
    (found,) = fl.probe(model, x, y, F.cross_entropy).findings
    fl.apply_(model, found.fix(), seed=0)
    assert float(model.q.weight.detach().std()) == pytest.approx(1 / 64, rel=0.1)
    assert fl.probe(model, x, y, F.cross_entropy).findings == ()


class _Factorization(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(40, 64), nn.Embedding(40, 64)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return (self.user(ids[:, 0]) * self.item(ids[:, 1])).sum(1)


def test_tables_whose_products_are_too_wide_are_made_smaller_together():
    torch.manual_seed(0)
    model, ids = _Factorization(), torch.randint(40, (256, 2))
    y = torch.randn(256)
    (found,) = fl.probe(model, ids, y, F.mse_loss).findings
    assert found.code == "large-head"
    fl.apply_(model, found.fix(), seed=0)
    assert float(model(ids).detach().std()) == pytest.approx(float(y.std()), rel=0.2)
    assert fl.probe(model, ids, y, F.mse_loss).findings == ()


@pytest.mark.parametrize(("axis", "expected"), [(1, []), (-1, [("softmax-over-one", "score.weight")])])
def test_scores_to_pool_by_are_normalized_over_positions(axis, expected):
    class Pool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score, self.head = nn.Linear(8, 1), nn.Linear(8, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.view(len(x), 8, 8)
            return self.head((self.score(x).softmax(axis) * x).sum(1))

    assert [(f.code, f.where) for f in _findings(Pool())] == expected


@pytest.mark.parametrize(("start", "expected"), [(math.log(14), []), (14.0, [("wrong-prior", Severity.ERROR)])])
def test_a_count_is_no_log_rate(start, expected):
    model = nn.Sequential(nn.Linear(64, 32), nn.SiLU(), nn.Linear(32, 1))
    nn.init.constant_(model[2].bias, start)
    counts = torch.poisson(torch.full((64, 1), 14.0), generator=torch.Generator().manual_seed(0))
    assert _regressed(model, counts, F.poisson_nll_loss) == expected
    rates = nn.Sequential(*model, nn.Softplus())
    assert _regressed(rates, counts, lambda f, y: F.poisson_nll_loss(f, y, log_input=False)) == []


def test_two_tables_of_zeros_hold_each_other_back():
    model = _Factorization()
    for table in (model.user, model.item):
        nn.init.zeros_(table.weight)
    ids, y = torch.randint(40, (256, 2)), torch.randn(256)
    assert [f.code for f in fl.probe(model, ids, y, F.mse_loss).findings] == ["constant-init"]
    nn.init.normal_(model.item.weight)  # then the other one gets its gradient
    assert fl.probe(model, ids, y, F.mse_loss).findings == ()


def test_cells_in_a_plain_list_are_found():
    class Net(nn.Module):
        def __init__(self, kept) -> None:
            super().__init__()
            self.cells, self.head = kept([nn.GRUCell(8, 8), nn.GRUCell(8, 8)]), nn.Linear(8, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = [x.new_zeros(len(x), 8) for _ in self.cells]
            for step in x.view(len(x), 8, 8).unbind(1):
                for i, cell in enumerate(self.cells):
                    h[i] = cell(step if i == 0 else h[i - 1], h[i])
            return self.head(h[-1])

    assert [f.code for f in _findings(Net(list))] == ["unregistered-layer"]
    assert _findings(Net(nn.ModuleList)) == ()


def test_a_saturated_tanh_behind_a_gate_is_named():
    class Gated(nn.Module):
        def __init__(self, std: float) -> None:
            super().__init__()
            self.filter, self.gate, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, 10)
            nn.init.normal_(self.filter.weight, std=std)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.tanh(self.filter(x)) * torch.sigmoid(self.gate(x)))

    assert _findings(Gated(0.1)) == ()
    assert [(f.code, f.where) for f in _findings(Gated(1.0))] == [("saturation", "filter.weight")]


def test_a_norm_whose_scale_and_shift_are_swapped_is_named():
    model = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    nn.init.zeros_(model[1].weight), nn.init.ones_(model[1].bias)
    assert [(f.code, f.where) for f in _findings(model)] == [("zero-norm-scale", "1.weight")]


class _Heads(nn.Module):
    """Attention whose heads are mixed behind the softmax, as talking heads do it, or a map of its own keys."""

    def __init__(self, *, across_heads: bool) -> None:
        super().__init__()
        self.across_heads = across_heads
        self.qkv = nn.Linear(16, 48)
        self.mix = nn.Linear(4, 4) if across_heads else nn.Linear(6, 6)
        self.out = nn.Linear(96, 10)

    def forward(self, x):
        q, k, v = self.qkv(x).view(len(x), 6, 3, 4, 4).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / 2).softmax(-1)
        weights = self.mix(weights.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if self.across_heads else self.mix(weights)
        return self.out((weights @ v).transpose(1, 2).flatten(1))


@pytest.mark.parametrize("across_heads", [True, False])
def test_heads_that_talk_are_no_softmax_in_the_way(across_heads):
    torch.manual_seed(0)
    x = torch.randn(64, 6, 16)
    found = fl.probe(_Heads(across_heads=across_heads), x, torch.arange(64) % 10, F.cross_entropy).findings
    assert ("hidden-softmax" in {f.code for f in found}) is not across_heads


class _Bypassed(nn.Module):
    """Blocks whose last norm starts at zero, with an activation behind it and a skip around all."""

    def __init__(self, activation: type[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), activation()) for _ in range(3)
        )
        for block in self.blocks:
            nn.init.zeros_(block[1].weight)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


@pytest.mark.parametrize(("activation", "closed_for_ever"), [(nn.SiLU, False), (nn.GELU, False), (nn.ReLU, True)])
def test_a_zero_norm_beside_a_skip_is_a_fault_where_no_gradient_opens_it(activation, closed_for_ever):
    torch.manual_seed(0)
    assert bool(_findings(_Bypassed(activation)).errors) is closed_for_ever


class _ClassToken(nn.Module):
    """Tokens that reach the class token through LayerScale alone."""

    def __init__(self, gate: float) -> None:
        super().__init__()
        self.embed, self.token = nn.Linear(16, 32), nn.Parameter(torch.randn(1, 1, 32))
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(3))
        self.maps = nn.ModuleList(nn.MultiheadAttention(32, 4, batch_first=True) for _ in range(3))
        self.gates = nn.ParameterList(nn.Parameter(torch.full((32,), gate)) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x):
        x = torch.cat([self.token.expand(len(x), -1, -1), self.embed(x)], 1)
        for norm, attend, gate in zip(self.norms, self.maps, self.gates, strict=True):
            h = norm(x)
            x = x + gate * attend(h, h, h, need_weights=False)[0]
        return self.head(self.norm(x[:, 0]))


def test_what_layer_scale_holds_back_is_no_vanishing_gradient():
    """Touvron et al. 2021, arXiv 2103.17239: branches start at γ = 10⁻⁵ and open as they train."""
    torch.manual_seed(0)
    x = torch.randn(64, 8, 16)
    model = _ClassToken(1e-5)
    assert fl.probe(model, x, torch.arange(64) % 10, F.cross_entropy).findings == ()
    with torch.no_grad():
        model.embed.weight.mul_(1e-7)  # what vanishes beside the gates is found as before
        model.embed.bias.zero_()
    assert fl.probe(model, x, torch.arange(64) % 10, F.cross_entropy).findings != ()


def test_what_is_laid_down_is_no_draw():
    model = _mlp(3)
    for layer in (model[0], model[2]):
        nn.init.eye_(layer.weight)
    assert "duplicated-draws" not in {f.code for f in _findings(model)}
    with torch.no_grad():
        model[2].weight.copy_(nn.init.sparse_(model[0].weight, 0.5))
    assert "duplicated-draws" in {f.code for f in _findings(model)}


def test_a_filter_that_a_norm_behind_the_next_map_sets_right_has_no_wrong_fan():
    def separable(*, norm: bool) -> nn.Sequential:
        torch.manual_seed(0)
        depthwise = nn.Conv2d(64, 64, 3, padding=1, groups=64)
        nn.init.kaiming_normal_(depthwise.weight, mode="fan_out", nonlinearity="relu")
        behind = [nn.BatchNorm2d(64)] if norm else []
        return nn.Sequential(
            nn.Conv2d(1, 64, 3, padding=1), nn.ReLU(), depthwise, nn.Conv2d(64, 64, 1), *behind, nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
        )  # fmt: skip

    x, y = torch.randn(32, 1, 8, 8), torch.arange(32) % 10
    codes = [{f.code for f in fl.probe(separable(norm=n), x, y, F.cross_entropy).findings} for n in (True, False)]
    assert ["wrong-fan" in found for found in codes] == [False, True]
