"""Against numbers recorded from Keras and JAX (tools/record_keras_jax.py): the same distributions at the same fans."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import firstlight as fl
from firstlight.initializers import Initializer, Layout, Sampled, sample

FILE = json.loads((Path(__file__).parent / "recorded_keras_jax.json").read_text())
RECORDED = [r for r in FILE["recorded"] if "std" in r]
CUT = "truncated_normal"


def ours(library: str, name: str) -> Initializer:
    """The initializer of ours that defines the same as theirs."""
    by_name: dict[str, Initializer] = {
        "glorotuniform": fl.GlorotUniform(),
        "glorotnormal": fl.VarianceScaling(1.0, "fan_avg", CUT),
        "heuniform": fl.HeUniform(),
        "henormal": fl.VarianceScaling(2.0, "fan_in", CUT),
        "lecununiform": fl.LecunUniform(),
        "lecunnormal": fl.VarianceScaling(1.0, "fan_in", CUT),
        "randomnormal": fl.Normal(std=0.05),
        "normal": fl.Normal(std=0.05),
        "randomuniform": fl.Uniform(-0.05, 0.05),
        "uniform": fl.Uniform(0.0, 0.05),
        "truncatednormal": fl.TruncatedNormal(std=0.05),
    }
    words = name.split()
    if len(words) == 3:
        return fl.VarianceScaling(2.0, words[1], words[2].replace("untruncated_normal", "normal"))
    return by_name[name.replace("_", "").lower()]


def layout(kind: str, shape: list[int]) -> Layout:
    """Their axes (kernel, inputs, outputs) in ours (outputs, inputs, kernel)."""
    turned = (shape[-1], shape[-2], *shape[:-2])
    return Layout.mapping(turned) if kind == "dense" else Layout.conv(turned)


@pytest.mark.parametrize("entry", RECORDED, ids=lambda r: f"{r['library']}-{r['name']}-{r['kind']}")
def test_moments_and_bounds_agree(entry: dict) -> None:
    """Over 10⁶ of their draws: std within 6 standard errors (kurtosis ≤ 3), mean too; range within our bounds."""
    draw = ours(entry["library"], entry["name"]).draw(layout(entry["kind"], entry["shape"]))
    assert isinstance(draw, Sampled)
    n = math.prod(entry["shape"])
    assert entry["std"] == pytest.approx(draw.std, rel=6 / math.sqrt(2 * n))
    assert entry["mean"] == pytest.approx(draw.mean, abs=6 * draw.std / math.sqrt(n))
    values = sample(ours(entry["library"], entry["name"]), layout(entry["kind"], entry["shape"]), seed=1)
    if draw.transform.kind != "normal":  # a normal has no bounds to agree on
        assert entry["max"] == pytest.approx(values.max().item(), rel=2e-3, abs=1e-6 + 2e-3 * draw.std)
        assert entry["min"] == pytest.approx(values.min().item(), rel=2e-3, abs=1e-6 + 2e-3 * draw.std)


@pytest.mark.parametrize(
    ("name", "initializer"),
    [
        ("STFT real", fl.Stft("real", "hann", "density", False)),
        ("STFT imag", fl.Stft("imag", "hamming", "spectrum", True)),
    ],
)
def test_stft_is_keras(name: str, initializer: fl.Stft) -> None:
    theirs = torch.tensor(next(r for r in FILE["recorded"] if r["name"] == name)["values"])
    values = sample(initializer, Layout.conv((9, 1, 16)))
    assert torch.allclose(values.permute(2, 1, 0), theirs, atol=1e-6)


def test_delta_orthogonal_sits_where_jax_puts_it() -> None:
    assert next(r for r in FILE["recorded"] if r["name"] == "delta_orthogonal")["taps"] == [1, 1]
