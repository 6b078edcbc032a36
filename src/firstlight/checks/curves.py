"""A loss curve as data, and what its shape is: start, fifths, noise, trend.

``logs`` reads curves from files, ``watch`` gathers them while a model trains; ``curves_rules`` makes findings of them.
All statistics are medians and ranks, so that single spikes and heavy-tailed batch noise count for little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

Values = NDArray[np.float64]

BLOCKS = 20  # a trend is read from so many medians
FEWEST = 20  # points before anything but NaN is judged
SOURCE = "calibration in docs/watch.md"
MAD = 1.4826  # median absolute deviation to standard deviation, for a Gaussian
_SURE, _MATERIAL, _PACE = 3.0, 0.01, 0.3  # of a fall: its score, its share of the scale, late / early
_MEDIAN = 1.2533  # standard error of a median over that of a mean, for a Gaussian


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A training loss over steps, with the validation loss where there is one.

    Args:
        steps, loss: (n,) each, steps ascending; the loss may end in NaN or Inf.
        validation_steps, validation: (m,) each.
        trivial: the loss of the best constant prediction (log C for C balanced classes, the variance of the targets
            for squared error); ``None`` where it is not known.
        source: what it was read from, for messages.
    """

    steps: Values
    loss: Values
    validation_steps: Values
    validation: Values
    trivial: float | None = None
    source: str = ""

    def __len__(self) -> int:
        return len(self.loss)


def make_curve(
    loss: Sequence[float] | Values,
    steps: Sequence[float] | Values | None = None,
    validation: Sequence[float] | Values | None = None,
    validation_steps: Sequence[float] | Values | None = None,
    trivial: float | None = None,
    source: str = "",
) -> Curve:
    """A curve from plain numbers; steps count from 1 where none are given, validation over the same length.

    Raises:
        DataError: nothing is in it, lengths differ, or a value is no number.

    >>> len(make_curve([2.3, 2.1, 1.9]))
    3
    """
    ys, vs = _numbers(loss, "loss", source), _numbers(() if validation is None else validation, "validation", source)
    if not len(ys) and not len(vs):
        raise DataError(f"{source or 'the curve'} holds no loss")
    xs = np.arange(1.0, len(ys) + 1) if steps is None else _numbers(steps, "steps", source)
    end = float(xs[-1]) if len(xs) else float(len(vs))
    default = np.linspace(end / max(1, len(vs)), end, len(vs))
    us = default if validation_steps is None else _numbers(validation_steps, "validation_steps", source)
    for name, a, b in (("steps", xs, ys), ("validation_steps", us, vs)):
        if len(a) != len(b):
            raise DataError(f"{source or 'the curve'} has {len(b)} losses and {len(a)} {name}: give as many")
    order, others = np.argsort(xs, kind="stable"), np.argsort(us, kind="stable")
    return Curve(xs[order], ys[order], us[others], vs[others], trivial, source)


def _numbers(values: Sequence[float] | Values, name: str, source: str) -> Values:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{name}{f' of {source}' if source else ''} should be numbers, one for each step") from None
    if array.ndim != 1:
        raise DataError(f"{name} should be a flat sequence of numbers, not of shape {array.shape}")
    return array


@dataclass(frozen=True, slots=True)
class Shape:
    """What a curve looks like, over its finite part.

    Args:
        n: points.
        start: the median of the first few points (at most 5), see ``beginning``.
        head, middle, tail: the medians of the first, the third and the last fifth.
        lowest: the smallest median of a block (a twentieth).
        noise: the standard deviation around the blocks' medians, robust: 1.4826 MAD.
        error: the standard error of ``head - tail``.
        trend, late_trend: the Mann-Kendall score of the block medians, all and in the second half: standard normal
            where nothing moves, negative where they fall.
        lag: the correlation of one point with the next, of ranks around the blocks' medians; -1 where the curve
            bounces.
        scale: the size that changes are measured by: the larger of |start| and |head|.
    """

    n: int
    start: float
    head: float
    middle: float
    tail: float
    lowest: float
    noise: float
    error: float
    trend: float
    late_trend: float
    lag: float
    scale: float

    @property
    def drop(self) -> float:
        """(head - tail) / scale: what share of the loss is gone."""
        return (self.head - self.tail) / self.scale if self.scale > 0 else 0.0

    @property
    def steady(self) -> bool:
        """Whether it falls through its second half at nearly the pace of its first: slow, and no plateau."""
        early, late = self.head - self.middle, self.middle - self.tail
        return self.trend < -_SURE and early + late > _MATERIAL * self.scale and late > _PACE * early


def finite_part(curve: Curve) -> int:
    """How many points come before the first NaN or Inf."""
    bad = np.flatnonzero(~np.isfinite(curve.loss))
    return int(bad[0]) if len(bad) else len(curve)


def shape_of(values: Values) -> Shape:
    """The shape of at least ten finite values.

    >>> round(shape_of(np.linspace(2.0, 1.0, 100)).drop, 1)
    0.4
    """
    n = len(values)
    fifth = max(1, n // 5)
    start, head = beginning(values), float(np.median(values[:fifth]))
    tail = float(np.median(values[-fifth:]))
    medians, residuals = _blocks(values, min(BLOCKS, max(4, n // 5)))
    noise = MAD * float(np.median(np.abs(residuals)))
    return Shape(
        n=n,
        start=start,
        head=head,
        middle=float(np.median(values[2 * fifth : 3 * fifth])),
        tail=tail,
        lowest=float(medians.min()),
        noise=noise,
        error=math.sqrt(2) * _MEDIAN * noise / math.sqrt(fifth),
        trend=mann_kendall(medians),
        late_trend=mann_kendall(medians[len(medians) // 2 :]),
        lag=_lag(residuals[-min(n, 400) :]),
        scale=max(abs(start), abs(head)),
    )


def _blocks(values: Values, count: int) -> tuple[Values, Values]:
    """The medians of so many blocks of like length (``np.array_split``), and what is left around them."""
    length, longer = divmod(len(values), count)
    medians, residuals = [], []
    for part, wide in ((values[: longer * (length + 1)], length + 1), (values[longer * (length + 1) :], length)):
        if len(part):
            rows = part.reshape(-1, wide)
            middle = np.median(rows, axis=1)
            medians.append(middle)
            residuals.append((rows - middle[:, None]).ravel())
    return np.concatenate(medians), np.concatenate(residuals)


def beginning(values: Values) -> float:
    """The median of the first five; no more than thrice the first one, for a loss may blow up at once.

    >>> beginning(np.array([2.0, 2.2, 1.9, 2.1, 2.0])), beginning(np.array([2.0, 50.0, 1e6, 1e5, 1e4]))
    (2.0, 6.0)
    """
    level = float(np.median(values[:5]))
    return min(level, 3 * float(values[0])) if values[0] > 0 else level


def mann_kendall(values: Values) -> float:
    """The standardized count of pairs that rise minus pairs that fall (Mann 1945; Kendall 1975).

    S = Σ_{i<j} sign(x_j - x_i), z = (S ∓ 1) / √(n(n-1)(2n+5)/18).

    >>> mann_kendall(np.arange(20.0)) > 6, mann_kendall(np.zeros(20))
    (True, 0.0)
    """
    n = len(values)
    if n < 3:
        return 0.0
    s = float(np.triu(np.sign(values[None, :] - values[:, None])).sum())
    return (s - math.copysign(1, s)) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18) if s else 0.0


def _lag(residuals: Values) -> float:
    """The rank correlation of neighbours."""
    if len(residuals) < 10 or np.ptp(residuals) == 0:
        return 0.0
    ranks = np.argsort(np.argsort(residuals)).astype(np.float64)
    a, b = ranks[:-1] - ranks[:-1].mean(), ranks[1:] - ranks[1:].mean()
    norm = math.sqrt(float((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm else 0.0
