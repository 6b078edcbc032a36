"""Measuring a step: norms of gradients, weights and updates, dead units, and how far the step overshoots.

Reads the parameters before and after the optimizer's step, in a few fused passes; writes nothing. On a sharded model
(DTensor) every rank measures its shard and the sums are added up, so all ranks must measure the same steps. Numbers
stay single tensors, on their device, until ``read``, which is quicker the more samples it is given at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

from .training_records import Layers, Sample
from .watch_ranks import Ranks

COPIED = 2**26  # values of weights that are copied at a sampled step, at most
STREAK = 5  # samples in which a dead unit has had no gradient
_NONE = torch.zeros((), dtype=torch.int64)
_ZERO = torch.zeros(())
_UNITS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # modules whose weight's rows are units


def layers_of(named: Sequence[tuple[str, nn.Parameter]], model: nn.Module) -> Layers:
    """What the trained parameters are."""
    rows = {
        id(m.weight): m.weight.shape[0] for m in model.modules() if isinstance(m, _UNITS) and m.weight.requires_grad
    }
    return Layers(
        tuple(n for n, _ in named),
        np.array([p.numel() for _, p in named], dtype=np.float64),
        np.array([p.dim() > 1 for _, p in named], dtype=np.bool_),
        np.array([rows.get(id(p), 0) for _, p in named], dtype=np.float64),
    )


@dataclass(slots=True)
class Meter:
    """Measures the steps it is told to; ``read`` gives what has been measured since the last time."""

    parameters: list[nn.Parameter]
    layers: Layers
    ranks: Ranks | None = None
    streaks: dict[int, torch.Tensor] = field(default_factory=dict)
    _copied: list[int] = field(default_factory=list)
    _units: list[bool] = field(default_factory=list)
    _before: list[torch.Tensor] = field(default_factory=list)
    on_device: bool = False  # fetching a number would wait for a device
    _open: _Raw | None = None
    _pair: _Raw | None = None
    _done: list[_Raw] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Choose what is copied: the small ones first, so that most layers are seen where not all are."""
        self.on_device = any(p.device.type != "cpu" for p in self.parameters)
        self._units = [bool(u) for u in self.layers.units]
        left = COPIED
        for i in sorted(range(len(self.parameters)), key=lambda i: self.parameters[i].numel()):
            left -= _local(self.parameters[i]).numel()
            if left < 0:
                break
            self._copied.append(i)
        self._copied.sort()

    @property
    def sharded(self) -> bool:
        """Whether a parameter is spread over ranks."""
        return self.ranks is not None

    @property
    def measuring(self) -> bool:
        """Whether a step has begun to be measured."""
        return self._open is not None

    @property
    def waits(self) -> bool:
        """Whether a step's overshoot is still to be seen."""
        return self._pair is not None

    @property
    def unread(self) -> int:
        """How many samples ``read`` has to give."""
        return len(self._done)

    @torch.no_grad()
    def before(
        self,
        step: int,
        rates: Sequence[float],
        closure: bool,
        scale: torch.Tensor | None = None,
        skipped: torch.Tensor | None = None,
    ) -> None:
        """Look at gradients and weights, and keep a copy, before the optimizer's step.

        Args:
            closure: whether the step evaluates the gradient itself, so that only its end shows it.
            scale: what the gradients are still multiplied by; ``None`` for nothing.
            skipped: above zero where the step will change nothing, as a gradient scaler decided.
        """
        locals_ = [_local(p) for p in self.parameters]
        # A scaler changes its tensors in place before they are read here.
        kept_scale, kept_skip = (None if t is None else t.clone() for t in (scale, skipped))
        raw = _Raw(step, np.asarray(rates, dtype=np.float64), kept_scale, kept_skip)
        raw.weight = _norms(locals_)
        if not closure:
            self._gradients(raw)
        self._before = list(torch._foreach_mul([locals_[i] for i in self._copied], -1.0)) if self._copied else []
        self._open = raw

    @torch.no_grad()
    def after(self) -> None:
        """Look at what the step changed."""
        raw = self._open
        self._open = None
        if raw is None:
            return
        if raw.gradient is None:
            self._gradients(raw)
        if self._before:
            torch._foreach_add_(self._before, [_local(self.parameters[i]) for i in self._copied])
            raw.update = _norms(self._before)
            self._before = [u.flatten() for u in self._before]
            raw.slope = self._along()
            if raw.scale is not None:
                factor = self._unscaled(raw)
                raw.slope = [term * factor for term in raw.slope]
        self._pair = raw

    @torch.no_grad()
    def next_step(self, scale: torch.Tensor | None) -> None:
        """The next step's gradient is there: how the slope along the last update has changed."""
        raw = self._pair
        self._pair = None
        if raw is None:
            return
        if self._before:
            along = self._along()
            raw.next_slope = along if scale is None else [term / scale for term in along]
        self._before = []
        self._done.append(raw)

    def drop_pair(self) -> None:
        """Take the last sample as it is, without its overshoot."""
        if self._pair is not None:
            self._done.append(self._pair)
        self._pair, self._before = None, []

    def take_up(self, streaks: Mapping[int, torch.Tensor]) -> None:
        """Go on counting dead units from these samples; of a sharded model they begin again."""
        if not self.sharded:
            self.streaks = {i: t.to(self.parameters[i].device) for i, t in streaks.items()}

    def read(self) -> list[Sample]:
        """Fetch what was measured. Steps that a gradient scaler skipped are left out."""
        done, self._done = self._done, []
        samples = [self._sample(raw) for raw in done]
        return [s for s in samples if s is not None]

    def _gradients(self, raw: _Raw) -> None:
        grads = [_gradient(p) for p in self.parameters]
        held = [i for i, g in enumerate(grads) if g is not None]
        raw.held = held
        given = [g for g in grads if g is not None]
        raw.gradient = _norms(given)
        if raw.scale is not None:
            raw.gradient = [norm / raw.scale.to(norm) for norm in raw.gradient]
        for i, zero in self._zeros(held, given):
            raw.counted.append(i)
            if zero is None:
                self.streaks.pop(i, None)
                raw.dead.append(_NONE)
                raw.zero.append(_NONE)
                continue
            grown = zero.to(torch.int16)
            streak = self.streaks.get(i)
            self.streaks[i] = grown if streak is None else (streak + 1).clamp_(max=STREAK) * grown
            raw.dead.append((self.streaks[i] >= STREAK).sum())
            raw.zero.append(zero.sum())

    def _zeros(self, held: Sequence[int], given: Sequence[torch.Tensor]) -> list[tuple[int, torch.Tensor | None]]:
        """Of each layer with units, which of those that are here have no gradient; ``None`` for none of them.

        Of units whose weights are cut, those that have none on any rank.
        """
        found: dict[int, torch.Tensor | None] = {}
        cut: dict[tuple[dist.ProcessGroup, ...], list[int]] = {}
        for i, grad in zip(held, given, strict=True):
            if self._units[i]:
                found[i] = _zero_rows(grad)
                key = _cut_by(self.parameters[i])
                if key:
                    cut.setdefault(key, []).append(i)
                    zero = found[i]
                    found[i] = torch.zeros(len(grad), dtype=torch.bool, device=grad.device) if zero is None else zero
        for groups, members in cut.items():
            masks = [m for i in members if (m := found[i]) is not None]
            packed = torch.cat(masks).to(torch.int32)
            for group in groups:
                dist.all_reduce(packed, dist.ReduceOp.MIN, group=group)
            pieces = torch.split(packed.bool(), [len(m) for m in masks])
            found.update(zip(members, pieces, strict=True))
        return list(found.items())

    def _unscaled(self, raw: _Raw) -> torch.Tensor:
        """What gradients are to be multiplied by: some fused optimizers unscale them in their step, some do not."""
        now = _norms([g for g in map(_gradient, self.parameters) if g is not None])
        if not raw.gradient or not now:
            return torch.tensor(math.nan)
        factor: torch.Tensor = _stacked(raw.gradient).norm() / _stacked(now).norm()
        return factor

    def _along(self) -> list[torch.Tensor]:
        """g·u of each parameter that was copied."""
        terms = []
        for i, u in zip(self._copied, self._before, strict=True):
            g = _gradient(self.parameters[i])
            if g is None or not g.numel():
                terms.append(_ZERO)
            else:
                terms.append(torch.dot(g.flatten() if g.dtype == u.dtype else g.flatten().to(u.dtype), u))
        return terms

    def _sample(self, raw: _Raw) -> Sample | None:
        skipped = raw.skipped is not None and float(raw.skipped) > 0
        if skipped and not self.sharded:
            return None
        lists = (raw.gradient or [], raw.weight, raw.update, raw.slope, raw.next_slope)
        numbers = _stacked([n for each in lists for n in each]).cpu().numpy().astype(np.float64)
        gradient, weight, update, along, along_next, _ = np.split(numbers, np.cumsum([len(each) for each in lists]))
        sums = np.full((7, len(self.parameters)), np.nan)
        sums[0, raw.held], sums[1], sums[2, self._copied] = gradient**2, weight**2, update**2
        for row, terms in ((3, along), (4, along_next)):
            if len(terms):
                sums[row, self._copied] = terms
        for row, counts in ((5, raw.dead), (6, raw.zero)):
            if counts:
                sums[row, raw.counted] = 0 if all(c is _NONE for c in counts) else _stacked(counts).cpu().numpy()
        if self.ranks is not None:
            flag = torch.tensor([float(skipped)], dtype=torch.float64)
            shares = torch.from_numpy(sums) / self._copies(self.ranks)
            *flat, skips = self.ranks.sum(torch.cat([shares.flatten(), flag])).tolist()
            sums = np.array(flat).reshape(sums.shape)
            if skips > 0:
                return None
        units = self.layers.units
        rms = np.sqrt(sums[:3] / self.layers.sizes)
        # Where no unit has a gradient the layer was not reached: an expert that no token chose.
        reached = sums[6] < units - 0.5
        with np.errstate(divide="ignore", invalid="ignore"):
            dead = np.where(units > 0, np.where(reached, sums[5], 0 * sums[5]) / units, np.nan)
        held = np.zeros(len(self.parameters), dtype=np.bool_)
        held[raw.held] = True
        norm = float(np.sqrt(sums[0][held].sum()))
        slope, following = (math.nan if np.isnan(row).all() else float(row[~np.isnan(row)].sum()) for row in sums[3:5])
        overshoot = following / abs(slope) if abs(slope) > 0 else math.nan
        return Sample(raw.step, rms[0], rms[1], rms[2], dead, raw.rates, norm, held, overshoot, slope)

    def _copies(self, ranks: Ranks) -> torch.Tensor:
        """By what the ranks' sums are divided, since several hold the same; counts of units also by a unit's parts."""
        found = torch.full((7, len(self.parameters)), float(ranks.size), dtype=torch.float64)
        for i, p in enumerate(self.parameters):
            if isinstance(p, DTensor):
                found[:, i] = ranks.copies(p.placements, p.device_mesh.shape)
                for placement, count in zip(p.placements, p.device_mesh.shape, strict=True):
                    found[5:, i] *= count if (getattr(placement, "dim", None) or 0) > 0 else 1
        return found


@dataclass(slots=True)
class _Raw:
    """A step's sums, still on their device."""

    step: int
    rates: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    scale: torch.Tensor | None
    skipped: torch.Tensor | None
    held: list[int] = field(default_factory=list)
    gradient: list[torch.Tensor] | None = None
    weight: list[torch.Tensor] = field(default_factory=list)
    update: list[torch.Tensor] = field(default_factory=list)
    dead: list[torch.Tensor] = field(default_factory=list)
    zero: list[torch.Tensor] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)
    slope: list[torch.Tensor] = field(default_factory=list)
    next_slope: list[torch.Tensor] = field(default_factory=list)


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's part."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _gradient(parameter: nn.Parameter) -> torch.Tensor | None:
    grad = parameter.grad
    if grad is None:
        return None
    if isinstance(grad, DTensor) and isinstance(parameter, DTensor) and grad.placements != parameter.placements:
        grad = grad.redistribute(placements=parameter.placements)  # terms of a sum, as sequence parallelism leaves them
    grad = _local(grad)
    return grad.coalesce().to_dense() if grad.is_sparse else grad


def _cut_by(parameter: nn.Parameter) -> tuple[dist.ProcessGroup, ...]:
    """The groups of ranks that have parts of this rank's units; () for none."""
    if not isinstance(parameter, DTensor):
        return ()
    mesh, placements = parameter.device_mesh, parameter.placements
    return tuple(mesh.get_group(d) for d, p in enumerate(placements) if (getattr(p, "dim", None) or 0) > 0)


def _zero_rows(grad: torch.Tensor) -> torch.Tensor | None:
    """Which rows are zero; ``None`` where it costs no waiting to know that none is.

    Squares are summed fastest, but those of small numbers vanish.
    """
    if not grad.numel():  # a shard of no rows, or of nothing of them
        return torch.ones(len(grad), dtype=torch.bool, device=grad.device)
    grad = grad.flatten(1)
    if grad.is_cpu and float(torch.linalg.vector_norm(grad, dim=1).amin()) > 0:  # NaN is not
        return None
    return grad.abs().amax(1) == 0


def _norms(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """√Σ x² of each, in float32 at least."""
    norms = [*tensors]
    for kind in {(t.device, t.dtype) for t in tensors}:
        chosen = [i for i, t in enumerate(tensors) if (t.device, t.dtype) == kind]
        half = kind[1] in (torch.float16, torch.bfloat16)
        found = torch._foreach_norm([tensors[i] for i in chosen], 2, torch.float32 if half else None)
        for i, norm in zip(chosen, found, strict=True):
            norms[i] = norm
    return norms


def _stacked(numbers: Sequence[torch.Tensor]) -> torch.Tensor:
    """Single numbers as a vector of float32, or float64 where one is, on the first one's device."""
    if not numbers:
        return torch.zeros(0)
    dtype = torch.float64 if any(n.dtype == torch.float64 for n in numbers) else torch.float32
    device = numbers[0].device
    return torch.stack([n if n.dtype == dtype and n.device == device else n.to(device, dtype) for n in numbers])
