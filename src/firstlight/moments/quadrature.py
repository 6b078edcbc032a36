"""A Gaussian value through a function: mean, variance and covariances by quadrature.

E f(z) over z ~ N(m, v) on a fine grid that needs no smoothness, and for covariances a Gauss-Hermite rule over what two
values share: E f(z) f(z') = E_s (E f(z | s))².
"""

from __future__ import annotations

import math

import numpy as np
import torch

from .signal import Function, Signal

_GRID = torch.linspace(-7, 7, 1401, dtype=torch.float64)
_DENSITY = torch.exp(-_GRID.square() / 2)
_WEIGHTS = _DENSITY / _DENSITY.sum()
_BETWEEN = torch.linspace(-7, 7, 1400, dtype=torch.float64)  # no point at the mean, where a slope may jump
_BETWEEN_WEIGHTS = torch.exp(-_BETWEEN.square() / 2) / torch.exp(-_BETWEEN.square() / 2).sum()
_COARSE, _COARSE_WEIGHTS = _GRID[::4], _DENSITY[::4] / _DENSITY[::4].sum()
_nodes, _node_weights = np.polynomial.hermite_e.hermegauss(33)
_NODES = torch.from_numpy(_nodes)
_NODE_WEIGHTS = torch.from_numpy(_node_weights / _node_weights.sum())


def through(function: Function, root: Signal, *, jumps: bool = False) -> Signal:
    """The signal of f(z), for z Gaussian with the root's statistics; ``jumps`` where f may jump at the mean.

    Raises:
        ArithmeticError: the function is nowhere finite, or no function of single values.
    """
    spread = math.sqrt(max(root.variance, 0.0))
    points, density = (_BETWEEN, _BETWEEN_WEIGHTS) if jumps else (_GRID, _WEIGHTS)
    values = _evaluated(function, root.mean + spread * points)
    finite = values.isfinite()
    weights = density * finite
    if not float(weights.sum()) > 0:
        raise ArithmeticError("nowhere finite")
    weights = weights / weights.sum()
    values = torch.where(finite, values, 0.0)
    mean = float((weights * values).sum())
    variance = float((weights * (values - mean).square()).sum())
    shared, local = (_covariance(function, root, c, mean, variance) for c in (root.shared, root.local))
    return Signal(mean, variance, shared, local, known=root.known)


def share(holds: Function, function: Function, root: Signal) -> float:
    """P(holds(f(z))), for z Gaussian with the root's statistics.

    Raises:
        ArithmeticError: f is no function of single values.
    """
    values = _evaluated(function, root.mean + math.sqrt(max(root.variance, 0.0)) * _BETWEEN)
    return float((_BETWEEN_WEIGHTS * holds(values).double()).sum())


def share_of_all(holds: Function, function: Function, root: Signal, covariance: float, rows: int) -> float:
    """P(holds(f(z)) in all of so many rows), for z that share this covariance: E over what they share of P(holds)^rows.

    Raises:
        ArithmeticError: f is no function of single values.
    """
    part = min(max(covariance / root.variance, 0.0), 1.0) if root.variance > 0 else 0.0
    common, own = math.sqrt(part), math.sqrt(1 - part)
    t = _BETWEEN[::7]
    points = root.mean + math.sqrt(max(root.variance, 0.0)) * (common * t[:, None] + own * _COARSE[None, :])
    values = _evaluated(function, points.reshape(-1)).reshape(points.shape)
    given = (holds(values).double() * _COARSE_WEIGHTS).sum(1)
    density = torch.exp(-t.square() / 2)
    return float((density / density.sum() * given**rows).sum())


def _evaluated(function: Function, points: torch.Tensor) -> torch.Tensor:
    """f at points; ArithmeticError where it mixes them."""
    with torch.no_grad():
        values = function(points.clone())
        if values.shape != points.shape or values.is_complex():
            raise ArithmeticError("no function of single values")
        for part in (slice(None, None, 2), slice(0, len(points) // 3)):
            again = function(points[part].clone())
            if again.shape != points[part].shape or not torch.allclose(
                again.double(), values[part].double(), equal_nan=True
            ):
                raise ArithmeticError("no function of single values")
    return values.double()


def _covariance(function: Function, root: Signal, covariance: float, mean: float, variance: float) -> float:
    if root.variance <= 0 or covariance <= 0:
        return 0.0
    share = min(covariance / root.variance, 1.0)
    if share > 0.9999:
        return variance
    common, own = math.sqrt(share), math.sqrt(1 - share)
    points = root.mean + math.sqrt(root.variance) * (common * _NODES[:, None] + own * _COARSE[None, :])
    with torch.no_grad():
        values = function(points.reshape(-1)).double().reshape(points.shape)
    finite = values.isfinite()
    weights = _COARSE_WEIGHTS * finite
    given = (torch.where(finite, values, 0.0) * weights).sum(1) / weights.sum(1).clamp_min(1e-30)
    return max(0.0, float((_NODE_WEIGHTS * (given - mean).square()).sum()))
