"""One distribution for every element, whatever the fans: uniform, normal, truncated normal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from .. import fields
from ..errors import ArgumentError, UnknownNameError
from .base import Initializer
from .checks import finite, positive
from .draws import Draw, Sampled
from .layout import Layout
from .truncation import truncated_moments


@final
@dataclass(frozen=True, slots=True)
class Uniform(Initializer):
    """U(low, high), with standard deviation (high - low) / √12.

    Args:
        low: lower bound, finite.
        high: upper bound, above ``low``.

    >>> Uniform(-1.0, 1.0).draw(Layout.vector((4,))).std
    0.5773502691896258
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        finite("low", self.low)
        finite("high", self.high)
        if self.low >= self.high:
            raise ArgumentError(f"low={self.low!r} should lie below high={self.high!r}; for one value use Constant")
        fields.uniform(self.low, self.high)  # refuses what float32 cannot hold

    def draw(self, layout: Layout) -> Draw:
        """Each element from its own word of the field."""
        mean, std = (self.low + self.high) / 2, (self.high - self.low) / 12**0.5
        return Sampled(fields.uniform(self.low, self.high), mean, std)


@final
@dataclass(frozen=True, slots=True)
class Normal(Initializer):
    """N(mean, std²).

    Args:
        mean: finite.
        std: above 0.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        finite("mean", self.mean)
        positive("std", self.std, "for values without spread use Constant")
        fields.normal(self.mean, self.std)

    def draw(self, layout: Layout) -> Draw:
        """Each element from its own word of the field."""
        return Sampled(fields.normal(self.mean, self.std), self.mean, self.std)


@final
@dataclass(frozen=True, slots=True)
class TruncatedNormal(Initializer):
    """N(mean, σ²) within [mean + low σ, mean + high σ], by the inverse distribution function, without rejection.

    Args:
        mean: of the normal before the cut, finite.
        std: above 0; of what, ``std_of`` says.
        low: lower bound in σ, ``-inf`` for none.
        high: upper bound in σ, above ``low``, ``inf`` for none.
        std_of: ``"parent"``: ``std`` is σ, of the normal before the cut, so the values have less (0.8796 of it at
            ±2 σ): torch's ``trunc_normal_``, Keras' and jax' truncated normals. ``"result"``: σ is enlarged so
            that the values themselves have the standard deviation ``std``: Keras' and jax' variance scaling.

    torch's ``trunc_normal_`` takes its bounds in absolute units; here they are in σ.

    >>> TruncatedNormal(std=0.02).draw(Layout.vector((4,))).std
    0.017592513...
    >>> TruncatedNormal(std=0.02, std_of="result").draw(Layout.vector((4,))).std
    0.02
    """

    mean: float = 0.0
    std: float = 1.0
    low: float = -2.0
    high: float = 2.0
    std_of: Literal["parent", "result"] = "parent"

    def __post_init__(self) -> None:
        finite("mean", self.mean)
        positive("std", self.std, "for values without spread use Constant")
        if not self.low < self.high:
            raise ArgumentError(f"low={self.low!r} should lie below high={self.high!r}, both in σ")
        if self.std_of not in ("parent", "result"):
            raise UnknownNameError.of("choice for std_of=", str(self.std_of), ("parent", "result"))
        self._transform()

    @property
    def sigma(self) -> float:
        """σ of the normal before the cut."""
        if self.std_of == "parent":
            return self.std
        return self.std / truncated_moments(self.low, self.high)[1]

    def _transform(self) -> fields.Transform:
        return fields.truncated_normal(self.mean, self.sigma, self.low, self.high)

    def draw(self, layout: Layout) -> Draw:
        """Each element from its own word of the field."""
        mean, std = truncated_moments(self.low, self.high)
        sigma = self.sigma
        realised = self.std if self.std_of == "result" else sigma * std
        return Sampled(self._transform(), self.mean + sigma * mean, realised)
