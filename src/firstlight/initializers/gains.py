"""Gains: by how much weights must grow so that an activation leaves the second moment of a signal as it was.

``variance_scaling`` reads them for He's rule; schemes take an activation by name.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import ArgumentError, UnknownNameError
from .checks import finite

Elementwise = Callable[[torch.Tensor], torch.Tensor]

_REACH, _PANELS, _NODES = 13.0, 13_000, 4
# SELU's constants, Klambauer et al. 2017, arXiv 1706.02515.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def gain(activation: str | Elementwise, parameter: float | None = None) -> float:
    """1 / √E[f(z)²] with z ~ N(0, 1): weights of std gain / √fan_in keep the second moment through f.

    For ReLU that is √2 (He et al. 2015, arXiv 1502.01852). In closed form where there is one; otherwise by quadrature
    on 52,000 nodes, good to about 1e-8 for smooth functions, 1e-7 across kinks and 1e-4 across jumps.

    Args:
        activation: a name of ``torch.nn.functional`` (``"gelu"``), or any elementwise function or module.
        parameter: the named activation's: slope of ``leaky_relu`` and ``prelu``, alpha of ``elu`` and ``celu``, beta of
            ``softplus``, frequency of ``sin``.

    Returns:
        The gain for a forward pass. ``torch.nn.init.calculate_gain`` gives other numbers for tanh (5/3 instead of
        1.5925), SELU (3/4 instead of 1) and the sigmoid (1 instead of 1.8462), which do not preserve it.

    Raises:
        UnknownNameError: no activation has this name.
        ArgumentError: the parameter is not finite or not taken; the function raises, is not elementwise, gives other
            shapes, NaN or infinity, or is zero everywhere.

    In a very deep plain network of GELU, SiLU or Mish layers the fixed point this sets is unstable (V′(1) > 1), and no
    constant gain is safe; add a norm or residual connections.

    >>> round(gain("relu"), 6), round(gain("tanh"), 6), round(gain(torch.sin), 6)
    (1.414214, 1.592537, 1.520867)
    """
    return math.sqrt(1 / second_moment(activation, parameter))


def second_moment(activation: str | Elementwise, parameter: float | None = None) -> float:
    """E[f(z)²] with z ~ N(0, 1); arguments and errors as ``gain``."""
    if parameter is not None:
        finite("parameter", parameter)
    if not isinstance(activation, str):
        if parameter is not None:
            raise ArgumentError("parameter= belongs to a named activation; put it into your function instead")
        return _by_quadrature(activation, _name(activation))
    closed, function = _CLOSED.get(activation), _FUNCTIONS.get(activation)
    known = {**_CLOSED, **_FUNCTIONS}
    if activation not in known:
        raise UnknownNameError.of("activation", activation, known)
    takes_one = bool(inspect.signature(known[activation]).parameters) if closed else activation in _PARAMETRIC
    if parameter is not None and not takes_one:
        raise ArgumentError(f"the activation {activation!r} takes no parameter, and {parameter!r} was given")
    given = () if parameter is None else (float(parameter),)
    if closed is not None:
        moment = closed(*given)
    else:
        if function is None:  # pragma: no cover - known holds no other kind
            raise UnknownNameError.of("activation", activation, known)
        moment = _by_quadrature(lambda z: function(z, *given), activation)
    return _usable(moment, activation)


def _upper(x: float) -> float:
    """P(z > x)."""
    return math.erfc(x / math.sqrt(2)) / 2


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _leaky(slope: float = 0.01) -> float:
    return (1 + slope * slope) / 2


def _prelu(slope: float = 0.25) -> float:
    return (1 + slope * slope) / 2


def _elu(alpha: float = 1.0) -> float:
    """With E[eᶜᶻ; z < 0] = exp(c²/2) Φ(-c)."""
    below = math.exp(2) * _upper(2) - 2 * math.exp(0.5) * _upper(1) + 0.5
    return 0.5 + alpha * alpha * below


def _sine(frequency: float = 1.0) -> float:
    return -math.expm1(-2 * frequency * frequency) / 2


def _relu6() -> float:
    return 0.5 - 6 * _density(6) - _upper(6) + 36 * _upper(6)


_CLOSED: Mapping[str, Callable[..., float]] = MappingProxyType(
    {
        "linear": lambda: 1.0,
        "identity": lambda: 1.0,
        "relu": lambda: 0.5,
        "leaky_relu": _leaky,
        "prelu": _prelu,
        "elu": _elu,
        "selu": lambda: _SELU_SCALE**2 * _elu(_SELU_ALPHA),
        "sin": _sine,
        "sine": _sine,
        "relu6": _relu6,
        "hardtanh": lambda: 1 - 2 * _density(1),
        "squared_relu": lambda: 1.5,
    }
)
_PARAMETRIC = frozenset({"celu", "softplus"})
_FUNCTIONS: Mapping[str, Callable[..., torch.Tensor]] = MappingProxyType(
    {
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "gelu": F.gelu,
        "gelu_tanh": lambda z: F.gelu(z, approximate="tanh"),
        "quick_gelu": lambda z: z * torch.sigmoid(1.702 * z),
        "silu": F.silu,
        "swish": F.silu,
        "mish": F.mish,
        "softplus": F.softplus,
        "softsign": F.softsign,
        "logsigmoid": F.logsigmoid,
        "hardsigmoid": F.hardsigmoid,
        "hardswish": F.hardswish,
        "tanhshrink": F.tanhshrink,
        "softshrink": F.softshrink,
        "hardshrink": F.hardshrink,
        "celu": F.celu,
        "erf": torch.erf,
        "cos": torch.cos,
    }
)


@lru_cache(maxsize=1)
def _rule() -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and weights for E[·] under N(0, 1): Gauss-Legendre on equal panels, one of whose edges is 0."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    edges = np.linspace(-_REACH, _REACH, _PANELS + 1)
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half + half * nodes).ravel()
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return torch.from_numpy(z), torch.from_numpy((half * weights).ravel() * density)


def _by_quadrature(function: Elementwise, name: str) -> float:
    z, weights = _rule()
    with torch.no_grad():
        f = _evaluate(function, z.clone(), name)
        apart = _evaluate(function, z[::7].clone(), name)
    # Vectorised code may round the last bits of the same point differently.
    if not torch.allclose(f[::7], apart, rtol=1e-9, atol=1e-12, equal_nan=True):
        raise ArgumentError(
            f"the activation {name} is not elementwise (or not deterministic): its value at a point changes with the "
            "other points. A gain is defined for elementwise functions; for softmax or a norm use 1."
        )
    if not torch.isfinite(f).all():
        where = float(z[~torch.isfinite(f)][0])
        raise ArgumentError(f"the activation {name} is not finite at {where:g}; give one that is finite on ±13")
    return _usable(float((f.square() * weights).sum()), name)


def _evaluate(function: Elementwise, z: torch.Tensor, name: str) -> torch.Tensor:
    try:
        f = function(z)
    except Exception as error:
        raise ArgumentError(
            f"the activation {name} raised on a float64 vector: {error!r}. Give a function that maps a tensor to a "
            "tensor of the same shape."
        ) from error
    if not isinstance(f, torch.Tensor) or f.shape != z.shape:
        got = tuple(f.shape) if isinstance(f, torch.Tensor) else type(f).__name__
        raise ArgumentError(f"the activation {name} gave {got} for a vector of shape {tuple(z.shape)}")
    return f.double()


def _usable(moment: float, name: str) -> float:
    if not (math.isfinite(moment) and moment > 1e-300):
        raise ArgumentError(f"E[f(z)²] of the activation {name} is {moment:g}: no gain can restore the signal")
    return moment


def _name(function: Elementwise) -> str:
    return repr(getattr(function, "__name__", type(function).__name__))
