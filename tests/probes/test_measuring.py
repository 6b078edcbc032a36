"""What is measured is what the tensors say: places, values, gradients, parameters, in every kind of model."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from firstlight.probes import Kind, Light, measure

from .nets import normal, plain, small

X, Y = normal(32, 16), torch.arange(32) % 4


def calls(light: Light) -> list[str]:
    return [p.op for p in light]


def test_values_and_gradients_are_those_of_the_tensors() -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    x = X.double()
    light = measure(model, x, Y, F.cross_entropy)
    first = model[0](x)
    second = torch.tanh(first)
    last = model[2](second)
    loss = F.cross_entropy(last, Y)
    tensors = (first, second, last)
    gradients = torch.autograd.grad(loss, tensors)
    tensors, loss = tuple(t.detach() for t in tensors), loss.detach()
    assert calls(light) == ["input 0", "linear", "tanh", "linear", "output"]
    assert [p.depth for p in light] == [0, 1, 1, 2, 2]
    assert [p.position for p in light] == [0, 0.25, 0.5, 0.75, 1]
    for place, value, gradient in zip(light.places[1:4], tensors, gradients, strict=True):
        found, back = place.forward, place.backward
        assert found is not None
        assert back is not None
        assert found.mean == pytest.approx(float(value.mean()))
        assert found.second == pytest.approx(float(value.square().mean()))
        assert found.largest == pytest.approx(float(value.abs().max()))
        assert (back.mean, back.mean_abs, back.second) == pytest.approx(
            (float(gradient.mean()), float(gradient.abs().mean()), float(gradient.square().mean()))
        )
        unit = F.normalize(value, dim=1)
        cosines = unit @ unit.T
        assert found.cosine == pytest.approx(float((cosines.sum() - 32) / (32 * 31)))
        gram = value @ value.T
        assert found.effective_rank == pytest.approx(float(gram.trace() ** 2 / gram.square().sum()))
        assert found.sample_spread == pytest.approx(float(value.var(0, correction=0).mean() / value.square().mean()))
    slopes = 1 - second.detach() ** 2
    assert light.places[2].forward is not None
    assert light.places[2].forward.saturated == pytest.approx(float((slopes < 0.05).double().mean()))
    assert light.loss is not None
    assert light.loss.value == pytest.approx(float(loss))


def test_parameters_have_their_moments_gradients_and_first_updates() -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4)).double()
    optimizer = torch.optim.SGD([{"params": model[0].parameters(), "lr": 0.5}, {"params": [model[2].weight]}], lr=0.1)
    light = measure(model, X.double(), Y, optimizer=optimizer)
    gradients = torch.autograd.grad(F.cross_entropy(model(X.double()), Y), list(model.parameters()))
    for weight, parameter, gradient in zip(light.weights, model.parameters(), gradients, strict=True):
        assert weight.second == pytest.approx(float(parameter.detach().square().mean()))
        assert weight.grad_second == pytest.approx(float(gradient.square().mean()))
        ratio = float(gradient.norm() / parameter.detach().norm())
        assert weight.gradient_ratio == pytest.approx(ratio)
        if weight.in_optimizer:
            assert weight.update_ratio == pytest.approx(ratio * (weight.lr or 0))
    assert [w.in_optimizer for w in light.weights] == [True, True, True, False]
    assert [w.lr for w in light.weights] == [0.5, 0.5, 0.1, None]


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, lr=0.01),
        lambda p: torch.optim.RMSprop(p, lr=0.01),
        lambda p: torch.optim.Adagrad(p, lr=0.01),
    ],
)
def test_the_first_update_is_the_one_that_the_optimizer_makes(optimizer: Any) -> None:
    model = plain(16, 2, nn.Tanh, 1.0, 0.1)
    chosen = optimizer(model.parameters())
    light = measure(model, X, normal(32, 16, seed=3), optimizer=chosen)
    before = [p.detach().clone() for p in model.parameters()]
    F.mse_loss(model(X), normal(32, 16, seed=3)).backward()
    chosen.step()
    for weight, old, parameter in zip(light.weights, before, model.parameters(), strict=True):
        step = (parameter.detach() - old).square().mean().sqrt() / old.square().mean().sqrt()
        assert weight.update_ratio == pytest.approx(float(step), rel=1e-4)


def test_an_activation_in_place_hides_nothing() -> None:
    inside = nn.Sequential(nn.Linear(16, 8), nn.ReLU(inplace=True), nn.Linear(8, 4))
    beside = nn.Sequential(inside[0], nn.ReLU(), inside[2])
    assert measure(inside, X, Y).bare() == measure(beside, X, Y).bare()


def test_a_call_in_a_loop_is_one_place_and_counted() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(5):
                x = torch.tanh(self.step(x))
            return x

    light = measure(Loop(), X)
    assert [(p.op, p.calls) for p in light if p.op in ("linear", "tanh")] == [("linear", 5), *[("tanh", 1)] * 5]


def test_units_that_are_zero_on_the_whole_batch_are_dead_and_sparse_ones_are_not() -> None:
    model = nn.Sequential(nn.Linear(16, 10), nn.ReLU(), nn.Linear(10, 4))
    with torch.no_grad():
        model[0].bias[:3] = -1000.0
    relu = measure(model, X, Y).places[2].forward
    assert relu is not None
    assert relu.dead == pytest.approx(0.3)
    assert 0.4 < relu.zeros < 0.9


def test_channels_are_units_of_pictures_and_the_last_axis_of_sequences() -> None:
    pictures = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    light = measure(pictures, normal(4, 3, 8, 8))
    shapes = [(p.forward.rows, p.forward.units) for p in light if p.forward]
    assert shapes == [(4 * 64, 3), (4 * 36, 8), (4 * 36, 8), (4, 4), (4, 4)]
    sequences = measure(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), normal(4, 5, 6))
    assert [(p.forward.rows, p.forward.units) for p in sequences if p.forward] == [(20, 6), (20, 8), (20, 8), (20, 8)]


def test_long_inputs_are_looked_at_in_part_and_agree() -> None:
    model = nn.Sequential(nn.Conv1d(4, 16, 3), nn.ReLU())
    x = normal(16, 4, 2000)
    whole, some = (measure(model, x, max_samples=s, max_positions=p) for s, p in ((16, 2000), (8, 100)))
    for a, b in zip(whole.places[1:], some.places[1:], strict=True):
        assert a.forward is not None
        assert b.forward is not None
        assert b.forward.rows == 8 * 100
        # 12,800 values, six standard deviations of their mean square.
        assert b.forward.second == pytest.approx(a.forward.second, rel=6 * math.sqrt(6 / (800 * a.forward.units)))


def test_what_is_too_small_to_square_in_float32_is_still_seen() -> None:
    model = nn.Sequential(nn.Linear(16, 16, bias=False), nn.Linear(16, 4, bias=False))
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1e-15)
    places = measure(model, torch.ones(4, 16), torch.zeros(4, dtype=torch.int64)).of(Kind.WEIGHT)
    found = places[1].forward
    assert found is not None
    assert found.second == pytest.approx((16e-15 * 16e-15) ** 2, rel=1e-3)


def test_twins_copies_and_what_no_gradient_reaches() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(16, 8), nn.Linear(16, 8), nn.Linear(8, 4)
            self.unused, self.frozen = nn.Linear(3, 3), nn.Linear(4, 4).requires_grad_(False)
            with torch.no_grad():
                self.b.weight.copy_(self.a.weight)
                self.c.weight.fill_(0.1)
                self.a.weight[1] = self.a.weight[0]
                self.a.bias.zero_()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.frozen(self.c(torch.tanh(self.a(x)) + torch.tanh(self.b(x)).detach()))

    light = measure(Net(), X, Y)
    found = {w.name: w for w in light.weights}
    assert (found["a.weight"].twins, found["a.weight"].gradient_twins) == (2, 2)
    assert found["c.weight"].constant
    assert found["c.weight"].twins == 4
    assert found["c.weight"].gradient_twins == 0  # their gradients differ: they will not stay equal
    assert [found[n].reached for n in ("a.weight", "b.weight", "unused.weight", "frozen.weight")] == [
        True,
        False,
        False,
        False,
    ]
    assert found["unused.weight"].used is False
    assert not found["frozen.weight"].trainable
    copies = nn.ModuleList([nn.Linear(16, 16), nn.Linear(16, 16)])
    copies[1].load_state_dict(copies[0].state_dict())
    assert [w.duplicate_of for w in measure(nn.Sequential(*copies), X).weights] == ["", "", "0.weight", "0.bias"]


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_runs_twice_and_counts_once(reentrant: bool) -> None:
    class Saving(nn.Module):
        def __init__(self, *, saves: bool) -> None:
            super().__init__()
            self.a, self.b, self.head, self.saves = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 4), saves

        def block(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.b(torch.relu(self.a(x))))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = checkpoint(self.block, x, use_reentrant=reentrant) if self.saves else self.block(x)
            return self.head(y)

    saving, usual = Saving(saves=True), Saving(saves=False)
    usual.load_state_dict(saving.state_dict())
    a, b = (measure(m, X.clone().requires_grad_(), Y) for m in (saving, usual))
    assert [(p.op, p.calls) for p in a] == [(p.op, p.calls) for p in b]
    assert [p.backward for p in a] == [p.backward for p in b]
    assert a.weights == b.weights


@pytest.mark.parametrize("part", ["whole", "inside", "in place"])
def test_compiled_modules_are_measured_uncompiled_and_it_says_so(part: str) -> None:
    model = small()
    expected = measure(model, X, Y)
    compiled: nn.Module = model
    if part == "whole":
        compiled = torch.compile(model, backend="eager")
    elif part == "inside":
        model[4] = torch.compile(model[4], backend="eager")
    else:
        model[4].compile(backend="eager")
    light = measure(compiled, X, Y)
    assert [p.forward for p in light] == [p.forward for p in expected]
    assert [w.name for w in light.weights] == [w.name for w in expected.weights]
    assert "uncompiled" in light.notes[0]


def test_half_precision_and_autocast_give_nearly_the_same_numbers() -> None:
    model = small().eval()
    expected = measure(model, X, Y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = measure(model, X, Y)
    half = measure(small().eval().bfloat16(), X.bfloat16(), Y)
    assert [p.dtype for p in mixed.of(Kind.WEIGHT)] == ["bfloat16"] * 3
    for light in (mixed, half):
        for a, b in zip(light, expected, strict=True):
            assert a.forward is not None
            assert b.forward is not None
            assert a.forward.second == pytest.approx(b.forward.second, rel=0.02)


def test_what_cannot_be_traced_is_measured_all_the_same() -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if type(x).__name__ == "FakeTensor":
                raise RuntimeError("no copies please")
            return self.b(torch.relu(self.a(x)))

    light = measure(Stubborn(), X, Y)
    assert calls(light) == ["input 0", "linear", "relu", "linear", "output"]
    assert "not traced" in light.notes[0]
    assert [w.role for w in light.weights] == ["linear weight", "bias"] * 2


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated:DeprecationWarning")
def test_a_module_that_hides_its_calls_is_a_place_itself() -> None:
    hidden = torch.jit.script(nn.Sequential(nn.Linear(16, 16), nn.ReLU()))
    light = measure(nn.Sequential(nn.Linear(16, 16), hidden, nn.Linear(16, 4)), X, Y)
    assert calls(light) == ["input 0", "linear", "RecursiveScriptModule", "linear", "output"]
    assert light.places[2].parameters == ("1.0.bias", "1.0.weight")
    assert light.places[2].backward is not None


def test_attention_tells_its_entropy() -> None:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, dropout=0.0)
    x = normal(4, 7, 16)
    light = measure(layer, x)
    with torch.no_grad():
        _, weights = layer.self_attn(x, x, x, average_attn_weights=False)
    entropy = torch.special.entr(weights).sum(-1).mean() / math.log(7)
    found = next(p for p in light if p.op == "multi_head_attention_forward").forward
    assert found is not None
    assert found.entropy == pytest.approx(float(entropy), rel=1e-5)
    q, k = normal(2, 3, 6, 8), normal(2, 3, 6, 8, seed=1)

    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(8, 8)

        def forward(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(self.map(q), k, k, is_causal=True)

    model = Fused()
    fused = next(p for p in measure(model, (q, k)) if p.kind is Kind.ATTENTION).forward
    with torch.no_grad():
        logits = (model.map(q) @ k.transpose(-1, -2) / math.sqrt(8)).masked_fill(
            ~torch.ones(6, 6).tril().bool(), -math.inf
        )
    rows = torch.special.entr(logits.softmax(-1)).sum(-1)[..., 1:] / torch.arange(2, 7).log()
    assert fused is not None
    assert fused.entropy == pytest.approx(float(rows.mean()), rel=1e-5)


def test_residual_streams_grow_as_their_branches_add() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(256, 256, bias=False)
            nn.init.normal_(self.map.weight, 0, 1 / 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.map(x)

    torch.manual_seed(0)
    light = measure(nn.Sequential(*(Block() for _ in range(6))), normal(32, 256))
    (stream,) = light.streams
    assert len(stream.places) == 6
    assert [light.places[i].branch for i in stream.places] == [(0, i, 6) for i in range(1, 7)]
    assert stream.growth is not None
    # Twice a join for independent branches; its logarithm over 5 joins scatters by about √(2 · 2/256 / 5).
    assert abs(math.log(stream.growth / 2)) < 6 * math.sqrt(4 / 256 / 5)


class Diverging(nn.Module):
    """Gives the logarithm of a negative number, behind a layer that is sound."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(self.map(x) - 100)


def test_the_first_value_that_is_not_finite_is_traced_to_its_call() -> None:
    origin = measure(Diverging(), X, Y).origin
    assert origin is not None
    assert (origin.what, origin.op, origin.value) == ("forward", "log", "nan")
    assert "-10" in origin.given
    model = small()
    with torch.no_grad():
        model[4].weight[0, 0] = torch.inf
    origin = measure(model, X, Y).origin
    assert origin is not None
    assert (origin.what, origin.name, origin.value) == ("parameter", "4.weight", "inf")
    root = measure(nn.Sequential(nn.Linear(16, 4)), X, Y.float(), lambda o, _: (o * 0).abs().sqrt().sum()).origin
    assert root is not None
    assert root.what == "backward"
    assert measure(small(), X, Y).origin is None


def test_the_same_seed_gives_the_same_record_and_dropout_another_one() -> None:
    model = small()
    first, again, other = (measure(model, X, Y, seed=s).bare() for s in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_repeated_call_is_measured_at_its_first_and_last_turn():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(3):
                x = self.layer(x)
            return x

    torch.manual_seed(0)
    model, x, y = Twice(), torch.randn(32, 8), torch.randn(32, 8)
    (place,) = measure(model, x, y).of(Kind.WEIGHT)
    w = model.layer.weight.detach()
    values = [x @ w.T, x @ w.T @ w.T, x @ w.T @ w.T @ w.T]
    error = 2 * (values[-1] - y) / y.numel()
    assert place.calls == 3
    assert place.forward.second == pytest.approx(float(values[0].square().mean()))
    assert place.last_forward.second == pytest.approx(float(values[-1].square().mean()))
    assert place.last_backward.second == pytest.approx(float(error.square().mean()), rel=1e-4)
    assert place.backward.second == pytest.approx(float((error @ w @ w).square().mean()), rel=1e-4)


def test_a_function_that_gives_no_gradient_is_measured_without_one():
    class Route(torch.autograd.Function):
        @staticmethod
        def forward(ctx, scores, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            return None, grad

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router, self.layer = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Route.apply(self.router(x), self.layer(x))

    places = measure(Net(), torch.randn(16, 8), torch.randn(16, 8)).of(Kind.WEIGHT)
    assert [p.backward is None for p in places] == [True, False]


def test_a_gradient_to_one_token_of_many_is_seen_whole() -> None:
    """A class token's is zero elsewhere, and may not be among the positions that are looked at."""

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.tanh(self.embed(x))[:, 0])

    torch.manual_seed(0)
    model, x, y = First(), torch.randn(16, 1000, 8), torch.arange(16) % 3
    seen = []
    for positions in (4, 1000):
        light = measure(model, x, y, F.cross_entropy, max_positions=positions)
        found = next(p.backward for p in light if p.op == "tanh")
        assert found is not None
        seen.append((found.zeros, found.second))
    assert seen[0] == pytest.approx(seen[1], rel=1e-6)
    assert seen[1][0] == pytest.approx(0.999, abs=1e-6)


def test_one_unit_has_no_direction() -> None:
    model = nn.Sequential(nn.Conv1d(3, 1, 1), nn.Flatten(), nn.Linear(32, 2))
    light = measure(model, torch.randn(16, 3, 32) + 5, torch.arange(16) % 2, F.cross_entropy)
    place = next(p for p in light if p.op == "conv1d")
    assert place.forward is not None
    assert place.forward.position_cosine is None


@pytest.mark.parametrize("fused", [True, False])
def test_the_width_of_logits_is_measured_where_attention_is_narrow(fused: bool) -> None:
    class Attends(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(32, 32, bias=False) for _ in range(3))
            self.scale = scale

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = self.q(x), self.k(x), self.v(x)
            if fused:
                mask = torch.zeros(16, dtype=torch.bool).index_fill(0, torch.arange(12), True).expand(16, 16)
                return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale)
            logits = q @ k.transpose(1, 2) * self.scale
            return logits.index_fill(2, torch.arange(12, 16), -1e9).softmax(-1) @ v

    torch.manual_seed(0)
    x, model = torch.randn(8, 16, 32), Attends(20.0)
    op = "scaled_dot_product_attention" if fused else "softmax"
    place = next(p for p in measure(model, x) if p.op == op)
    logits = (model.q(x) @ model.k(x).transpose(1, 2) * 20.0)[:, :, :12]
    assert place.forward is not None
    assert place.forward.logits == pytest.approx(logits.var(-1, correction=0).mean().sqrt().item(), rel=1e-4)
    model.scale = 0.1
    place = next(p for p in measure(model, x) if p.op == op)
    assert place.forward is not None
    assert place.forward.logits is None
