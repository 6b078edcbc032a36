"""The initializers that serve as model-wide schemes, with their arguments, formulas and sources.

Each function takes a scheme's arguments and gives the choice of an initializer for each weight; ``by_name`` lists
them by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ArgumentError
from ..graphs.records import Role
from ..initializers import (
    Constant,
    DeltaOrthogonal,
    Dirac,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Identity,
    Initializer,
    LecunNormal,
    LecunUniform,
    Normal,
    Ones,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
    Zeros,
)
from ..initializers import gain as activation_gain
from .weights import Choose

_CONVOLUTIONS = (Role.CONV, Role.CONV_TRANSPOSED)


@dataclass(frozen=True, slots=True)
class Family:
    """An initializer family as a scheme; ``recurrent`` is what recurrent matrices get unless the caller says."""

    name: str
    aliases: tuple[str, ...]
    weights: Callable[..., Choose]
    formula: str
    reason: str
    reference: str
    recurrent: str = "orthogonal"


def _everywhere(initializer: Initializer) -> Choose:
    return lambda _: initializer


def _on_convolutions(convolution: Initializer, elsewhere: Initializer) -> Choose:
    return lambda parameter: convolution if parameter.role in _CONVOLUTIONS else elsewhere


def _zeros() -> Choose:
    return _everywhere(Zeros())


def _ones() -> Choose:
    return _everywhere(Ones())


def _constant(value: float) -> Choose:
    return _everywhere(Constant(value))


def _identity(gain: float = 1.0) -> Choose:
    return _on_convolutions(Dirac(gain), Identity(gain))


def _uniform(bound: float | None = None, *, low: float | None = None, high: float | None = None) -> Choose:
    if bound is not None and low is None and high is None:
        return _everywhere(Uniform(-bound, bound))
    if bound is None and low is not None and high is not None:
        return _everywhere(Uniform(low, high))
    raise ArgumentError("give uniform(bound), which is U(-bound, bound), or uniform(low=…, high=…)")


def _normal(std: float, mean: float = 0.0) -> Choose:
    return _everywhere(Normal(mean=mean, std=std))


def _truncated_normal(
    std: float, mean: float = 0.0, low: float = -2.0, high: float = 2.0, std_of: str = "parent"
) -> Choose:
    return _everywhere(TruncatedNormal(mean=mean, std=std, low=low, high=high, std_of=std_of))  # type: ignore[arg-type]


def _variance_scaling(scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal") -> Choose:
    return _everywhere(VarianceScaling(scale, mode, distribution))  # type: ignore[arg-type]


def _number(gain: float | str) -> float:
    """A gain as a number, or that of an activation by its name."""
    return activation_gain(gain) if isinstance(gain, str) else gain


def _glorot_uniform(gain: float | str = 1.0) -> Choose:
    return _everywhere(GlorotUniform(_number(gain)))


def _glorot_normal(gain: float | str = 1.0) -> Choose:
    return _everywhere(GlorotNormal(_number(gain)))


def _he_uniform(mode: str = "fan_in", activation: str = "relu", parameter: float | None = None) -> Choose:
    return _everywhere(HeUniform(mode, activation, parameter))  # type: ignore[arg-type]


def _he_normal(mode: str = "fan_in", activation: str = "relu", parameter: float | None = None) -> Choose:
    return _everywhere(HeNormal(mode, activation, parameter))  # type: ignore[arg-type]


def _lecun_uniform() -> Choose:
    return _everywhere(LecunUniform())


def _lecun_normal() -> Choose:
    return _everywhere(LecunNormal())


def _orthogonal(gain: float | str = 1.0) -> Choose:
    return _everywhere(Orthogonal(_number(gain)))


def _delta_orthogonal(gain: float | str = 1.0) -> Choose:
    factor = _number(gain)
    return _on_convolutions(DeltaOrthogonal(factor), Orthogonal(factor))


def _sparse(sparsity: float = 0.9, std: float = 0.01) -> Choose:
    return _everywhere(Sparse(sparsity, std))


_GLOROT = "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks"
_HE = "He et al. 2015, Delving deep into rectifiers, arXiv 1502.01852"
_LECUN = "LeCun et al. 1998, Efficient BackProp"
_BOTH_WAYS = "keeps the variance between forward and backward through units with slope 1 at 0"
_RELU = "keeps the second moment through rectifiers, which pass half of it"
_ISOMETRY = "an isometry keeps every norm, forward and backward"

_PLAIN: tuple[Family, ...] = (
    Family("zeros", (), _zeros, "0", "as asked; units stay identical, so this cannot learn", "", "same"),
    Family("ones", (), _ones, "1", "as asked; units stay identical, so this cannot learn", "", "same"),
    Family("constant", (), _constant, "value", "as asked; units stay identical", "", "same"),
    Family(
        "identity",
        ("eye", "dirac"),
        _identity,
        "gain · I (Dirac kernels in convolutions)",
        "each layer starts as the identity",
        "Zagoruyko & Komodakis 2017, DiracNets, arXiv 1706.00388; Le et al. 2015, arXiv 1504.00941",
        "same",
    ),
    Family(
        "uniform",
        ("random_uniform",),
        _uniform,
        "U(-bound, bound)",
        "one range for every layer, whatever its fans",
        "",
    ),
    Family(
        "normal",
        ("gaussian", "random_normal"),
        _normal,
        "N(mean, std²)",
        "one scale for every layer, whatever its fans",
        "",
    ),
    Family(
        "truncated_normal",
        ("trunc_normal",),
        _truncated_normal,
        "N(mean, std²) within [low σ, high σ]",
        "one scale for every layer, without tails",
        "",
    ),
    Family(
        "sparse",
        (),
        _sparse,
        "N(0, std²), a share `sparsity` of each unit's inputs zero",
        "few inputs a unit, each of full size",
        "Martens 2010, Deep learning via Hessian-free optimization",
    ),
)

_SCALED: tuple[Family, ...] = (
    Family(
        "variance_scaling",
        (),
        _variance_scaling,
        "variance scale / n, n by mode",
        "the variance follows the fans",
        _LECUN,
    ),
    Family(
        "glorot_uniform",
        ("xavier_uniform",),
        _glorot_uniform,
        "U(±gain · √(6 / (n_in + n_out)))",
        _BOTH_WAYS,
        _GLOROT,
    ),
    Family(
        "glorot_normal",
        ("xavier_normal",),
        _glorot_normal,
        "N(0, gain² · 2 / (n_in + n_out))",
        _BOTH_WAYS,
        _GLOROT,
    ),
    Family("he_uniform", ("kaiming_uniform",), _he_uniform, "U(±√(6 / n_in)) for ReLU", _RELU, _HE),
    Family("he_normal", ("kaiming_normal",), _he_normal, "N(0, 2 / n_in) for ReLU", _RELU, _HE),
    Family("lecun_uniform", (), _lecun_uniform, "U(±√(3 / n_in))", "unit variance in, unit variance out", _LECUN),
    Family(
        "lecun_normal",
        (),
        _lecun_normal,
        "N(0, 1 / n_in)",
        "unit variance in, unit variance out",
        _LECUN,
    ),
)

_ORTHOGONAL: tuple[Family, ...] = (
    Family(
        "orthogonal",
        (),
        _orthogonal,
        "gain · Haar-distributed orthogonal matrix",
        _ISOMETRY,
        "Saxe et al. 2014, Exact solutions to the nonlinear dynamics of learning, arXiv 1312.6120",
    ),
    Family(
        "delta_orthogonal",
        (),
        _delta_orthogonal,
        "orthogonal at a kernel's centre, 0 elsewhere",
        _ISOMETRY,
        "Xiao et al. 2018, Dynamical isometry and a mean field theory of CNNs, arXiv 1806.05393",
    ),
)

FAMILIES: tuple[Family, ...] = (*_PLAIN, *_SCALED, *_ORTHOGONAL)
