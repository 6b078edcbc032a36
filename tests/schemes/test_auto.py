"""auto: a unit second moment at every weight, whatever the network does between them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import firstlight as fl
from firstlight.graphs import trace
from firstlight.graphs.tape import Flow
from firstlight.graphs.walks import is_weight_call
from firstlight.moments import replay
from firstlight.plans import NormOf, Plan


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def squares(model: nn.Module, inputs: object, made: Plan, seeds: int = 4) -> dict[str, float]:
    """The second moment of every weight call's output, by the module it ran in, a mean over seeds."""
    tape = trace(model, inputs).tape  # type: ignore[arg-type]
    assert tape is not None
    found: dict[str, float] = {}
    for seed in range(seeds):
        fl.apply_(model, made, seed, digests=False)
        for node, values in replay(tape, dict(model.named_parameters())):
            if node.flow is Flow.DATA and is_weight_call(tape, node):
                square = float(values[0].detach().double().square().mean())
                found[node.module] = found.get(node.module, 0.0) + square / seeds
    return found


class Mean(nn.Module):
    """An activation of a user's own, far from any table."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.exp(-x.square()) + 0.3 * x.clamp(min=-1)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.Softplus, nn.SELU, nn.Mish, Mean])
def test_deep_networks_keep_the_signal_through_any_activation(activation: Callable[[], nn.Module]) -> None:
    layers = [m for _ in range(12) for m in (nn.Linear(96, 96), activation())]
    model = nn.Sequential(*layers, nn.Linear(96, 10))
    inputs = randn(32, 96)
    for module, square in squares(model, inputs, fl.plan(model, inputs)).items():
        assert 0.5 < square < 2, module


def test_gradients_keep_their_size_across_depth() -> None:
    model = nn.Sequential(*(m for _ in range(20) for m in (nn.Linear(64, 64), nn.ReLU())), nn.Linear(64, 10))
    inputs = randn(64, 64)
    fl.apply_(model, fl.plan(model, inputs), 0)
    F.cross_entropy(model(inputs), torch.arange(64) % 10).backward()
    sizes = [
        p.grad.square().mean().item()
        for n, p in model.named_parameters()
        if n.endswith("weight") and p.grad is not None
    ]
    assert max(sizes[0], sizes[-2]) / min(sizes[0], sizes[-2]) < 10


class Residual(nn.Module):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.down(F.relu(self.up(x)))


def test_a_residual_stream_without_norms_stays_below_two() -> None:
    model = nn.Sequential(nn.Linear(64, 64), *(Residual() for _ in range(30)), nn.Linear(64, 10))
    inputs = randn(64, 64)
    made = fl.plan(model, inputs)
    fl.apply_(model, made, 0)
    assert 1 < float(model[:-1](inputs).detach().square().mean()) < 3
    assert "branch 1 of 30" in made["1.down.weight"].entries[0].reason
    he = fl.plan(model, inputs, "he_normal")
    fl.apply_(model, he, 0)
    assert float(model[:-1](inputs).detach().square().mean()) > 1e6


def test_a_norm_within_a_branch_carries_its_scale() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(32, 32), nn.LayerNorm(32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.norm(self.linear(x))

    made = fl.plan(nn.Sequential(*(Normed() for _ in range(4))), randn(8, 32))
    assert made["0.norm.weight"].entries[0].decision == fl.Constant(0.5)


def test_he_is_the_case_of_relu() -> None:
    model = nn.Sequential(nn.Linear(4096, 8), nn.ReLU(), nn.Linear(8, 4))
    made = fl.plan(nn.Sequential(nn.ReLU(), model[0]), randn(4, 4096))
    assert made.entries[0].decision.draw(made.entries[0].parameter.layout).std == pytest.approx(  # type: ignore[union-attr]
        math.sqrt(2 / 4096), rel=0.03
    )


def test_sine_networks_start_as_sitzmann_has_them() -> None:
    class Sine(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sin(30 * x)

    model = nn.Sequential(nn.Linear(2, 128), Sine(), nn.Linear(128, 128), Sine(), nn.Linear(128, 1))
    inputs = torch.rand(256, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = fl.plan(model, inputs)
    assert made.entries[0].decision == fl.Uniform(-0.5, 0.5)
    fl.apply_(model, made, 0)
    argument = 30 * model[2](model[:2](inputs))
    assert 0.5 < float(argument.detach().square().mean()) < 2


def test_tables_that_are_added_share_a_unit_second_moment() -> None:
    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions, self.head = nn.Embedding(50, 64), nn.Embedding(16, 64), nn.Linear(64, 50)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.head(self.tokens(ids) + self.positions(torch.arange(ids.shape[1])))

    model, ids = Embedded(), torch.randint(0, 50, (8, 16), generator=torch.Generator().manual_seed(0))
    made = fl.plan(model, ids)
    assert made["tokens.weight"].entries[0].decision == fl.Normal(std=1 / math.sqrt(2))
    assert made["positions.weight"].entries[0].decision == fl.Normal(std=1 / math.sqrt(2))
    found = squares(model, ids, made)
    assert 0.8 < found["head"] < 1.25


def test_a_tied_table_serves_its_output_layer() -> None:
    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.norm = nn.Embedding(50, 64), nn.LayerNorm(64)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return F.linear(self.norm(self.table(ids)), self.table.weight)

    model, ids = Language(), torch.randint(0, 50, (8, 16))
    made = fl.plan(model, ids)
    assert made.entries[0].decision == fl.Normal(std=1 / 8)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("wrap", [weight_norm, nn.utils.weight_norm])
def test_a_weight_norm_starts_as_the_weight_that_was_drawn(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = nn.Sequential(wrap(nn.Conv1d(8, 16, 3)), nn.ReLU(), wrap(nn.Conv1d(16, 16, 3)))
    inputs = randn(8, 8, 24)
    made = fl.plan(model, inputs)
    assert sum(isinstance(e.decision, NormOf) for e in made) == 2
    fl.apply_(model, made, 0)
    model(inputs)
    directions = [p for n, p in model.named_parameters() if n.endswith(("original1", "weight_v"))]
    weights = [m.weight for m in model if isinstance(m, nn.Conv1d)]
    for direction, weight in zip(directions, weights, strict=True):
        assert torch.allclose(direction, weight, atol=1e-6)
    assert 0.5 < float(model(inputs).detach().square().mean()) < 2


def test_a_scale_that_is_divided_out_is_said_to_be() -> None:
    made = fl.plan(nn.Sequential(spectral_norm(nn.Linear(32, 32)), nn.ReLU()), randn(8, 32))
    assert "divided out" in made["*original"].entries[0].reason


def test_fused_attention_and_recurrent_layers_are_covered() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0), 2)
    for model, inputs in ((encoder, randn(4, 8, 32)), (nn.LSTM(16, 32, 2, batch_first=True), randn(4, 8, 16))):
        made = fl.plan(model, inputs)
        assert not made.uncovered
        fl.apply_(model, made, 0)
    found = squares(encoder, randn(4, 8, 32), fl.plan(encoder, randn(4, 8, 32)))
    assert all(0.5 < s < 2 for s in found.values())


def test_the_plan_is_right_without_data_on_meta() -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 8))

    with torch.device("meta"):
        abstract = build()
    on_meta = fl.plan(abstract, torch.empty(4, 32, device="meta"))
    real = fl.plan(build(), randn(4096, 32))
    for a, b in zip(on_meta, real, strict=True):
        if isinstance(a.decision, fl.Orthogonal) and isinstance(b.decision, fl.Orthogonal):
            assert a.decision.gain == pytest.approx(b.decision.gain, rel=0.05)
        else:
            assert a.decision == b.decision


def test_without_inputs_it_says_what_it_could_not_know() -> None:
    made = fl.plan(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)))
    assert "not known without example inputs" in made.entries[0].reason
    receipt = fl.init_(nn.Linear(8, 8), "auto")
    assert receipt.scheme == "auto"


def test_large_matrices_are_not_factorized() -> None:
    with torch.device("meta"):
        model = nn.Linear(4096, 4096)
    made = fl.plan(model, torch.empty(1, 4096, device="meta"))
    assert isinstance(made.entries[0].decision, fl.Normal)


def test_a_forward_that_raises_writes_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(5, 2))
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(fl.ModelError, match=r"'1' \(Linear, weight \(2, 5\)"):
        fl.init_(model, "auto", inputs=randn(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("inputs", [[1.0], "x", 3])
def test_inputs_of_no_kind_are_named(inputs: object) -> None:
    with pytest.raises(fl.ArgumentError, match="as a tensor, a tuple"):
        fl.plan(nn.Linear(2, 2), inputs)  # type: ignore[arg-type]


def test_zeros_stand_in_for_data() -> None:
    """A dummy batch says nothing of the data but its shape."""
    model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    dummy, meta = (fl.plan(model, torch.zeros(2, 16, device=d)) for d in ("cpu", "meta"))
    assert dummy == meta


def test_a_second_recurrent_layer_reads_the_small_state_of_the_first() -> None:
    made = fl.plan(nn.LSTM(32, 32, 2, batch_first=True), randn(8, 12, 32))
    std = {e.parameter.name: e.decision.std for e in made if isinstance(e.decision, fl.Normal)}
    assert std["weight_ih_l1"] > 2 * std["weight_ih_l0"]


def test_a_weight_that_is_used_twice_is_right_for_the_mean_of_both() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(48, 80))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.linear(F.relu(F.linear(x, self.weight)), self.weight.t())

    model, x = Tied(), randn(64, 80)
    made = fl.plan(model, x)
    fl.apply_(model, made, 0)
    first = F.linear(x, model.weight).detach()
    both = [float(y.square().mean()) for y in (first, model(x).detach())]
    assert both[0] * both[1] == pytest.approx(1, rel=0.3)
    assert all(0.4 < b < 2.5 for b in both)


def test_a_loop_keeps_its_states_norm() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.new = nn.Linear(16, 16), nn.Linear(8, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = torch.zeros(x.shape[0], 16)
            for t in range(x.shape[1]):
                h = torch.tanh(self.inner(h) + self.new(x[:, t]))
            return h

    made = fl.plan(Loop(), randn(8, 5, 8))
    assert made["inner.weight"].entries[0].decision == fl.Orthogonal()


def test_a_hypernetwork_makes_weights_of_the_right_size() -> None:
    class Hyper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.code, self.made = nn.Parameter(torch.randn(16)), nn.Linear(16, 32 * 32)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.linear(x, self.made(self.code).view(32, 32))

    model, x = Hyper(), randn(64, 32)
    entry = fl.plan(model, x, rules={"code": fl.Normal()})["made.weight"].entries[0]
    assert "makes the weight of a layer of fan_in 32" in entry.reason


def test_filters_that_each_sample_scales_are_a_convolutions() -> None:
    class Modulated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.style, self.weight = nn.Linear(8, 8), nn.Parameter(torch.randn(1, 16, 8, 3, 3))

        def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
            w = self.weight * (1 + self.style(style))[:, None, :, None, None]
            y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), w.flatten(0, 1), padding=1, groups=len(x))
            return y.view(len(x), 16, *x.shape[2:])

    model, inputs = Modulated(), (randn(16, 8, 6, 6), randn(16, 8))
    made = fl.plan(model, inputs)
    assert made["weight"].entries[0].parameter.layout.fan_in == 72
    squared = 0.0
    for seed in range(4):
        fl.apply_(model, made, seed)
        squared += float(model(*inputs).detach().square().mean()) / 4
    assert 0.7 < squared < 1.4


def test_cross_attention_reads_keys_and_values_of_their_own_size() -> None:
    model = nn.MultiheadAttention(32, 4, kdim=16, vdim=24, batch_first=True)
    inputs = (randn(4, 6, 32), 3 * randn(4, 8, 16), 0.1 * randn(4, 8, 24))
    made = fl.plan(model, inputs)
    std = {e.parameter.name: e.decision.draw(e.parameter.layout) for e in made if "proj_weight" in e.parameter.name}
    assert set(std) == {"q_proj_weight", "k_proj_weight", "v_proj_weight"}
    fl.apply_(model, made, 0)
    for name, x in zip(("q_proj_weight", "k_proj_weight", "v_proj_weight"), inputs, strict=True):
        y = x @ dict(model.named_parameters())[name].detach().T
        assert float(y.square().mean()) == pytest.approx(1, rel=0.1)
