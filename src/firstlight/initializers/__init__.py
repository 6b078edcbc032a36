"""Rules for one tensor: distribution × scale, from declared axes and fans."""

from .base import Initializer
from .constant import Constant, Ones, PerBlock, Zeros
from .draws import Built, Draw, Fill, Sampled, Segments
from .elementwise import Normal, TruncatedNormal, Uniform
from .gains import gain
from .identity import Dirac, Identity
from .layout import Layout
from .orthogonal import DeltaOrthogonal, Orthogonal
from .sampling import sample
from .sparse import Sparse
from .stft import Stft
from .variance_scaling import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    KaimingNormal,
    KaimingUniform,
    LecunNormal,
    LecunUniform,
    VarianceScaling,
    XavierNormal,
    XavierUniform,
)

__all__ = [
    "Built",
    "Constant",
    "DeltaOrthogonal",
    "Dirac",
    "Draw",
    "Fill",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "KaimingNormal",
    "KaimingUniform",
    "Layout",
    "LecunNormal",
    "LecunUniform",
    "Normal",
    "Ones",
    "Orthogonal",
    "PerBlock",
    "Sampled",
    "Segments",
    "Sparse",
    "Stft",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "XavierNormal",
    "XavierUniform",
    "Zeros",
    "gain",
    "sample",
]
