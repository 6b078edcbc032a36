"""The zoo is measured and comes back as it was: architectures of transformers, and hand-written ones."""

from __future__ import annotations

import pytest
import torch

import firstlight as fl
from firstlight.probes import Kind, measure
from zoo.huggingface import MODELS, build
from zoo.tables import TABLES

pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")
QUICK = ("gpt2", "llama", "bert", "t5", "vit", "resnet", "swin", "mamba", "beit")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in MODELS])
def test_an_architecture_is_measured_and_comes_back(name: str) -> None:
    model, inputs = build(name)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    light = measure(model, inputs)
    assert light.notes == ()
    placed = {n for p in light for n in p.parameters}
    called = [
        w for w in light.weights if w.used and w.role in ("linear weight", "conv weight", "attention q/k/v weight")
    ]
    missing = [w.name for w in called if w.name not in placed and "position" not in w.name]
    assert missing == []
    maps = [p for p in light if p.kind in (Kind.WEIGHT, Kind.JOIN, Kind.NORM, Kind.ATTENTION)]
    assert all(p.forward is not None and p.forward.nonfinite == 0 for p in maps)
    assert all(p.node is not None for p in maps)
    assert sum(p.backward is not None for p in maps) > 0.8 * len(maps)
    after = model.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    with torch.no_grad():
        model(**inputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_a_hand_written_network_is_measured_and_comes_back(name: str) -> None:
    torch.manual_seed(0)
    make, inputs, _ = TABLES[name]
    model, x = make(), inputs() if callable(inputs) else inputs
    before = {k: v.clone() for k, v in model.state_dict().items()}
    light = fl.probe(model, x)
    assert light.notes == ()
    assert light.of(Kind.WEIGHT)
    assert "E[x²]" in str(light)
    assert fl.Light.from_json(light.to_json()) == light
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
