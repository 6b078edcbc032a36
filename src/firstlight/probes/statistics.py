"""Statistics of one value or one gradient: what ``observing`` takes at each place while the tensor is there.

A value is laid out as (samples, positions, units); large ones are looked at in part, never copied whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from .parts import Backward, Forward

# The largest number of values of one place that is looked at, whatever the limits on samples and positions allow.
LARGEST = 1 << 21
_RANKED = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of each value is looked at: so many samples, and so many positions (tokens, pixels) of each."""

    samples: int = 256
    positions: int = 256


@dataclass(frozen=True, slots=True)
class Form:
    """Which axis of a value holds the samples, ``None`` for none, and which the units."""

    sample: int | None
    unit: int


def form_of(shape: tuple[int, ...], batch: int, unit: int) -> Form:
    """The axes of a value in a forward on ``batch`` samples: the samples come first, or second (sequence first)."""
    rank = len(shape)
    axis = unit % rank if rank else 0
    for candidate in (0, 1):
        if candidate < rank - 1 and candidate != axis and shape[candidate] == batch:
            return Form(candidate, axis)
    if rank >= 2 and axis != 0 and batch and shape[0] % batch == 0:
        return Form(0, axis)  # samples and positions in one axis, or windows of each sample
    return Form(None, axis)


def part(value: torch.Tensor, form: Form, batch: int, limits: Limits) -> torch.Tensor:
    """The part of a value that is looked at, (samples, positions, units) in at least float32; a copy only if smaller.

    Positions are drawn without replacement, the same at every call of one shape.
    """
    x = value.detach()
    if x.is_complex():
        x = torch.view_as_real(x).flatten(-2)
    if x.dim() == 0:
        x = x.reshape(1, 1)
    if x.dim() == 1:
        x = x[:, None] if form.sample == 0 or x.shape[0] == batch else x[None]
        return _wide(x[:, None])
    unit = form.unit
    x = x.movedim((form.sample, unit), (0, -1)) if form.sample is not None else x.movedim(unit, -1)[None]
    samples, units = x.shape[0], x.shape[-1]
    if form.sample is not None and batch and samples != batch and samples % batch == 0:
        x = x.reshape(batch, samples // batch, *x.shape[1:])
        samples = batch
    room = max(1, LARGEST // max(units, 1))
    x = x[: min(limits.samples, room)]
    inner = x.shape[1:-1]
    count = math.prod(inner)
    wanted = min(limits.positions, max(1, room // max(x.shape[0], 1)))
    if count <= wanted:
        return _wide(x.reshape(x.shape[0], count, units))
    chosen = _chosen(count, wanted).to(x.device)
    index: Any = torch.unravel_index(chosen, inner) if len(inner) > 1 else (chosen,)
    return _wide(x[(slice(None), *index)])


def _chosen(count: int, wanted: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    if count <= 1 << 20:
        return torch.randperm(count, generator=generator)[:wanted].sort().values
    return torch.randint(count, (wanted,), generator=generator).sort().values


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def forward_statistics(value: torch.Tensor, x: torch.Tensor, op: str) -> Forward:
    """The statistics of a value from the part ``x`` of it that is looked at; non-finite values are counted in all."""
    nonfinite = count_nonfinite(value)
    samples, positions, units = x.shape
    rows = samples * positions
    if not x.numel():
        return Forward(0.0, 0.0, 0.0, 0.0, 0.0, None, rows, units, nonfinite, value.numel())
    if nonfinite:
        x = torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    flat = x.reshape(rows, units)
    low, high = flat.amin(0), flat.amax(0)
    largest = float(torch.maximum(-low.min(), high.max()))
    scale = _scale(largest)
    scaled, plain = (flat, 1.0) if scale == 1.0 else (flat.double() / scale, scale)
    second = _squares(scaled) / scaled.numel()
    by_sample = scaled.reshape(samples, positions, units)
    # Most values have no zeros at all, and looking for them is cheap only once.
    zeros = 1.0 - float(torch.count_nonzero(flat)) / flat.numel()
    return Forward(
        mean=float(scaled.mean()) * plain,
        second=second * plain**2,
        largest=largest,
        zeros=zeros,
        dead=float(((low == 0) & (high == 0)).double().mean()) if zeros else 0.0,
        constant=float((low == high).double().mean()) if rows > 1 else None,
        rows=rows,
        units=units,
        nonfinite=nonfinite,
        count=value.numel(),
        saturated=_saturated(flat, op),
        **_alignment(by_sample, second),
    )


def _squares(x: torch.Tensor) -> float:
    """Σ x², as a dot product, which is several times as fast as a norm."""
    flat = x.reshape(-1)
    return float(torch.dot(flat, flat))


def _scale(largest: float) -> float:
    """By what to divide, so that squares neither vanish nor overflow in float32."""
    return 1.0 if 1e-12 < largest < 1e12 or largest == 0 else largest


def _alignment(x: torch.Tensor, second: float) -> dict[str, Any]:
    """How much samples and positions point one way."""
    samples, positions, units = x.shape
    found: dict[str, Any] = {}
    if second == 0:
        return found
    if samples > 1:
        found["cosine"] = _mean_cosine(x.reshape(1, samples, positions * units))
        # Var = E[x²] − E[x]² over the samples, the mean over units and positions.
        common = x.mean(0)
        found["sample_spread"] = max(0.0, 1 - _squares(common) / common.numel() / second)
    if positions > 1:
        found["position_cosine"] = _mean_cosine(x)
    rows = x.reshape(-1, units)
    if rows.shape[0] > 1:
        step = max(1, rows.shape[0] // _RANKED)
        some = rows[::step][:_RANKED]
        gram = some @ some.T
        squares = float(gram.square().sum(dtype=torch.float64))
        found["effective_rank"] = float(gram.diagonal().sum(dtype=torch.float64)) ** 2 / squares if squares else None
        found["ranked"] = some.shape[0]
    return found


def _mean_cosine(x: torch.Tensor) -> float | None:
    """The mean cosine between two rows of a set, (‖Σ x̂‖² − n) / (n (n − 1)), over sets (sets, rows, units)."""
    norms = x.square().sum(-1).sqrt()
    live = norms > 0
    counts = live.sum(1).double()
    weights = torch.where(live, 1 / norms.clamp_min(torch.finfo(norms.dtype).tiny), 0.0)
    sums = torch.bmm(weights[:, None], x)[:, 0]
    squares = sums.double().square().sum(-1)
    several = counts > 1
    if not bool(several.any()):
        return None
    n, s = counts[several], squares[several]
    return float(((s - n) / (n * (n - 1))).mean())


_FLAT = 0.05


def _saturated(flat: torch.Tensor, op: str) -> float | None:
    """The share of values y = φ(z) where |φ'(z)| < 5 % of its maximum, for the φ that saturate."""
    flat_where = _SATURATES.get(op)
    return None if flat_where is None else float(flat_where(flat).double().mean())


_TANH = math.sqrt(1 - _FLAT)
_SIGMOID = (1 - math.sqrt(1 - _FLAT)) / 2
_SOFTSIGN = 1 - math.sqrt(_FLAT)
_SATURATES: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = MappingProxyType(
    {
        "tanh": lambda y: y.abs() > _TANH,  # φ' = 1 − y²
        "sigmoid": lambda y: (y - 0.5).abs() > 0.5 - _SIGMOID,  # φ' = y (1 − y), at most 1/4
        "softsign": lambda y: y.abs() > _SOFTSIGN,  # φ' = (1 − |y|)²
        "hardtanh": lambda y: y.abs() >= 1,
        "hardsigmoid": lambda y: (y - 0.5).abs() >= 0.5,
    }
)


def flat_part(op: str) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Which values y = φ(z) lie where |φ'(z)| < 5 % of its maximum; ``None`` where φ does not saturate."""
    return _SATURATES.get(op)


def entropy(logarithms: torch.Tensor, axis: int) -> float | None:
    """H / log T of softmax rows given as log p, the mean over rows; T counts the entries that any sample may use."""
    x = logarithms.detach().movedim(axis, -1).float()
    if x.shape[-1] < 2 or not x.numel():
        return None
    room = max(1, LARGEST // x.shape[-1])
    x = x.reshape(-1, x.shape[-2] if x.dim() > 1 else 1, x.shape[-1])
    x = x[: max(1, room // max(1, x.shape[1]))]
    if x.shape[1] > room:
        x = x[:, :: -(-x.shape[1] // room)]
    p = x.exp()
    allowed = (p > 0).any(0).sum(-1) if x.shape[0] > 1 else torch.full(x.shape[1:2], x.shape[-1], device=x.device)
    several = allowed > 1
    if not bool(several.any()):
        return None
    h = torch.special.entr(p).sum(-1)[:, several]
    return float((h / allowed[several].float().log()).mean(dtype=torch.float64))


def backward_statistics(gradient: torch.Tensor, x: torch.Tensor) -> Backward:
    """The statistics of a gradient from the part ``x`` of it that is looked at."""
    nonfinite = count_nonfinite(gradient)
    if not x.numel():
        return Backward(0.0, 0.0, 0.0, 0.0, nonfinite, gradient.numel())
    if nonfinite:
        x = torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    n = x.numel()
    mean_abs = float(x.abs().mean())
    return Backward(
        mean=float(x.mean()),
        second=second_moment(x, mean_abs),
        mean_abs=mean_abs,
        zeros=1.0 - float(torch.count_nonzero(x)) / n,
        nonfinite=nonfinite,
        count=gradient.numel(),
    )


def second_moment(x: torch.Tensor, size: float) -> float:
    """E[x²], also where squares of float32 would vanish or overflow; ``size`` says how large x is about."""
    if not x.numel():
        return 0.0
    if 1e-12 < size < 1e12:
        return _squares(x) / x.numel()
    return float(x.double().square().mean())


def count_nonfinite(value: torch.Tensor) -> int:
    """How many values are NaN or infinite: one sum where none is."""
    x = value.detach()
    if not x.numel() or not (x.is_floating_point() or x.is_complex()):
        return 0
    total = x.sum(dtype=torch.float32 if x.dtype in (torch.float16, torch.bfloat16) else None)
    if total.is_complex():
        total = total.abs()
    if math.isfinite(float(total)):
        return 0
    return x.numel() - int(torch.isfinite(x).sum())
