"""Record what Keras' and JAX' initializers give, for tests/initializers/test_keras_jax.py.

In an environment of its own: ``pip install jax keras``, then ``KERAS_BACKEND=jax python tools/record_keras_jax.py``.
Each entry holds the shape in their order of axes (inputs, outputs last) and the mean, standard deviation, smallest and
largest of a million values or of as many as the shape has.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import keras
import numpy as np

OUT = Path(__file__).parents[1] / "tests" / "initializers" / "recorded_keras_jax.json"
SHAPES = {"dense": (1000, 1600), "conv1": (5, 300, 800), "conv2": (3, 3, 256, 512), "conv3": (2, 3, 2, 256, 384)}


def summary(values: np.ndarray) -> dict[str, float]:
    """The moments and the range of an array."""
    x = np.asarray(values, dtype=np.float64)
    return {"mean": x.mean(), "std": x.std(), "min": x.min(), "max": x.max()}


def recordings() -> list[dict[str, object]]:
    """Every initializer of both libraries that scales by fans, and those of fixed scale, at each shape."""
    k, j = keras.initializers, jax.nn.initializers
    ours: list[tuple[str, str, object]] = []
    names = ("GlorotUniform", "GlorotNormal", "HeUniform", "HeNormal", "LecunUniform", "LecunNormal")
    ours += [("keras", name, getattr(k, name)(seed=1)) for name in names]
    names = ("glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal")
    ours += [("jax", name, getattr(j, name)()) for name in names]
    for distribution in ("uniform", "untruncated_normal", "truncated_normal"):
        for mode in ("fan_in", "fan_out", "fan_avg"):
            made = k.VarianceScaling(2.0, mode, distribution, seed=1)
            ours.append(("keras", f"VarianceScaling {mode} {distribution}", made))
    for distribution in ("uniform", "normal", "truncated_normal"):
        ours += [
            ("jax", f"variance_scaling {mode} {distribution}", j.variance_scaling(2.0, mode, distribution))
            for mode in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
        ]
    ours.append(("keras", "TruncatedNormal", k.TruncatedNormal(0.0, 0.05, seed=1)))
    ours.append(("keras", "RandomNormal", k.RandomNormal(0.0, 0.05, seed=1)))
    ours.append(("keras", "RandomUniform", k.RandomUniform(-0.05, 0.05, seed=1)))
    ours.append(("jax", "truncated_normal", j.truncated_normal(0.05)))
    ours.append(("jax", "normal", j.normal(0.05)))
    ours.append(("jax", "uniform", j.uniform(0.05)))
    found = []
    for library, name, initializer in ours:
        for kind, shape in SHAPES.items():
            values = initializer(shape) if library == "keras" else initializer(jax.random.key(1), shape)
            found.append({"library": library, "name": name, "kind": kind, "shape": shape, **summary(values)})
    stft = k.STFT("real", "hann", "density", False)((16, 1, 9))
    imag = k.STFT("imag", "hamming", "spectrum", True)((16, 1, 9))
    found.append({"library": "keras", "name": "STFT real", "values": np.asarray(stft).tolist()})
    found.append({"library": "keras", "name": "STFT imag", "values": np.asarray(imag).tolist()})
    delta = np.asarray(j.delta_orthogonal()(jax.random.key(1), (3, 3, 8, 16)))
    found.append(
        {
            "library": "jax",
            "name": "delta_orthogonal",
            "taps": [int(i) for i in np.argwhere(np.abs(delta).sum((2, 3)))[0]],
        }
    )
    return found


if __name__ == "__main__":
    versions = {"keras": keras.__version__, "jax": jax.__version__}
    OUT.write_text(json.dumps({"versions": versions, "recorded": recordings()}, indent=0) + "\n")
    print(f"wrote {OUT}")
