"""Statistics of one value or one gradient: what ``observing`` takes at each place while the tensor is there.

A value is laid out as (samples, positions, units); large ones are looked at in part, never copied whole. Values of one
layout are looked at together, (values, samples, positions, units): a call of torch costs as much as what it does to a
small one. ``together`` gathers them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch

from .parts import Backward, Forward
from .sums import as_it_lies, count_nonfinite, finite, second_moments, shares_of_zeros, squares

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
    if x.dim() == 2 and form.sample == 0 and x.shape[0] == batch and unit == 1 and x.numel() <= LARGEST:
        return _wide(x[: limits.samples, None])
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


@dataclass(frozen=True, slots=True)
class Looked:
    """What of a value its part does not tell.

    Args:
        op: the call that made it.
        count: how many values the whole has; ``nonfinite`` how many of them are not finite, ``None`` where the part is
            the whole and tells.
        second, zeros: of a whole gradient, which may be zero but for one token: E[g²], and the share of zeros where the
            part has nothing else; ``None`` where the part tells.
    """

    op: str
    count: int
    nonfinite: int | None
    second: float | None = None
    zeros: float | None = None


def looked(value: torch.Tensor, x: torch.Tensor, op: str = "") -> Looked:
    """Of a value of which the part ``x`` is looked at."""
    return Looked(op, value.numel(), None if x.numel() == value.numel() else count_nonfinite(value))


def looked_back(gradient: torch.Tensor, x: torch.Tensor) -> Looked:
    """Of a gradient of which the part ``x`` is looked at."""
    found = looked(gradient, x)
    if not found.count or found.nonfinite is None or found.nonfinite:
        return found
    g = gradient.detach()
    zeros = None if bool(x.any()) else 1.0 - int(torch.count_nonzero(g)) / found.count
    wide = torch.float32 if g.device.type == "mps" else torch.float64
    norm = torch.linalg.vector_norm(torch.view_as_real(g) if g.is_complex() else g, dtype=wide)
    return replace(found, second=float(norm) ** 2 / found.count, zeros=zeros)


def forward_statistics(x: torch.Tensor, looks: Sequence[Looked], spare: bool = False) -> list[Forward]:
    """The statistics of values (values, samples, positions, units); non-finite ones are counted and taken for zero.

    What is ``spare`` may be written over: memory that is new takes longer than what is done in it.
    """
    several, samples, positions, units = x.shape
    rows = samples * positions
    if not x.numel():
        return [Forward(0.0, 0.0, 0.0, 0.0, 0.0, None, rows, units, v.nonfinite or 0, v.count) for v in looks]
    if not x.is_contiguous():  # the units of pictures lie apart: put together once, and not for each of the sums
        x, spare = x.contiguous(), True
    given, (x, means, lost) = x, finite(x)
    flat = x.reshape(several, rows, units)
    # First over the samples: over many rows of few units it takes thirty times as long.
    wide = x.reshape(several, samples, positions * units)
    low, high = wide.amin(1), wide.amax(1)
    if positions > 1:
        low, high = (v.reshape(several, positions, units) for v in (low, high))
        low, high = low.amin(1), high.amax(1)
    ends = list(zip(low.amin(1).tolist(), high.amax(1).tolist(), strict=True))
    largest = [max(-least, most) for least, most in ends]
    scales = [_scale(size) for size in largest]
    if any(scale != 1.0 for scale in scales):
        if several > 1:
            return [forward_statistics(given[i : i + 1], looks[i : i + 1], spare)[0] for i in range(several)]
        x = x.double() / scales[0]
        means = [float(x.mean()) * scales[0]]
    seconds = [square / (rows * units) for square in squares(x)]
    still = low == high  # units that are zero throughout are among them
    unmoved = still.sum(1).tolist()
    saturated = [_saturated(v, look.op) for v, look in zip(flat, looks, strict=True)]
    alignments = _alignments(x, seconds)
    zeros = shares_of_zeros(flat, spare) if any(least <= 0 <= most for least, most in ends) else [0.0] * several
    dead = (still & (low == 0)).sum(1).tolist() if any(unmoved) and any(zeros) else [0] * several
    return [
        Forward(
            mean=means[i],
            second=seconds[i] * scales[i] ** 2,
            largest=largest[i],
            zeros=zeros[i],
            dead=dead[i] / units,
            constant=unmoved[i] / units if rows > 1 else None,
            rows=rows,
            units=units,
            nonfinite=_counted(lost[i], look),
            count=look.count,
            saturated=saturated[i],
            **alignments[i],
        )
        for i, look in enumerate(looks)
    ]


def _counted(lost: int, look: Looked) -> int:
    """How many of a value's numbers are not finite: what its part tells where that is the whole."""
    return lost if look.nonfinite is None else look.nonfinite


def _scale(largest: float) -> float:
    """By what to divide, so that squares neither vanish nor overflow in float32."""
    return 1.0 if 1e-12 < largest < 1e12 or largest == 0 else largest


def _alignments(x: torch.Tensor, seconds: Sequence[float]) -> list[dict[str, Any]]:
    """How much samples and positions point one way, of each value that is not zero throughout."""
    several, samples, positions, units = x.shape
    found: list[dict[str, Any]] = [{} for _ in range(several)]
    squared = x.square()
    if samples > 1:
        # Var = E[x²] − E[x]² over the samples, the mean over units and positions.
        common = squares(x.sum(1).div_(samples))
        shape = (several, 1, samples, positions * units)
        cosines = _mean_cosines(x.reshape(shape), squared.reshape(shape))
        for one, square, cosine, second in zip(found, common, cosines, seconds, strict=True):
            one["cosine"] = cosine
            one["sample_spread"] = max(0.0, 1 - square / (positions * units) / second) if second else None
    if positions > 1 and units > 1:  # one unit has a sign and no direction
        for one, cosine in zip(found, _mean_cosines(x, squared), strict=True):
            one["position_cosine"] = cosine
    if samples * positions > 1:
        for one, rank, rows in zip(found, *_effective_ranks(x.reshape(several, -1, units)), strict=True):
            one["effective_rank"], one["ranked"] = rank, rows
    return [one if second else {} for one, second in zip(found, seconds, strict=True)]


def _effective_ranks(x: torch.Tensor) -> tuple[list[float | None], list[int]]:
    """(tr G)² / tr G² of the Gram matrix of some rows, of values (values, rows, units); and of how many rows."""
    step = max(1, x.shape[1] // _RANKED)
    some = x[:, ::step][:, :_RANKED]
    gram = torch.bmm(some, some.transpose(1, 2))
    squares = gram.square().sum((1, 2), dtype=torch.float64).tolist()
    traces = gram.diagonal(dim1=1, dim2=2).sum(1, dtype=torch.float64).tolist()
    ranks = [trace**2 / square if square else None for trace, square in zip(traces, squares, strict=True)]
    return ranks, [some.shape[1]] * len(x)


def _mean_cosines(x: torch.Tensor, squared: torch.Tensor) -> list[float | None]:
    """The mean cosine between two rows of a set, (‖Σ x̂‖² − n) / (n (n − 1)), over the sets of each value.

    Values and their squares are (values, sets, rows, units); rows that are zero have no direction and are left out.
    """
    several, sets, rows, units = x.shape
    norms = squared.sum(-1).sqrt()
    tiny = torch.finfo(norms.dtype).tiny
    if float(norms.min()) < tiny:
        return [_mean_cosine_of_live(v, n, tiny) for v, n in zip(x, norms, strict=True)]
    sums = torch.bmm(norms.reciprocal().reshape(-1, 1, rows), x.reshape(-1, rows, units))
    squares = sums.double().square().sum(-1).reshape(several, sets)
    found: list[float | None] = ((squares - rows) / (rows * (rows - 1))).mean(1).tolist()
    return found


def _mean_cosine_of_live(x: torch.Tensor, norms: torch.Tensor, tiny: float) -> float | None:
    live = norms > 0
    counts = live.sum(1).double()
    weights = torch.where(live, 1 / norms.clamp_min(tiny), 0.0)
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


_FOCUSED = 0.5  # entropy below which it is asked how wide the logits are
_MASKED = -1e4  # what is below is hidden by a mask


def focus(logarithms: torch.Tensor, axis: int) -> tuple[float | None, float | None]:
    """The entropy of softmax rows given as log p, and how wide the logits are where that is low."""
    found = entropy(logarithms, axis)
    return found, None if found is None or found >= _FOCUSED else _width(logarithms, axis)


def _width(logarithms: torch.Tensor, axis: int) -> float | None:
    """The standard deviation over a row, the root of the mean square over rows; log p is a logit but for a constant."""
    x = logarithms.detach().movedim(axis, -1).float().reshape(-1, logarithms.shape[axis])
    x = x[: max(1, LARGEST // x.shape[-1])]
    open_ = x > _MASKED
    counts = open_.sum(-1, keepdim=True)
    x = torch.where(open_, x, 0.0)
    spread = torch.where(open_, x - x.sum(-1, keepdim=True) / counts.clamp_min(1), 0.0).square().sum(-1)
    several = counts[:, 0] > 1
    return float((spread[several] / counts[several, 0]).mean().sqrt()) if bool(several.any()) else None


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


def backward_statistics(x: torch.Tensor, looks: Sequence[Looked], spare: bool = False) -> list[Backward]:
    """The statistics of gradients (gradients, samples, positions, units); what is ``spare`` may be written over."""
    if not x.numel():
        return [Backward(0.0, 0.0, 0.0, 0.0, v.nonfinite or 0, v.count) for v in looks]
    x, means, lost = finite(as_it_lies(x))
    sizes = x.abs_() if spare else x.abs()
    mean_abs = sizes.reshape(len(x), -1).mean(1).tolist()
    seconds = second_moments(sizes, mean_abs)
    zeros = shares_of_zeros(sizes, spare=True)
    return [
        Backward(
            means[i],
            seconds[i] if look.second is None else look.second,
            mean_abs[i],
            zeros[i] if look.zeros is None else look.zeros,
            _counted(lost[i], look),
            look.count,
        )
        for i, look in enumerate(looks)
    ]
