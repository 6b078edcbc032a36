"""``load_``: every parameter once in the report, all or nothing in the model, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import firstlight as fl
from firstlight.errors import ArgumentError, TransferError, UncoveredParameterError
from firstlight.transfers import Source, open_source
from firstlight.writers import undo
from models import Tied
from transfers.twins import GPT, ResNet, ViT


def values(model: nn.Module) -> dict[str, torch.Tensor]:
    return {n: t.clone() for n, t in model.state_dict().items()}


def same(model: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


class Broken(Source):
    """Raises when a tensor is read for the ``k``-th time in all, or whatever ``act`` does."""

    __slots__ = ("act", "count", "k", "source")

    def __init__(self, state: dict[str, torch.Tensor], k: int, act=None) -> None:
        self.source, self.k, self.count, self.act = open_source(state), k, 0, act

    @property
    def label(self) -> str:
        return "a broken disk"

    @property
    def tensors(self):
        return self.source.tensors

    def read(self, name: str, index=None) -> torch.Tensor:
        self.count += 1
        if self.count == self.k:
            if self.act is not None:
                self.act()
            else:
                raise TransferError(f"{self.label}: {name!r} cannot be read")
        return self.source.read(name, index)


def interrupt() -> None:
    raise KeyboardInterrupt


def test_the_report_has_every_parameter_and_buffer_once() -> None:
    model, source = ResNet(classes=5), ResNet()
    model.register_buffer("scale", torch.ones(1))
    model.register_buffer("grid", torch.arange(4), persistent=False)
    report = fl.load_(model, source)
    names = [o.name for o in report]
    expected = [*dict(model.named_parameters()), *dict(model.named_buffers())]
    assert sorted(names) == sorted(expected)
    assert len(report.loaded) + len(report.adapted) + len(report.fresh) + len(report.kept) == len(report)
    assert {o.name for o in report.fresh} == {"fc.weight", "fc.bias"}
    assert {o.name for o in report.kept} == {"scale", "grid"}
    assert {u.name for u in report.unused} == {"fc.weight", "fc.bias"}
    assert "running statistics of 10 batch norms loaded" in str(report)
    assert str(report).startswith(report.summary)


def test_the_report_is_json(tmp_path: Path) -> None:
    report = fl.load_(ResNet(), ResNet())
    report.to_json(tmp_path / "r.json")
    read = json.loads((tmp_path / "r.json").read_text())
    assert read["summary"] == report.summary
    assert len(read["outcomes"]) == len(report)
    assert "model" not in read
    with pytest.raises(ArgumentError, match="cannot write"):
        report.to_json(tmp_path)


def test_statistics_and_saved_buffers_are_loaded() -> None:
    source, model = ResNet(), ResNet()
    for m in (source, model):
        m.register_buffer("codebook", torch.zeros(3, 2))
        m.register_buffer("table", torch.zeros(4, dtype=torch.int64))
    source.codebook.normal_()
    source.table.copy_(torch.arange(4))
    source(torch.randn(8, 3, 16, 16))
    fl.load_(model, source)
    assert same(model, values(source))


def test_a_norm_without_statistics_is_noted() -> None:
    state = {n: t for n, t in ResNet().state_dict().items() if "running" not in n}
    report = fl.load_(ResNet(), state)
    assert any("no running statistics for 10" in n for n in report.notes)


@pytest.mark.parametrize("held", [torch.float16, torch.bfloat16, torch.float64])
def test_a_changed_dtype_is_named(held: torch.dtype) -> None:
    source, model = ViT().to(held), ViT()
    report = fl.load_(model, source)
    word = str(held).removeprefix("torch.")
    assert f"{len(report)} tensors {word} → float32" in report.notes
    assert torch.equal(model.norm.weight, source.norm.weight.float())


def test_a_tied_tensor_is_loaded_once_and_named() -> None:
    source, model = GPT(), GPT()
    report = fl.load_(model, source)
    assert model.head.weight is model.tok_emb.weight
    assert torch.equal(model.head.weight, source.head.weight)
    assert "head.weight = tok_emb.weight: tied, loaded once" in report.notes
    assert report["tok_emb.weight"] is report["head.weight"]


def test_an_untied_source_of_a_tied_model_is_noted() -> None:
    state = {n: t.clone() for n, t in Tied().state_dict().items()}
    report = fl.load_(Tied(), state)
    assert [(u.name, u.why) for u in report.unused] == [("head.weight", "the model ties it to 'embed.weight'")]


def test_weights_may_change_places_within_one_model() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    first, second = (layer.weight.clone() for layer in model)
    fl.load_(model, model, rename={"0.weight": "1.weight", "1.weight": "0.weight"})
    assert torch.equal(model[0].weight, second)
    assert torch.equal(model[1].weight, first)


def test_a_padding_row_is_loaded_as_it_is() -> None:
    source, model = nn.Embedding(5, 4, padding_idx=2), nn.Embedding(5, 4, padding_idx=2)
    with torch.no_grad():
        source.weight.fill_(3)
    fl.load_(model, source)
    assert (model.weight == 3).all()


def test_what_is_fresh_is_drawn_by_the_scheme_or_kept() -> None:
    source = ResNet()
    zero, kept, again = ResNet(classes=5), ResNet(classes=5), ResNet(classes=5)
    before = values(kept)
    fl.load_(zero, source, fresh="zeros")
    fl.load_(kept, source, fresh="keep")
    assert not zero.fc.weight.any()
    assert torch.equal(kept.fc.weight, before["fc.weight"])
    fl.load_(again, source, fresh="he_normal", rules={"fc.weight": fl.Constant(0.5)})
    assert (again.fc.weight == 0.5).all()


def test_skipped_parameters_stay_fresh() -> None:
    source, model = ResNet(), ResNet()
    report = fl.load_(model, source, skip="fc.*", fresh="zeros")
    assert not model.fc.weight.any()
    assert "skipped by 'fc.*'" in report["fc.weight"].why
    with pytest.raises(ArgumentError, match="means no parameter"):
        fl.load_(model, source, skip=["fcc.*"])


def test_frozen_parameters_are_loaded_too() -> None:
    source, model = ViT(), ViT().requires_grad_(False)
    assert fl.load_(model, source).share == 1
    assert torch.equal(model.norm.weight, source.norm.weight)
    assert not model.norm.weight.requires_grad


def test_nothing_matched_is_an_error_unless_asked_for() -> None:
    model = ViT()
    before = values(model)
    with pytest.raises(TransferError, match=r"only 0\.0 %.*random") as caught:
        fl.load_(model, {"other.weight": torch.ones(3, 5)})
    assert "other.weight (3, 5)" in str(caught.value)
    assert same(model, before)
    with pytest.warns(UserWarning, match="LITTLE MATCHED"):
        report = fl.load_(model, {"norm.weight": torch.ones(16)}, require=0, fresh="keep")
    assert report.share < 0.5


@pytest.mark.parametrize("require", [-0.1, 1.5, True, "all"])
def test_require_is_a_share(require: object) -> None:
    with pytest.raises(ArgumentError, match="share from 0 to 1"):
        fl.load_(ViT(), ViT(), require=require)  # type: ignore[arg-type]


def test_requiring_everything_refuses_a_new_head() -> None:
    model = ResNet(classes=5)
    before = values(model)
    with pytest.raises(TransferError, match=r"100 % are required"):
        fl.load_(model, ResNet(), require=1)
    assert same(model, before)


@pytest.mark.parametrize("k", [1, 2, 7, 30])
@pytest.mark.parametrize("act", [None, interrupt], ids=["error", "interrupt"])
def test_a_source_that_fails_leaves_the_model_as_it_was(k: int, act) -> None:
    model, state = ResNet(classes=5), ResNet().state_dict()
    before = values(model)
    with pytest.raises(TransferError if act is None else KeyboardInterrupt):
        fl.load_(model, Broken(state, k, act))
    assert same(model, before)


def reads(model: nn.Module, state: dict[str, torch.Tensor]) -> int:
    """How many reads a load takes."""
    source = Broken(state, 10**9)
    fl.load_(model, source)
    return source.count


def test_failing_at_the_very_last_read_undoes_all_writes() -> None:
    state = {n: torch.randn_like(t) if t.is_floating_point() else t for n, t in ResNet().state_dict().items()}
    count = reads(ResNet(), state)
    for k in (count, count - 1, count // 2 + 1):
        model = ResNet()
        before = values(model)
        with pytest.raises(TransferError):
            fl.load_(model, Broken(state, k))
        assert same(model, before)


@pytest.fixture
def hearing() -> Iterator[None]:
    """Started in the background by a shell, pytest itself would be deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hearing")
def test_ctrl_c_during_the_writes_undoes_them() -> None:
    state = {n: torch.randn_like(t) if t.is_floating_point() else t for n, t in ResNet().state_dict().items()}
    count = reads(ResNet(), state)
    model = ResNet()
    before = values(model)
    with pytest.raises(KeyboardInterrupt):
        fl.load_(model, Broken(state, count, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert same(model, before)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("hearing")
def test_of_a_large_model_an_interrupt_waits_until_all_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undo, "MOST_KEPT", 0)
    state = {n: torch.randn_like(t) if t.is_floating_point() else t for n, t in ResNet().state_dict().items()}
    count = reads(ResNet(), state)
    model = ResNet()
    with pytest.raises(KeyboardInterrupt):
        fl.load_(model, Broken(state, count, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert same(model, state)


def test_nan_is_refused_and_may_be_allowed() -> None:
    model, state = ViT(), ViT().state_dict()
    state["norm.weight"] = state["norm.weight"].clone()
    state["norm.weight"][3] = float("nan")
    before = values(model)
    with pytest.raises(TransferError, match=r"'norm\.weight'.*NaN"):
        fl.load_(model, state)
    assert same(model, before)
    fl.load_(model, state, allow_nonfinite=True)
    assert model.norm.weight[3].isnan()


def test_quantised_and_whole_numbers_are_no_weights() -> None:
    state = ViT().state_dict()
    state["norm.weight"] = torch.ones(16, dtype=torch.int8)
    state["norm.bias"] = torch.ones(16).to(torch.float8_e4m3fn)
    report = fl.load_(ViT(), state, fresh="keep")
    assert "int8" in report["norm.weight"].why
    assert "scales" in report["norm.bias"].why


def test_a_parameter_nobody_knows_and_nothing_matches_is_an_error() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.gamma = nn.Linear(4, 4), nn.Parameter(torch.ones(7))

    model = Model()
    before = values(model)
    with pytest.raises(UncoveredParameterError, match="gamma"):
        fl.load_(model, {"linear.weight": torch.ones(4, 4), "linear.bias": torch.ones(4)})
    assert same(model, before)


def test_a_meta_model_is_made_where_it_is_asked_for(tmp_path: Path) -> None:
    source = ResNet()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    with torch.device("meta"):
        model = ResNet()
    fl.load_(model, tmp_path / "w.safetensors", device="cpu")
    assert same(model, values(source))


def test_the_global_random_state_is_left_alone() -> None:
    source, model = ResNet(), ResNet(classes=5)
    state = torch.get_rng_state()
    fl.load_(model, source, inputs=torch.zeros(2, 3, 16, 16))
    assert torch.equal(state, torch.get_rng_state())


def test_a_check_finds_inputs_normalized_in_another_way() -> None:
    generator = torch.Generator().manual_seed(0)
    source, pictures = ResNet(), torch.rand(64, 3, 16, 16, generator=generator)
    fl.init_(source, "he_normal")
    for _ in range(60):
        source(pictures)
    model = ResNet()
    report = fl.load_(model, source)
    before = values(model)
    model.train()
    assert report.check(pictures).ok, str(report.check(pictures))
    off = report.check((pictures - 0.45) / 0.225)
    assert not off.ok
    assert "normalized in another way" in str(off)
    assert "bn1" in str(off)
    assert same(model, before)
    assert model.training
    assert report.check(pictures).norms[0].shift < 0.2


def test_a_check_finds_a_signal_that_does_not_travel() -> None:
    source = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    with torch.no_grad():
        source[0].weight.mul_(1e-6)
        source[0].bias.zero_()
        source[2].bias.zero_()
    report = fl.load_(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)), source)
    assert "vanishes" in str(report.check(torch.randn(16, 8)))


def test_a_plan_may_start_from_weights(tmp_path: Path) -> None:
    source, model = ResNet(), ResNet(classes=5)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    made = fl.plan(model, torch.zeros(2, 3, 16, 16), f"pretrained({tmp_path / 'w.safetensors'}, fresh=auto)")
    assert "w.safetensors" in made["conv1.weight"].entries[0].reason
    fl.apply_(model, made)
    assert torch.equal(model.conv1.weight, source.conv1.weight)
    assert torch.equal(model.bn1.running_mean, source.bn1.running_mean)
