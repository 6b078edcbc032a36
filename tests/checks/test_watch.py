"""The watch: it changes nothing, names what goes wrong once, and goes on from a checkpoint."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import firstlight as fl
from firstlight.checks.records import Severity
from firstlight.checks.watch_meter import _zero_rows
from firstlight.checks.watch_schedule import ALLOWANCE, CHECKING, COLD, EARLY, LEAST, PASSING, Schedule
from firstlight.checks.watch_sharpness import sharpness
from firstlight.checks.watch_trivial import Targets

Step = Callable[[torch.Tensor, torch.Tensor], None]


def _mlp(width: int = 32, depth: int = 3, out: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        layers += [nn.Linear(8 if not layers else width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, out))


def _batches(steps: int, seed: int = 1, size: int = 32) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    g = torch.Generator().manual_seed(seed)
    rule = torch.randn(8, 4, generator=g)
    for _ in range(steps):
        x = torch.randn(size, 8, generator=g)
        yield x, (x @ rule).argmax(1)


def _train(
    model: nn.Module, optimizer: torch.optim.Optimizer, w: fl.Watch | None, steps: int = 60, seed: int = 1
) -> list[float]:
    losses = []
    for x, y in _batches(steps, seed):
        loss = F.cross_entropy(model(x), y)
        if w is not None:
            w.step(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def _loud(w: fl.Watch) -> set[str]:
    return {f.code for f in w.findings if f.severity is not Severity.NOTE}


# ── it changes nothing


class _Messy(nn.Module):
    """Buffers, random numbers, and a tied weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.drop = nn.Linear(8, 32), nn.BatchNorm1d(32), nn.Dropout(0.3)
        self.b, self.c = nn.Linear(32, 32, bias=False), nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(F.relu(F.linear(F.relu(self.b(self.drop(self.norm(self.a(x))))), self.b.weight.t())))


@pytest.mark.parametrize("every", [1, None])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, lambda p, lr: torch.optim.SGD(p, lr, 0.9, nesterov=True)])
def test_training_has_the_same_bits_with_and_without(every: int | None, optimizer: Any) -> None:
    ends = []
    for watched in (False, True):
        torch.manual_seed(3)
        model = _Messy()
        chosen = optimizer(model.parameters(), lr=0.01)
        if watched:
            with fl.watch(model, chosen, every=every) as w:
                losses = _train(model, chosen, w)
        else:
            losses = _train(model, chosen, None)
        ends.append((losses, model.state_dict(), chosen.state_dict(), torch.get_rng_state()))
    assert ends[0][0] == ends[1][0]
    for one, other in zip(ends[0][1].values(), ends[1][1].values(), strict=True):
        assert torch.equal(one, other)
    assert str(ends[0][2]) == str(ends[1][2])
    assert torch.equal(ends[0][3], ends[1][3])


def _hooks(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    modules = sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules())
    return modules + len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)


def test_hooks_come_off_also_after_an_exception() -> None:
    model = _mlp()
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(ZeroDivisionError), fl.watch(model, sgd):  # noqa: PT012 (a body that fails half-way)
        assert _hooks(model, sgd) > 0
        _ = 1 / 0
    assert _hooks(model, sgd) == 0
    with fl.watch(model, sgd) as w:
        _train(model, sgd, w, 3)
    assert _hooks(model, sgd) == 0


def test_a_healthy_training_gets_no_finding() -> None:
    model = _mlp()
    sgd = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    with fl.watch(model, sgd) as w:
        _train(model, sgd, w, 200)
    assert len(w.findings) == 0
    assert w.steps == 200
    assert "nothing found" in str(w)
    assert "█" in str(w)


# ── what it sees


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 1.5, 2.5])
def test_overshoot_on_a_quadratic_is_rate_times_curvature_minus_one(rate: float) -> None:
    model = nn.Linear(1, 1, bias=False)
    sgd = torch.optim.SGD(model.parameters(), rate)
    with fl.watch(model, sgd, every=1) as w:
        for _ in range(5):
            loss = model.weight.square().sum() / 2  # curvature 1
            w.step(loss)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
    assert [s.overshoot for s in w.training.samples[:4]] == pytest.approx([rate - 1] * 4, rel=1e-3, abs=1e-3)
    assert w.training.sharpness == pytest.approx(1.0, rel=1e-5)


def test_norms_and_updates_are_those_of_the_tensors() -> None:
    model = _mlp()
    slow, fast = list(model.parameters())[:2], list(model.parameters())[2:]
    sgd = torch.optim.SGD([{"params": slow, "lr": 0.01}, {"params": fast, "lr": 0.1}])
    (x, y), *_ = _batches(1)
    with fl.watch(model, sgd, every=1) as w:
        loss = F.cross_entropy(model(x), y)
        w.step(loss)
        loss.backward()
        weights = [p.detach().clone() for p in model.parameters()]
        sgd.step()
        grads = [p.grad.clone() for p in model.parameters()]
        w.state_dict()
    (sample,) = w.training.samples
    rms = lambda ts: [float(t.square().mean().sqrt()) for t in ts]  # noqa: E731
    assert sample.gradient.tolist() == pytest.approx(rms(grads), rel=1e-5)
    assert sample.weight.tolist() == pytest.approx(rms(weights), rel=1e-5)
    assert sample.rate.tolist() == [0.01] * 2 + [0.1] * 4
    expected = [r * g for r, g in zip(sample.rate.tolist(), rms(grads), strict=True)]
    assert sample.update.tolist() == pytest.approx(expected, rel=1e-3)
    assert w.training.layers.names == tuple(n for n, _ in model.named_parameters())


def test_accumulated_gradients_are_one_step() -> None:
    model = _mlp()
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    with fl.watch(model, sgd, every=1) as w:
        for i, (x, y) in enumerate(_batches(12), start=1):
            loss = F.cross_entropy(model(x), y)
            w.step(loss)
            (loss / 4).backward()
            if i % 4 == 0:
                sgd.step()
                sgd.zero_grad()
    assert w.steps == 3
    assert w.training.curve.steps.tolist() == [1, 2, 3]


@pytest.mark.parametrize("fused", [False, True])
def test_a_gradient_scaler_is_seen_through(fused: bool) -> None:
    norms = []
    for scaled in (False, True):
        model = _mlp()
        adam = torch.optim.Adam(model.parameters(), 0.01, fused=fused)
        scaler = torch.amp.GradScaler("cpu", enabled=scaled, init_scale=1024.0)
        with fl.watch(model, adam, every=1) as w:
            for x, y in _batches(6):
                loss = F.cross_entropy(model(x), y)
                w.step(loss)
                adam.zero_grad()
                scaler.scale(loss).backward()
                scaler.step(adam)
                scaler.update()
        samples = w.training.samples[:-1]
        norms.append([s.norm for s in samples] + [s.overshoot for s in samples])
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_a_scaler_skips_are_no_fault(fused: bool) -> None:
    model = _mlp()
    adam = torch.optim.Adam(model.parameters(), 0.01, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with fl.watch(model, adam, every=1) as w:
        for i, (x, y) in enumerate(_batches(60)):
            loss = F.cross_entropy(model(x), y)
            w.step(loss)
            adam.zero_grad()
            scaler.scale(loss).backward()
            if i in (0, 30, 31):
                model[0].weight.grad[0] = math.inf
            scaler.step(adam)
            scaler.update()
    assert not _loud(w)


def test_closures_show_the_gradient_of_their_last_call() -> None:
    model = _mlp()
    lbfgs = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    with fl.watch(model, lbfgs, every=1) as w:
        for x, y in _batches(5):

            def closure(x: torch.Tensor = x, y: torch.Tensor = y) -> torch.Tensor:
                lbfgs.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                return loss

            w.step(lbfgs.step(closure))
    assert w.steps == 5
    assert all(math.isfinite(s.norm) and s.norm > 0 for s in w.training.samples)


def test_a_compiled_model_is_watched_under_its_own_names() -> None:
    model = _mlp()
    compiled = torch.compile(model, backend="eager")
    sgd = torch.optim.SGD(compiled.parameters(), 0.1)
    with fl.watch(compiled, sgd, every=1) as w:
        _train(compiled, sgd, w, 4)
    assert w.training.layers.names == tuple(n for n, _ in model.named_parameters())
    assert len(w.training.samples) == 4


def test_without_an_optimizer_the_loss_is_watched() -> None:
    with fl.watch(_mlp(), trivial=math.log(4)) as w:
        for i in range(100):
            w.step(1.386 + 0.001 * (i % 3))
    assert _loud(w) == {"trivial-plateau"}


# ── what it says


def test_a_rate_past_the_curvature_is_too_high() -> None:
    x = torch.randn(256, 4, generator=torch.Generator().manual_seed(0))
    y = x @ torch.tensor([[1.0], [2.0], [-1.0], [0.5]])
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    sgd = torch.optim.SGD(model.parameters(), 1.5)
    with fl.watch(model, sgd) as w:
        for _ in range(60):
            loss = F.mse_loss(model(x), y)
            w.step(loss)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
    assert {"learning-rate-too-high", "loss-diverged"} <= _loud(w)
    (high,) = w.findings.of("learning-rate-too-high")
    assert high.evidence[0].value == pytest.approx(1.5 * w.training.sharpness)
    assert high.evidence[0].threshold == 2
    # The rate that it gives trains.
    model = nn.Linear(4, 1)
    sgd = torch.optim.SGD(model.parameters(), 1.5)
    exec(high.fix(), {"optimizer": sgd})
    with fl.watch(model, sgd) as w:
        for _ in range(60):
            loss = F.mse_loss(model(x), y)
            w.step(loss)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
    assert not _loud(w)
    assert w.training.curve.loss[-1] < 0.1 * w.training.curve.loss[0]


def test_a_rate_far_too_low_is_told_from_a_bad_start() -> None:
    model = _mlp()
    sgd = torch.optim.SGD(model.parameters(), 1e-6)
    with fl.watch(model, sgd) as w:
        _train(model, sgd, w, 120)
    assert "learning-rate-too-low" in _loud(w)

    model = _mlp(depth=12)
    for p in model.parameters():
        nn.init.normal_(p, std=0.01)
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    with fl.watch(model, sgd) as w:
        _train(model, sgd, w, 120)
    assert not _loud(w) & {"learning-rate-too-low", "learning-rate-too-high"}
    (plateau,) = w.findings.of("trivial-plateau")
    assert "start" in plateau.cause
    assert "vanished-gradients" in _loud(w)


def test_a_light_with_findings_puts_the_start_first() -> None:
    model = _mlp()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    (x, y), *_ = _batches(1)
    light = fl.probe(model, x, y, F.cross_entropy)
    assert light.findings
    sgd = torch.optim.SGD(model.parameters(), 1e-6)
    with fl.watch(model, sgd, light=light) as w:
        _train(model, sgd, w, 100)
    (plateau,) = w.findings.of("trivial-plateau")
    assert light.findings[0].code in plateau.cause


def test_units_that_die_are_named() -> None:
    model = _mlp(width=16)
    sgd = torch.optim.SGD(model.parameters(), 0.01)
    with fl.watch(model, sgd, every=1) as w:
        _train(model, sgd, w, 20)
        with torch.no_grad():
            model[2].bias.fill_(-100.0)
            model[2].bias[0] = 1.0
        _train(model, sgd, w, 40)
    (dying,) = w.findings.of("dying-units")
    assert dying.where == "2.weight"
    assert dying.evidence[0].value == 15 / 16
    assert dying.step is not None
    assert dying.step > 20


class _Log(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(x)


@pytest.mark.parametrize("compiled", [False, True])
def test_nan_is_named_with_its_operation_before_it_reaches_the_weights(compiled: bool) -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), _Log(), nn.Linear(4, 4))
    run = torch.compile(model, backend="eager") if compiled else model
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(fl.FaultError, match="log") as caught, fl.watch(run, sgd, raise_on="error") as w:
        _train(run, sgd, w, 3)
    assert caught.value.finding.code == "non-finite-values"
    assert caught.value.finding.where == "2"
    assert caught.value.finding.step == 1
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_where_nan_came_from_outside_the_forward() -> None:
    model = _mlp()
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    x, y = next(_batches(1))
    with fl.watch(model, sgd) as w:
        x[0, 0] = math.nan
        w.step(F.cross_entropy(model(x), y))
    assert "inputs" in w.findings[0].cause
    with fl.watch(model, sgd) as w:
        w.step(F.cross_entropy(model(torch.zeros(4, 8)), y[:4]) * math.inf)
    assert "loss function" in w.findings[0].cause
    with torch.no_grad():
        model[2].weight[0] = math.nan
    with fl.watch(model, sgd) as w:
        w.step(F.cross_entropy(model(torch.zeros(4, 8)), y[:4]))
    assert w.findings[0].where == "2.weight"


def test_a_gradient_without_a_finite_slope_is_named() -> None:
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU())
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    with fl.watch(model, sgd, every=1) as w:
        for x, _ in _batches(2):
            loss = model(x).mul(0).sqrt().mean()
            w.step(loss)
            sgd.zero_grad()
            loss.backward()
            sgd.step()
    assert "non-finite-gradients" in _loud(w)


def test_over_fitting_is_a_note() -> None:
    with fl.watch(_mlp()) as w:
        for i in range(200):
            w.step(2.0 * 0.98**i)
            if i % 10 == 9:
                w.log(validation_loss=2.0 - i / 80 if i < 80 else 1.0 + (i - 80) / 80)
    assert not _loud(w)
    (over,) = w.findings.of("over-fitting")
    assert "no fault of the initial weights" in over.cause


def test_a_finding_is_said_once_with_its_step() -> None:
    said: list[fl.Finding] = []
    model = _mlp()
    sgd = torch.optim.SGD(model.parameters(), 1e-9)
    with fl.watch(model, sgd, callback=said.append) as w:
        _train(model, sgd, w, 300)
    assert [f.code for f in said] == [f.code for f in w.findings]
    assert len({f.code for f in said}) == len(said) > 0
    assert all(f.step is not None and 0 < f.step <= 300 for f in said)
    assert "trivial-plateau" in str(w)


def test_a_warning_raises_only_if_asked() -> None:
    for limit, raises in (("error", False), ("warning", True)):
        model = _mlp()
        sgd = torch.optim.SGD(model.parameters(), 30.0)
        caught = None
        try:
            with fl.watch(model, sgd, every=1, raise_on=limit) as w:
                _train(model, sgd, w, 4)
        except fl.FaultError as fault:
            caught = fault
        assert w.findings.of("update-too-large")
        assert (caught is not None) == raises


# ── the loop, the start or the rate


def _looped(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    w: fl.Watch,
    steps: int = 40,
    zeroed: bool = True,
    clip: float = 0,
) -> None:
    for x, y in _batches(steps):
        loss = F.cross_entropy(model(x), y)
        w.step(loss)
        if zeroed:
            optimizer.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()


def test_gradients_that_are_never_zeroed_are_named() -> None:
    model = _mlp()
    sgd = torch.optim.SGD(model.parameters(), 0.01)
    with fl.watch(model, sgd) as w:
        _looped(model, sgd, w, zeroed=False)
    (found,) = w.findings.of("exploded-gradients")
    assert "never zeroed" in found.cause
    assert not model[-1].bias._backward_hooks


@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_that_others_fill_in_between_are_zeroed_all_the_same(to_none: bool) -> None:
    """As a discriminator's are: the generator's backward comes before its own zero_grad."""
    model = _mlp()
    sgd = torch.optim.SGD(model.parameters(), 0.01)
    with fl.watch(model, sgd) as w:
        for x, y in _batches(40):
            model(x).mean().backward()
            sgd.zero_grad(set_to_none=to_none)
            for part in (slice(0, 16), slice(16, 32)):  # accumulated
                loss = F.cross_entropy(model(x[part]), y[part])
                w.step(loss)
                (loss / 2).backward()
            sgd.step()
    assert not w.training.unzeroed
    assert not _loud(w)


def test_steps_uphill_are_named() -> None:
    model = _mlp()
    sgd = torch.optim.SGD(model.parameters(), 0.01, 0.9, maximize=True)
    with fl.watch(model, sgd) as w:
        _looped(model, sgd, w, 60)
    (found,) = w.findings.of("flipped-loss")
    assert "up the slope" in found.cause
    assert not w.findings.of("learning-rate-too-high")


@pytest.mark.parametrize("fault", ["decay", "clip"])
def test_why_a_rate_has_become_too_low(fault: str) -> None:
    model = _mlp()
    sgd = torch.optim.SGD(model.parameters(), 0.02)
    decay = torch.optim.lr_scheduler.ExponentialLR(sgd, 0.7 if fault == "decay" else 1.0)
    with fl.watch(model, sgd) as w:
        for x, y in _batches(120):
            loss = F.cross_entropy(model(x), y)
            w.step(loss)
            sgd.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1e-4 if fault == "clip" else 1e4)
            sgd.step()
            decay.step()
    (found,) = w.findings.of("learning-rate-too-low")
    assert {"decay": "decayed to", "clip": "clipped to a norm of 0.0001"}[fault] in found.cause


def test_a_start_that_explodes_is_not_called_a_rate_too_high() -> None:
    model = _mlp(depth=12)
    with torch.no_grad():
        for layer in model[:-1]:
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(0, 4 * (2 / layer.in_features) ** 0.5)
    sgd = torch.optim.SGD(model.parameters(), 0.01)
    with fl.watch(model, sgd) as w:
        _looped(model, sgd, w, 4)
        w.check()
    assert _loud(w)
    assert not w.findings.of("learning-rate-too-high")
    assert any("start is the likelier" in f.cause for f in w.findings)


def test_what_is_learned_by_heart_is_told_without_a_validation_loss() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(1024, 8, generator=g), torch.randint(4, (1024,), generator=g)
    told = []
    for labels in (y, (x @ torch.randn(8, 4, generator=g)).argmax(1)):
        model = _mlp(256)
        adam = torch.optim.Adam(model.parameters(), 2e-3)
        with fl.watch(model, adam, every=2) as w:
            for _ in range(250):
                chosen = torch.randint(1024, (64,), generator=g)
                loss = F.cross_entropy(model(x[chosen]), labels[chosen])
                w.step(loss)
                adam.zero_grad()
                loss.backward()
                adam.step()
        told.append(w)
    (found,) = told[0].findings.of("over-fitting")
    assert found.severity is Severity.NOTE
    assert "by heart" in found.cause
    assert not told[1].findings
    assert "over-fitting cannot be told" in str(told[1])


def test_a_loss_that_is_not_what_the_steps_minimize_is_no_fault() -> None:
    model = _mlp()
    sgd = torch.optim.SGD(model.parameters(), 0.03, 0.9)
    g = torch.Generator().manual_seed(0)
    with fl.watch(model, sgd, every=1) as w:
        for x, y in _batches(200):
            w.step(1.386 + 0.01 * float(torch.randn((), generator=g)))
            sgd.zero_grad()
            F.cross_entropy(model(x), y).backward()
            sgd.step()
    assert not _loud(w)
    (stuck,) = w.findings.of("loss-stuck")
    assert "not what they add up to" in stuck.cause


def test_an_optimizer_that_never_steps_is_named() -> None:
    model = _mlp()
    sgd = torch.optim.SGD(model.parameters(), 0.1)
    with fl.watch(model, sgd) as w:
        for x, y in _batches(60):
            w.step(F.cross_entropy(model(x), y))
    assert "not stepped once" in w.findings.of("update-too-small")[0].cause


def test_a_note_that_becomes_a_fault_is_said_again() -> None:
    with fl.watch(_mlp()) as w:
        for i in range(400):
            w.step(max(2.0 - i / 60, 0.5) + (1.5 if 60 <= i < 70 else 0) + max(0, i - 150) / 100)
    assert [f.severity for f in w.findings.of("loss-rising")] == [Severity.NOTE, Severity.WARNING]


def test_zero_rows_are_those_without_any_value() -> None:
    for tiny in (1.0, 1e-30, 1e-44):
        grad = torch.zeros(4, 3)
        grad[0, 1] = grad[2, 0] = tiny
        assert _zero_rows(grad).tolist() == [False, True, False, True]
    assert _zero_rows(torch.ones(2, 2)) is None


# ── checkpoints


@pytest.mark.parametrize("at", [7, 60, 61])
def test_a_restored_watch_goes_on_exactly(at: int) -> None:
    def run(cut: bool) -> fl.Watch:
        model = _mlp()
        sgd = torch.optim.SGD(model.parameters(), 1e-9)
        w = fl.watch(model, sgd, every=1)
        with w:
            _train(model, sgd, w, at, seed=1)
            saved = w.state_dict()
            if not cut:
                _train(model, sgd, w, 120, seed=2)
        if cut:
            file = io.BytesIO()
            torch.save(saved, file)
            file.seek(0)
            w = fl.watch(model, sgd, every=1)
            w.load_state_dict(torch.load(file, weights_only=True))
            with w:
                _train(model, sgd, w, 120, seed=2)
        return w

    one, other = run(cut=False), run(cut=True)
    assert one.findings == other.findings
    assert len(one.findings) > 0
    assert one.training.curve.loss.tolist() == other.training.curve.loss.tolist()
    assert [s.norm for s in one.training.samples] == [s.norm for s in other.training.samples]


def test_another_models_state_is_refused() -> None:
    state = fl.watch(_mlp(depth=2)).state_dict()
    with pytest.raises(fl.ArgumentError, match=r"4\.weight"):
        fl.watch(_mlp(depth=3)).load_state_dict(state)
    with pytest.raises(fl.ArgumentError, match="no state"):
        fl.watch(_mlp()).load_state_dict({})


# ── arguments


@pytest.mark.parametrize(
    "arguments",
    [{"every": 0}, {"budget": 0.0}, {"budget": 2.0}, {"trivial": math.nan}, {"raise_on": "sometimes"}],
)
def test_arguments_out_of_range_are_errors(arguments: dict[str, Any]) -> None:
    with pytest.raises(fl.ArgumentError, match=next(iter(arguments))):
        fl.watch(_mlp(), **arguments)


def test_losses_that_are_none_are_errors() -> None:
    with fl.watch(_mlp()) as w:
        with pytest.raises(fl.ArgumentError, match="shape"):
            w.step(torch.zeros(3))
        with pytest.raises(fl.ArgumentError, match="str"):
            w.step("1.0")


def test_an_optimizer_of_another_model_is_an_error() -> None:
    with pytest.raises(fl.ModelError, match="none of the model"):
        fl.watch(_mlp(), torch.optim.SGD(_mlp().parameters(), 0.1))


def test_several_optimizers_are_one_step() -> None:
    model = _mlp()
    parts = list(model.parameters())
    both = [torch.optim.SGD(parts[:2], 0.1), torch.optim.Adam(parts[2:], 0.01)]
    with fl.watch(model, both, every=1) as w:
        for x, y in _batches(5):
            loss = F.cross_entropy(model(x), y)
            w.step(loss, validation=1.5)
            model.zero_grad()
            loss.backward()
            for optimizer in both:
                optimizer.step()
    assert w.steps == 5
    assert all((s.update > 0).all() for s in w.training.samples)
    assert w.training.samples[0].rate.tolist() == [0.1] * 2 + [0.01] * 4
    assert w.training.curve.validation.tolist() == [1.5] * 5


# ── its parts


@given(cost=st.floats(1e-5, 1.0), step=st.floats(1e-4, 1.0), budget=st.floats(0.005, 0.5))
@settings(max_examples=60, deadline=None)
def test_the_schedule_keeps_to_its_budget(cost: float, step: float, budget: float) -> None:
    schedule = Schedule(None, budget)
    spent, n = 0.0, 3000
    for i in range(1, n + 1):
        schedule.steps.append(step)
        if schedule.due(i):
            schedule.costs.append(cost)
            schedule.measured(i, schedule.cost())
            spent += cost
    rest = (CHECKING * step + PASSING) * n  # for rules, and for steps that are not measured
    within = max(budget * n * step - rest, LEAST * budget * n * step)
    # The budget, the first steps, the allowance, and one sample that may begin before its time is up.
    assert COLD * spent <= within + COLD * ((EARLY + 2) * cost + ALLOWANCE + cost)


@given(cost=st.floats(1e-4, 0.1), step=st.floats(1e-4, 1.0))
@settings(max_examples=60, deadline=None)
def test_rules_keep_to_their_share_of_the_time(cost: float, step: float) -> None:
    schedule = Schedule(None, 0.01)
    schedule.steps.append(step)
    spent, at, n = 0.0, 20, 5000
    while at <= n:
        spent += cost
        at = max(int(1.3 * at) + 1, schedule.checked(at, cost))
    assert spent <= CHECKING * n * step + ALLOWANCE + 2 * cost
    assert Schedule(10, 0.01).checked(100, 1e9) == 0  # by steps alone: the same ones each time


def test_trivial_losses_are_those_of_the_best_constant() -> None:
    g = torch.Generator().manual_seed(0)
    y = torch.tensor([0, 0, 0, 1, 2, 2]).repeat(200)
    p = torch.tensor([3 / 6, 1 / 6, 2 / 6])
    real, binary = torch.randn(1200, 2, generator=g), (torch.rand(1200, 1, generator=g) < 0.3).float()
    model = nn.Linear(1, 3)
    outputs = model(torch.zeros(1200, 1))
    share = binary.mean()
    entropy = float(-share * share.log() - (1 - share) * (1 - share).log())
    for loss, expected in (
        (F.cross_entropy(outputs, y), float(-(p * p.log()).sum())),
        (F.cross_entropy(outputs[:, :1].expand(-1, 7), y * 0 + torch.arange(1200) % 7), math.log(7)),
        (F.mse_loss(outputs[:, :2], real), float(real.var(0, correction=0).mean())),
        (F.binary_cross_entropy_with_logits(outputs[:, :1], binary), entropy),
        (F.binary_cross_entropy(outputs[:, :1].sigmoid(), binary), entropy),
    ):
        targets = Targets()
        targets.see(loss)
        assert targets.trivial == pytest.approx(expected, abs=2e-3)  # Miller's correction is (K - 1) / 2N
        loss.backward(retain_graph=True)
    for unknown in (outputs.sum(), F.cross_entropy(outputs, y, reduction="sum"), F.mse_loss(outputs, outputs) / 2):
        targets = Targets()
        targets.see(unknown)
        assert targets.trivial is None


def test_sharpness_is_the_largest_eigenvalue() -> None:
    g = torch.Generator().manual_seed(0)
    a = torch.randn(6, 6, generator=g)
    hessian = a @ a.T
    p = nn.Parameter(torch.randn(6, generator=g))
    loss = p @ hessian @ p / 2
    assert sharpness(loss, [p], products=60) == pytest.approx(float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-4)
    assert sharpness(loss, [p], products=2) <= float(torch.linalg.eigvalsh(hessian)[-1]) * (1 + 1e-5)
    loss.backward()  # the graph is still there
    assert sharpness(p.sum(), [p]) is None


def test_diagnose_takes_a_run(tmp_path: Path) -> None:
    flat = [2.3 + 0.001 * (i % 5) for i in range(100)]
    log = tmp_path / "log.txt"
    log.write_text("\n".join(map(str, flat)))
    for given_ in (flat, log, str(log), fl.read_log(log)):
        assert [f.code for f in fl.diagnose(given_)] == ["loss-stuck"]
    with pytest.raises(fl.ArgumentError, match="no light"):
        fl.diagnose(3)
