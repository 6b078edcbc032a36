"""Depth: how fast gradients and correlations decay from layer to layer, and how residual streams grow.

``measuring`` gives it the places of a finished record.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from .parts import DepthScale, Kind, Place, Stream

_FEWEST = 4
_NOISE = 1e-5
_NEAR = 0.7


def depth_scales(places: Sequence[Place]) -> tuple[DepthScale, ...]:
    """ξ = 1/|slope| of log y_l = a + slope · l over the weight layers l, by least squares, for two y.

    The gradient's squared norm decays by χ₁ a layer towards the inputs, so that slope = −log χ₁; the distance between
    two samples' cosine and its limit by its own factor a layer. Only layers of the commonest shape enter: where the
    width changes, the norm does too.

    Schoenholz et al. 2017, Deep Information Propagation, arXiv 1611.01232.
    """
    layers = _layers(places)
    gradients = [
        (p.depth, p.backward.squared_norm) for p in layers if p.backward is not None and p.backward.nonfinite == 0
    ]
    cosines = [(p.depth, p.forward.cosine) for p in layers if p.forward is not None and p.forward.cosine is not None]
    found = [_fit("gradient", gradients), _fit("correlation", _distances(cosines))]
    return tuple(f for f in found if f is not None)


def _layers(places: Sequence[Place]) -> list[Place]:
    """The weight layers of the commonest shape, one for each depth, in order."""
    by_shape: dict[tuple[int, ...], dict[int, Place]] = defaultdict(dict)
    for place in places:
        if place.kind is Kind.WEIGHT and place.calls == 1:
            by_shape[place.shape].setdefault(place.depth, place)
    return list(max(by_shape.values(), key=len, default={}).values())


def _distances(cosines: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """1 − c where samples become one (the ordered phase), from where they are near: the rate is the limit's.

    In the chaotic phase the limit lies below one, and the way to it drowns in the scatter of finite layers: no fit.
    """
    if not cosines or cosines[-1][1] < _NEAR:
        return []
    return [(depth, 1 - c) for depth, c in cosines if _NOISE < 1 - c < 1 - _NEAR]


def _fit(of: str, values: Sequence[tuple[int, float]]) -> DepthScale | None:
    points = [(float(depth), math.log(y)) for depth, y in values if y > 0 and math.isfinite(y)]
    n = len(points)
    if n < _FEWEST:
        return None
    mean_x, mean_y = (sum(p[i] for p in points) / n for i in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return None
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    left = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    error = math.sqrt(left / max(n - 2, 1) / spread)
    return DepthScale(of, math.inf if slope == 0 else 1 / abs(slope), slope, error, n)


def streams_of(places: Sequence[Place]) -> tuple[Stream, ...]:
    """The residual streams: E[x²] behind each join, and its mean factor from join to join."""
    joins: dict[int, list[Place]] = defaultdict(list)
    for place in places:
        if place.branch is not None and place.forward is not None and place.kind is Kind.JOIN:
            joins[place.branch[0]].append(place)
    found = []
    for number, chain in sorted(joins.items()):
        seconds = tuple(p.forward.second for p in chain if p.forward is not None)
        steps = len(seconds) - 1
        alive = steps > 0 and seconds[0] > 0 and seconds[-1] > 0
        growth = (seconds[-1] / seconds[0]) ** (1 / steps) if alive else None
        found.append(Stream(number, tuple(p.index for p in chain), seconds, growth))
    return tuple(found)
