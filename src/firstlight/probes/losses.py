"""The loss at step 0 beside its theory: what an untrained network of independent outputs should give.

``observing`` hands in the call that makes the loss, wherever it is made; ``measuring`` makes the record of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from ..graphs.ops import words
from .parts import Loss, Values
from .shards import put_together
from .statistics import LARGEST
from .sums import count_nonfinite

LOSSES = words(
    "cross_entropy nll_loss binary_cross_entropy binary_cross_entropy_with_logits mse_loss l1_loss smooth_l1_loss "
    "huber_loss kl_div poisson_nll_loss gaussian_nll_loss hinge_embedding_loss soft_margin_loss multi_margin_loss "
    "multilabel_margin_loss multilabel_soft_margin_loss cosine_embedding_loss margin_ranking_loss triplet_margin_loss "
    "ctc_loss"
)
_MOST_CLASSES = 1000
_SAMPLES = 8
_SUDDEN = 9.0  # the power that stands for a fall beyond all numbers
_STRAIGHT = 1e-3  # how far from its slope times the distance a linear loss may fall: rounding
_VANISHES = 1e-4  # of a loss where outputs equal targets, relative to its value: rounding, and the ε of a root


@dataclass(frozen=True, slots=True)
class LossCall:
    """A call that makes a loss, as observed: what it was given, and what theory says of it.

    Args:
        of_output: whether it was given an output of the model as it is, or a view of it.
        gave: its value, where it is one number.
        agreement: of a score that is minimized, what it is worth to say the targets and not their contrary.
    """

    op: str
    reduction: str
    predictions: Values | None
    targets: Values | None
    expected: float | None = None
    trivial: float | None = None
    formula: str = ""
    classes: int = 0
    class_shares: tuple[float, ...] = ()
    of_output: bool = False
    fall: float | None = None
    gave: float | None = None
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class _Theory:
    expected: float
    trivial: float | None
    formula: str
    classes: int = 0
    shares: tuple[float, ...] = ()


def read_loss(
    op: str, args: tuple[object, ...], kwargs: Mapping[str, object], outputs: Collection[int] = ()
) -> LossCall:
    """What a call of a loss was given, and its theory where a formula is known; ``outputs`` are their addresses."""
    prediction = args[0] if args else kwargs.get("input")
    target = args[1] if len(args) > 1 else kwargs.get("target")
    place = {"nll_loss": 6, "cross_entropy": 6, "mse_loss": 4}.get(op, 4)
    reduction = kwargs.get("reduction", args[place] if len(args) > place else "mean")
    reduction = reduction if isinstance(reduction, str) else ""
    if op == "poisson_nll_loss" and not kwargs.get("log_input", args[2] if len(args) > 2 else True):
        op = "poisson_nll_loss of rates"
    if not (isinstance(prediction, torch.Tensor) and isinstance(target, torch.Tensor)):
        return LossCall(op, reduction, None, None)
    of_output = prediction.layout is torch.strided and prediction.data_ptr() in outputs
    prediction, target = put_together(prediction), put_together(target)
    with torch.no_grad():
        probabilities = op in ("nll_loss", "kl_div")
        own, given = values_of(prediction.detach(), logarithms=probabilities), values_of(target.detach())
        theory = None
        if op in _THEORIES and kwargs.get("weight") is None and kwargs.get("pos_weight") is None:
            ignored = kwargs.get("ignore_index", -100)
            theory = _THEORIES[op](prediction.detach(), target.detach(), ignored if isinstance(ignored, int) else -100)
    if theory is None:
        return LossCall(op, reduction, own, given, of_output=of_output)
    terms = _terms(op, prediction) if reduction == "sum" else 1
    trivial = None if theory.trivial is None else theory.trivial * terms
    return LossCall(
        op,
        reduction,
        own,
        given,
        theory.expected * terms,
        trivial,
        theory.formula,
        theory.classes,
        theory.shares,
        of_output,
    )


def residual(loss_fn: Callable[..., object], outputs: object, targets: object, value: float) -> LossCall | None:
    """What a hand-written loss compares, where it is one that vanishes as outputs equal targets; ``None`` for others.

    The targets take the outputs' place, expanded to their shape or cut to their last axis: squared and absolute
    errors, quantile losses and their weighted and masked kin are then zero.
    """
    if not (isinstance(outputs, torch.Tensor) and isinstance(targets, torch.Tensor)) or not value:
        return None
    if not (outputs.is_floating_point() and targets.is_floating_point() and outputs.dim() == targets.dim() > 0):
        return None
    given = targets.detach()
    if given.shape[:-1] == outputs.shape[:-1] and given.shape[-1] > outputs.shape[-1] > 1:
        given = given[..., : outputs.shape[-1]]
    try:
        with torch.no_grad():
            given = given.expand_as(outputs).to(outputs.dtype)
            left = loss_fn(given.clone(), targets)
            if not isinstance(left, torch.Tensor) or not abs(float(left)) <= _VANISHES * abs(value):
                return None
            return LossCall("", "", values_of(outputs.detach()), values_of(given))
    except Exception:  # a loss of the user's own may refuse anything
        return None


def reward(loss_fn: Callable[..., object], outputs: object, targets: object) -> LossCall | None:
    """A hand-written loss that is a score from 0 to 1 (Dice, IoU): near 1 where the outputs say the targets.

    Of targets of 0 and 1, outputs of ±40 say them or the contrary. ``None`` for what is no score of that kind.
    """
    if not (isinstance(outputs, torch.Tensor) and isinstance(targets, torch.Tensor)):
        return None
    if (
        outputs.shape != targets.shape
        or not targets.is_floating_point()
        or not bool(((targets == 0) | (targets == 1)).all())
    ):
        return None
    try:
        with torch.no_grad():
            said = 80 * targets.detach().to(outputs.dtype) - 40
            found: list[Any] = [loss_fn(said.clone(), targets), loss_fn(-said, targets)]
        right, wrong = (float(v) for v in found)
    except Exception:  # a loss of the user's own may refuse anything
        return None
    minimized = 0.9 <= right <= 1 + 1e-3 and -1e-3 <= wrong <= 0.5
    return LossCall("", "", None, None, agreement=right - wrong) if minimized else None


def loss_record(value: float, calls: list[LossCall]) -> Loss:
    """The record of a loss of this value: of the call given the model's outputs; its theory where one call made it."""
    if not calls:
        return Loss(value)
    call = next((c for c in calls if c.of_output), calls[-1])
    alone = len(calls) == 1
    return Loss(
        value,
        call.op,
        call.reduction,
        call.expected if alone else None,
        call.trivial if alone else None,
        call.formula if alone else "",
        call.classes,
        call.predictions,
        call.targets,
        call.class_shares,
        call.fall,
        call.gave,
        call.agreement,
    )


def endless(loss_fn: Callable[..., object], outputs: object, targets: object) -> LossCall | None:
    """A hand-written loss that falls without end as the outputs follow its gradient; ``None`` where it does not.

    One sample at a time moves along its own gradient by 10³, 10⁴ and 10⁵ times its size. A loss that ends falls no
    further; the power p of d in a fall d^p is log₁₀ of the quotient of the last two. A loss that is linear in the
    outputs all the way (a critic's score, a log-density) falls so by design, and is left out.
    """
    if not (isinstance(outputs, torch.Tensor) and isinstance(targets, torch.Tensor)) or outputs.dim() == 0:
        return None
    if not outputs.is_floating_point() or not outputs.numel():
        return None
    try:
        with torch.enable_grad():
            free = outputs.detach().clone().requires_grad_()
            start: Any = loss_fn(free, targets)
            slope = torch.autograd.grad(start, free)[0]
        some = _SAMPLES if free.numel() < LARGEST else 2
        chosen = torch.linspace(0, len(free) - 1, min(len(free), some)).long().tolist()
        powers = [_power(loss_fn, free.detach(), targets, slope, i, float(start.detach())) for i in chosen]
    except Exception:  # a loss of the user's own may refuse anything
        return None
    found = [p for p in powers if p is not None]
    return LossCall("", "", None, None, fall=min(found)) if found and len(found) == len(powers) else None


def _power(
    loss_fn: Callable[..., Any], outputs: torch.Tensor, targets: torch.Tensor, slope: torch.Tensor, i: int, at: float
) -> float | None:
    norm = float(slope[i].norm())
    if not (norm > 0 and math.isfinite(norm)):
        return None
    size = 1.0 + float(outputs[i].abs().mean())
    falls = []
    for far in (1e3, 1e4, 1e5):
        moved = outputs.clone()
        moved[i] -= far * size / norm * slope[i]
        with torch.no_grad():
            falls.append(at - float(loss_fn(moved, targets)))
    if math.inf in falls:
        return _SUDDEN
    if not all(f > 0 for f in falls) or falls[2] < 3 * falls[1]:
        return None
    if abs(falls[0] / (norm * 1e3 * size) - 1) < _STRAIGHT:
        return None
    return math.log10(falls[2] / falls[1])


def values_of(tensor: torch.Tensor, *, logarithms: bool = False) -> Values:
    """The moments and the range of a tensor; of a large one, of evenly chosen rows."""
    x = tensor
    if x.dim() > 1 and x.numel() > LARGEST:
        rows = x.reshape(-1, x.shape[-1]) if x.is_contiguous() else x
        x = rows[:: max(1, rows.numel() // LARGEST)]
    dtype = str(tensor.dtype).removeprefix("torch.")
    shape, lost = tuple(tensor.shape), count_nonfinite(tensor)
    finite = x.double().flatten()
    finite = finite[torch.isfinite(finite)] if lost else finite
    if not finite.numel():
        return Values(shape, dtype, 0.0, 0.0, 0.0, 0.0, lost)
    one = False
    if x.is_floating_point() and x.dim() > 1 and not lost:
        p = x.double().exp() if logarithms else x.double()
        one = bool((p >= 0).all()) and bool(((p.sum(1) - 1).abs() < 1e-3).all())
    low, high = finite.aminmax()
    spread = float(finite.std(correction=0))
    return Values(shape, dtype, float(finite.mean()), spread, float(low), float(high), lost, one)


def _terms(op: str, prediction: torch.Tensor) -> int:
    if op in ("cross_entropy", "nll_loss"):
        return max(1, prediction.numel() // max(1, prediction.shape[1 if prediction.dim() > 1 else 0]))
    return prediction.numel()


def _of_classes(prediction: torch.Tensor, target: torch.Tensor, ignored: int) -> _Theory | None:
    """Cross-entropy of C independent logits of variance s²: log C + s²/2, and s √(2 log C) past s² = 2 log C.

    Past that point the largest logit alone decides (the random energy model; Derrida 1981). The trivial value is the
    entropy of the classes' shares.
    """
    axis = 1 if prediction.dim() > 1 else 0
    classes = prediction.shape[axis]
    if classes < 2:
        return _Theory(0.0, 0.0, "one class: its softmax is 1, whatever the logit", classes, (1.0,))
    logits = prediction.movedim(axis, -1).reshape(-1, classes)
    logits = logits[:: max(1, logits.numel() // LARGEST)].double()
    variance = float(logits.var(-1, correction=0).mean())
    log_c = math.log(classes)
    value = log_c + variance / 2 if variance <= 2 * log_c else math.sqrt(2 * log_c * variance)
    shares = _shares(target, classes, axis, ignored)
    trivial = None if shares is None else float(torch.special.entr(shares).sum())
    kept = () if shares is None or classes > _MOST_CLASSES else tuple(shares.tolist())
    return _Theory(value, trivial, f"log {classes} + s²/2, s² = {variance:.3g}", classes, kept)


def _shares(target: torch.Tensor, classes: int, axis: int, ignored: int) -> torch.Tensor | None:
    if target.is_floating_point():
        p = target.movedim(axis, -1).reshape(-1, classes).double().mean(0)
        return p if bool((p >= 0).all()) else None
    labels = target.flatten()
    labels = labels[labels != ignored]
    if not labels.numel() or int(labels.min()) < 0 or int(labels.max()) >= classes:
        return None
    counts = torch.bincount(labels, minlength=classes).double()
    return counts / counts.sum()


_PANELS = 2001


def _of_logits(prediction: torch.Tensor, target: torch.Tensor, _: int) -> _Theory | None:
    """Binary cross-entropy: E[log(1 + e^z)] − E[y] E[z] for z ~ N(m, s²), which is log 2 + s²/8 for small z."""
    z, y = prediction.double().flatten(), target.double().flatten()
    if not z.numel():
        return None
    mean, std = float(z.mean()), float(z.std(correction=0))
    if not (math.isfinite(mean) and math.isfinite(std)):
        return None
    t = torch.linspace(-8, 8, _PANELS, dtype=torch.float64)
    density = torch.exp(-t * t / 2)
    softplus = torch.nn.functional.softplus(mean + std * t)
    share = float(y.mean())
    value = float((softplus * density).sum() / density.sum()) - share * mean
    trivial = -sum(p * math.log(p) for p in (share, 1 - share) if p > 0) if 0 <= share <= 1 else None
    return _Theory(value, trivial, f"log 2 + s²/8, s = {std:.3g}", 2, (1 - share, share) if 0 <= share <= 1 else ())


def _of_probabilities(prediction: torch.Tensor, target: torch.Tensor, ignored: int) -> _Theory | None:
    p = prediction.double()
    if not bool(((p >= 0) & (p <= 1)).all()):
        return None
    return _of_logits(torch.logit(p, eps=1e-12), target, ignored)


def _of_squares(prediction: torch.Tensor, target: torch.Tensor, _: int) -> _Theory | None:
    """Squared error of outputs f independent of y: Var y + Var f + (E y − E f)²; the best constant leaves Var y."""
    f, y = prediction.double(), target.double()
    if f.shape != y.shape or not f.numel():
        return None
    value = float(y.var(correction=0) + f.var(correction=0) + (y.mean() - f.mean()).square())
    per_output = float(y.reshape(y.shape[0], -1).var(0, correction=0).mean()) if y.dim() else 0.0
    return _Theory(value, per_output, "Var y + Var f + (E y − E f)²")


_THEORIES: Mapping[str, Callable[[torch.Tensor, torch.Tensor, int], _Theory | None]] = MappingProxyType(
    {
        "cross_entropy": _of_classes,
        "nll_loss": _of_classes,
        "binary_cross_entropy_with_logits": _of_logits,
        "binary_cross_entropy": _of_probabilities,
        "mse_loss": _of_squares,
    }
)
