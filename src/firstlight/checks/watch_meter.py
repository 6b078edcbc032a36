"""Measuring a step: norms of gradients, weights and updates, dead units, and how far the step overshoots.

Reads the parameters before and after the optimizer's step, in a few fused passes; writes nothing. On a sharded model
(DTensor) every rank measures its shard and the sums are reduced, so all ranks must measure the same steps. Numbers stay
single tensors, on their device, until ``read``, which is quicker the more samples it is given at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor, Shard

from .training_records import Layers, Sample

COPIED = 2**26  # values of weights that are copied at a sampled step, at most
STREAK = 5  # samples in which a dead unit has had no gradient
_NONE = torch.zeros((), dtype=torch.int64)
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
    streaks: dict[int, torch.Tensor] = field(default_factory=dict)
    _copied: list[int] = field(default_factory=list)
    _units: list[bool] = field(default_factory=list)
    _before: list[torch.Tensor] = field(default_factory=list)
    sharded: bool = False  # a parameter is spread over ranks
    on_device: bool = False  # fetching a number would wait for a device
    _open: _Raw | None = None
    _pair: _Raw | None = None
    _done: list[_Raw] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Choose what is copied: the small ones first, so that most layers are seen where not all are."""
        self.sharded = any(isinstance(p, DTensor) for p in self.parameters)
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
                raw.slope = [term * self._unscaled(raw) for term in raw.slope]
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

    def agree(self, numbers: tuple[float, ...]) -> tuple[float, ...]:
        """The means over ranks, where the model is sharded: so that all choose the same."""
        mesh = next((p.device_mesh for p in self.parameters if isinstance(p, DTensor)), None)
        if mesh is None:
            return numbers
        packed = torch.tensor([*numbers, 1.0], dtype=torch.float64, device=mesh.device_type)
        for dim in range(mesh.ndim):
            dist.all_reduce(packed, group=mesh.get_group(dim))
        *sums, ranks = packed.tolist()
        return tuple(s / ranks for s in sums)

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
        for i, grad in zip(held, given, strict=True):
            if self._units[i] and grad.numel():
                zero = _zero_rows(grad.flatten(1))
                raw.counted.append(i)
                if zero is None:
                    self.streaks.pop(i, None)
                    raw.dead.append(_NONE)
                    continue
                grown = zero.to(torch.int16)
                streak = self.streaks.get(i)
                self.streaks[i] = grown if streak is None else (streak + 1).clamp_(max=STREAK) * grown
                # Where no unit has a gradient the layer was not reached: an expert that no token chose.
                raw.dead.append((self.streaks[i] >= STREAK).sum() * (~zero.all()))

    def _unscaled(self, raw: _Raw) -> torch.Tensor:
        """What gradients are to be multiplied by: some fused optimizers unscale them in their step, some do not."""
        now = _norms([g for g in map(_gradient, self.parameters) if g is not None])
        if not raw.gradient or not now:
            return torch.tensor(math.nan)
        factor: torch.Tensor = _stacked(raw.gradient).norm() / _stacked(now).norm()
        return factor

    def _along(self) -> list[torch.Tensor]:
        """g·u of each that was copied."""
        terms = []
        for i, u in zip(self._copied, self._before, strict=True):
            g = _gradient(self.parameters[i])
            if g is not None and g.numel():
                terms.append(torch.dot(g.flatten() if g.dtype == u.dtype else g.flatten().to(u.dtype), u))
        return terms

    def _sample(self, raw: _Raw) -> Sample | None:
        if raw.skipped is not None and float(raw.skipped) > 0:
            return None
        rows = (raw.gradient or [], raw.weight, raw.update, raw.slope, raw.next_slope)
        ends = np.cumsum([len(r) for r in rows])
        numbers = _stacked([n for r in rows for n in r]).cpu().numpy().astype(np.float64)
        gradient, weight, update, *along, _ = np.split(numbers, ends)
        squares = np.full((4, len(self.parameters)), np.nan)
        squares[0, raw.held], squares[1], squares[2, self._copied] = gradient**2, weight**2, update**2
        if raw.dead:
            dead = [d for d in raw.dead if d is not _NONE]
            squares[3, raw.counted] = torch.stack([d.to(dead[0].device) for d in raw.dead]).cpu().numpy() if dead else 0
        slopes = [float(terms.sum()) if len(terms) else math.nan for terms in along]
        if self.sharded:
            sums, both = _reduced(torch.from_numpy(squares), torch.tensor(slopes, dtype=torch.float64), self.parameters)
            squares, slopes = sums.numpy(), both.tolist()
        slope, next_slope = slopes
        sizes = self.layers.sizes
        rms = np.sqrt(squares[:3] / sizes)
        with np.errstate(divide="ignore", invalid="ignore"):
            silent = np.where(self.layers.units > 0, squares[3] / self.layers.units, np.nan)
        held = np.zeros(len(self.parameters), dtype=np.bool_)
        held[raw.held] = True
        norm = float(np.sqrt(squares[0][held].sum()))
        overshoot = next_slope / abs(slope) if abs(slope) > 0 else math.nan
        return Sample(raw.step, rms[0], rms[1], rms[2], silent, raw.rates, norm, held, overshoot, slope)


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
    grad = _local(grad)
    return grad.coalesce().to_dense() if grad.is_sparse else grad


def _zero_rows(grad: torch.Tensor) -> torch.Tensor | None:
    """Which rows are zero; ``None`` where it costs no waiting to know that none is.

    Squares are summed fastest, but those of small numbers vanish.
    """
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


def _reduced(
    sums: torch.Tensor, slopes: torch.Tensor, parameters: Iterable[nn.Parameter]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums over the shards of each parameter. Slopes are summed over the first sharded parameter's mesh."""
    groups: dict[tuple[int, ...], tuple[list[dist.ProcessGroup], list[int]]] = {}
    for i, p in enumerate(parameters):
        if isinstance(p, DTensor):
            dims = tuple(d for d, placement in enumerate(p.placements) if isinstance(placement, Shard))
            key = (id(p.device_mesh), *dims)
            found = groups.setdefault(key, ([p.device_mesh.get_group(d) for d in dims], []))
            found[1].append(i)
    for number, (over, members) in enumerate(groups.values()):
        part = sums[:, members]
        packed = torch.cat([part.flatten(), slopes]) if number == 0 else part.flatten()
        for group in over:
            device = "cuda" if dist.get_backend(group) == "nccl" else "cpu"
            packed = packed.to(device)
            dist.all_reduce(packed, group=group)
            packed = packed.cpu()
        sums[:, members] = packed[: part.numel()].view_as(part)
        if number == 0:
            slopes = packed[part.numel() :]
    return sums, slopes
