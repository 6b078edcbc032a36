"""Variance from the fans: LeCun, Glorot (Xavier), He (Kaiming) and their general form.

The factories below differ in scale, fan and distribution only; each returns a ``VarianceScaling``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, final

import torch

from .. import fields
from ..errors import ArgumentError, UnknownNameError
from .base import Initializer
from .checks import finite, mapping, positive
from .draws import Draw, Sampled
from .elementwise import TruncatedNormal
from .gains import second_moment
from .layout import Layout

Mode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]
Distribution = Literal["uniform", "normal", "truncated_normal"]
Activation = str | Callable[[torch.Tensor], torch.Tensor]

_FANS: Mapping[str, Callable[[float, float], float]] = MappingProxyType(
    {
        "fan_in": lambda n_in, n_out: n_in,
        "fan_out": lambda n_in, n_out: n_out,
        "fan_avg": lambda n_in, n_out: (n_in + n_out) / 2,
        "fan_geo_avg": lambda n_in, n_out: math.sqrt(n_in * n_out),
    }
)
_DISTRIBUTIONS = ("uniform", "normal", "truncated_normal")


@final
@dataclass(frozen=True, slots=True)
class VarianceScaling(Initializer):
    """Values with mean 0 and variance ``scale / n``, where n is a fan or a mean of both.

    Args:
        scale: above 0.
        mode: n is ``"fan_in"``, ``"fan_out"``, their mean ``"fan_avg"`` or their geometric mean ``"fan_geo_avg"``.
        distribution: ``"uniform"`` within ±√(3 · scale / n), ``"normal"``, or ``"truncated_normal"``, cut at ±2 σ with
            σ enlarged so that the variance is still scale / n.

    As ``keras.initializers.VarianceScaling`` and ``jax.nn.initializers.variance_scaling``, with declared fans.

    >>> VarianceScaling(2.0, "fan_in", "normal").draw(Layout.mapping((10, 50))).std
    0.2
    """

    scale: float = 1.0
    mode: Mode = "fan_in"
    distribution: Distribution = "truncated_normal"

    def __post_init__(self) -> None:
        positive("scale", self.scale, "for zero weights use Zeros")
        if self.mode not in _FANS:
            raise UnknownNameError.of("mode", str(self.mode), _FANS)
        if self.distribution not in _DISTRIBUTIONS:
            raise UnknownNameError.of("distribution", str(self.distribution), _DISTRIBUTIONS)

    def std(self, layout: Layout) -> float:
        """√(scale / n) for this layout; ArgumentError where n is 0 or no axes are declared."""
        if layout.fan_in == layout.fan_out == 1:  # fans without axes are what a vector that maps to one number has
            mapping("a rule by fans", layout)
        n = _FANS[self.mode](layout.fan_in, layout.fan_out)
        if not n > 0:
            raise ArgumentError(
                f"{self.mode} is 0 for the shape {layout.shape} (in {layout.fan_in:g}, out {layout.fan_out:g}): "
                "nothing to scale by. Give the layer inputs and outputs, or a rule such as fl.Zeros()."
            )
        return math.sqrt(self.scale / n)

    def draw(self, layout: Layout) -> Draw:
        """Each element from its own word of the field."""
        std = self.std(layout)
        match self.distribution:
            case "uniform":
                limit = math.sqrt(3) * std
                return Sampled(fields.uniform(-limit, limit), 0.0, std)
            case "normal":
                return Sampled(fields.normal(0.0, std), 0.0, std)
            case _:
                return TruncatedNormal(0.0, std, -2.0, 2.0, "result").draw(layout)


def GlorotUniform(gain: float = 1.0) -> VarianceScaling:  # noqa: N802 - a kind of initializer, read as a class
    """U(±gain · √(6 / (fan_in + fan_out))): keeps the variance both ways through tanh-like units.

    ``XavierUniform`` is the same. Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward
    neural networks.
    """
    return VarianceScaling(_square(gain), "fan_avg", "uniform")


def GlorotNormal(gain: float = 1.0) -> VarianceScaling:  # noqa: N802
    """N(0, gain² · 2 / (fan_in + fan_out)); ``XavierNormal`` is the same. Glorot & Bengio 2010."""
    return VarianceScaling(_square(gain), "fan_avg", "normal")


def HeUniform(  # noqa: N802
    mode: Mode = "fan_in", activation: Activation = "relu", parameter: float | None = None
) -> VarianceScaling:
    """U(±g · √(3 / fan)), with g the gain of the activation: √(6 / fan_in) for ReLU. ``KaimingUniform`` is the same.

    Args:
        mode: ``"fan_in"`` keeps the forward signal, ``"fan_out"`` the gradient.
        activation: what the layer's output meets, by name or as a function (see ``gain``).
        parameter: the activation's: a leaky ReLU's slope.

    He et al. 2015, Delving deep into rectifiers, arXiv 1502.01852.
    """
    return VarianceScaling(1 / second_moment(activation, parameter), mode, "uniform")


def HeNormal(  # noqa: N802
    mode: Mode = "fan_in", activation: Activation = "relu", parameter: float | None = None
) -> VarianceScaling:
    """N(0, g² / fan), with g the gain of the activation: std √(2 / fan_in) for ReLU. ``KaimingNormal`` is the same.

    Arguments as ``HeUniform``. Keras and jax cut theirs at ±2 σ: ``VarianceScaling(2.0)`` does that.
    He et al. 2015, Delving deep into rectifiers, arXiv 1502.01852.

    >>> HeNormal()
    VarianceScaling(scale=2.0, mode='fan_in', distribution='normal')
    """
    return VarianceScaling(1 / second_moment(activation, parameter), mode, "normal")


def LecunUniform() -> VarianceScaling:  # noqa: N802
    """U(±√(3 / fan_in)): variance 1 / fan_in. LeCun et al. 1998, Efficient BackProp."""
    return VarianceScaling(1.0, "fan_in", "uniform")


def LecunNormal() -> VarianceScaling:  # noqa: N802
    """N(0, 1 / fan_in): what SELU networks ask for. LeCun et al. 1998; Klambauer et al. 2017, arXiv 1706.02515."""
    return VarianceScaling(1.0, "fan_in", "normal")


XavierUniform, XavierNormal = GlorotUniform, GlorotNormal
KaimingUniform, KaimingNormal = HeUniform, HeNormal


def _square(gain: float) -> float:
    finite("gain", gain)
    if gain <= 0:
        raise ArgumentError(f"gain={gain!r} should be above 0; for zero weights use Zeros")
    return float(gain) ** 2
