"""A record is read, saved, drawn and laid beside a prediction or another record."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import firstlight as fl
from firstlight.probes import Kind, Light, measure
from firstlight.probes.comparing import compare, initialized

from .nets import normal, plain, small

X, Y = normal(32, 16), torch.arange(32) % 4


@pytest.fixture(scope="module")
def light() -> Light:
    return measure(small(), X, Y, lr=0.1, jacobian=True)


def test_json_gives_the_same_record_and_refuses_what_is_none(light: Light, tmp_path: Path) -> None:
    path = tmp_path / "light.json"
    text = light.to_json(path)
    assert Light.from_json(text) == light == Light.from_json(path)
    json.loads(text)
    whole = json.loads(text)
    for broken, words in (
        ("nonsense", "no probe's JSON"),
        ("{}", "firstlight_light"),
        (json.dumps({**whole, "firstlight_light": 99}), "version 99"),
        (json.dumps({**whole, "batch": "many"}), "the probe.batch"),
        (json.dumps({k: v for k, v in whole.items() if k != "places"}), "lacks 'places'"),
    ):
        with pytest.raises(fl.ArgumentError, match=words):
            Light.from_json(broken)
    with pytest.raises(fl.ArgumentError, match="cannot read"):
        Light.from_json(tmp_path / "nowhere.json")
    with pytest.raises(fl.ArgumentError, match="cannot write"):
        light.to_json(tmp_path / "no" / "folder.json")


def test_numbers_that_json_lacks_come_back(tmp_path: Path) -> None:
    model = plain(16, 4, nn.ReLU, 1.0)
    with torch.no_grad():
        model[0].weight[0, 0] = torch.inf
    broken = measure(model, X)
    assert broken.origin is not None
    assert Light.from_json(broken.to_json()) == broken


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_text_keeps_to_its_width_and_names_every_place(light: Light, width: int) -> None:
    lines = light.table(width).split("\n")
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for words in ("loss", "E[x²]", "batch_norm", "inputs → outputs", "∂output/∂input"):
        assert words in text
    assert sum(line.startswith(("0 ", "4 ", "6 ")) for line in lines) == 3
    assert str(light) == light.table(100)


def test_many_places_share_rows_and_few_do_not() -> None:
    deep = measure(plain(16, 30, nn.ReLU, 1.4), X)
    table = deep.table(100)
    assert "0–58 ×30" in table
    assert "0–58" not in deep.table(100, collapse=False)
    assert len(deep.table(100).split("\n")) < len(deep.table(100, collapse=False).split("\n"))


def test_columns_have_an_entry_for_each_place(light: Light) -> None:
    columns = light.columns()
    assert {len(v) for v in columns.values()} == {len(light)}
    assert columns["second"] == [p.forward.second if p.forward else None for p in light]
    assert columns["grad_second"][0] is None
    assert columns["kind"][1] == "weight"


def test_a_frame_needs_pandas(light: Light, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(fl.MissingExtraError, match=r"firstlight\[pandas\]"):
        light.to_frame()


def test_a_frame_holds_the_columns(light: Light) -> None:
    pandas = pytest.importorskip("pandas")
    assert light.to_frame().equals(pandas.DataFrame(light.columns()))


def test_the_figure_and_the_page_hold_the_numbers(light: Light) -> None:
    figure = light.plot()
    assert [len(trace.x) for trace in figure.data] == [3, 3]
    page = light.html()
    assert page.startswith("<!doctype html>") or page.lower().lstrip().startswith("<!doctype html>")
    assert "0.weight" in page
    assert "batch_norm" in page


def test_prediction_and_measurement_stand_side_by_side() -> None:
    model = plain(512, 6, nn.ReLU, 1.0)
    x = normal(64, 512)
    plan = fl.plan(model, x, "he_normal")
    fl.apply_(model, plan, seed=0)
    beside = measure(model, x).against(plan)
    assert [p.place.module for p in beside.pairs] == ["0", "2", "4", "6", "8", "10"]
    assert all(p.known for p in beside.pairs)
    # A layer's factor has a standard deviation of √(5/512).
    assert beside.error < 6 * (5 / 512 * 6) ** 0.5 / 2
    assert beside.worst in beside.pairs
    assert "he_normal" in str(beside)
    with pytest.raises(fl.ArgumentError, match="plan of that model"):
        measure(small(), X, Y).against(plan)
    with pytest.raises(fl.ArgumentError, match="no traced graph"):
        Light.from_json(measure(model, x).to_json()).against(plan)


def test_a_model_without_values_is_predicted_as_one_with_them_is_measured() -> None:
    with torch.device("meta"):
        empty = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 10))
    x = normal(64, 512)
    predicted = measure(empty, x)
    assert predicted.analytic
    assert all(p.is_meta for p in empty.parameters())
    full = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 10))
    fl.init_(full, "torch", seed=0)
    measured = measure(full, x)
    pairs = list(zip(predicted.places, measured.places, strict=True))
    for a, b in pairs:
        assert (a.kind, a.depth, a.shape, a.parameters) == (b.kind, b.depth, b.shape, b.parameters)
        assert a.forward is not None
        assert b.forward is not None
        if a.depth < 3:  # ten units at the end scatter by a third
            assert a.forward.second == pytest.approx(b.forward.second, rel=6 * (5 / 512 * 2) ** 0.5)
            assert a.forward.cosine == pytest.approx(b.forward.cosine, abs=0.05)
    for a, b in zip(predicted.weights, measured.weights, strict=True):
        if b.count > 100:
            assert a.second == pytest.approx(b.second, rel=6 * (0.8 / b.count) ** 0.5)  # of uniform values
    assert Light.from_json(predicted.to_json()) == predicted
    by_plan = measure(full, x, plan=fl.plan(full, x, "he_normal"))
    assert by_plan.analytic
    assert by_plan.of(Kind.WEIGHT)[0].forward.second == pytest.approx(2.0, rel=0.05)  # type: ignore[union-attr]


def test_a_model_without_values_needs_a_plan_where_torch_has_no_default() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(16, 4, device="meta"))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight

    with pytest.raises(fl.ModelError, match=r"'weight'.*plan=fl.plan"):
        measure(Own(), X)
    assert measure(Own(), X, plan=fl.plan(Own(), X)).analytic


def test_schemes_are_laid_over_one_another() -> None:
    model = plain(16, 8, nn.ReLU, 1.0)
    found = compare(initialized(model, ["torch", "he_normal"], X), X)
    assert list(found.lights) == ["torch", "he_normal"]
    text = found.table(80)
    assert max(map(len, text.split("\n"))) <= 80
    assert "● torch" in text
    assert "○ he_normal" in text
    assert text.count("○") > 8
    assert len(found.plot().data) == 4
    assert "he_normal" in found.html()
    assert set(json.loads(found.to_json())["lights"]) == {"torch", "he_normal"}
    again = compare({"a": found["torch"], "b": model}, X)
    assert again["a"] is found["torch"]


def test_what_cannot_be_compared_is_said() -> None:
    for what, words in (
        ({}, "one to 8"),
        ({"a": nn.Linear(2, 2)}, "inputs="),
        ({"a": "he_normal"}, "'a' is str"),
    ):
        with pytest.raises(fl.ArgumentError, match=words):
            compare(what)  # type: ignore[arg-type]


def test_the_public_verb_measures_and_diagnoses() -> None:
    light = fl.probe(small(), X, Y)
    assert isinstance(light, fl.Light)
    assert light.bare() == measure(small(), X, Y).bare()
    assert str(light.findings) in str(light)
    assert fl.probe.compare({"a": light})["a"] is light


def test_a_loop_shows_its_first_and_last_turn():
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(5):
                x = self.layer(x)
            return x

    torch.manual_seed(0)
    light = measure(Loop(), torch.randn(32, 8), torch.randn(32, 8))
    assert Light.from_json(light.to_json()).places == light.places
    row = next(line for line in light.table().split("\n") if line.startswith("layer ↻5"))
    assert row.count("→") == 2
    assert "turns of a loop" in light.table()
