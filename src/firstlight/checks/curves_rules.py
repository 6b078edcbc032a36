"""Findings from a loss curve alone: it does not move, rises, swings, diverges, rests at chance, over-fits.

``watch`` and ``firstlight diagnose`` use the same rules. Bounds are relative to the curve's own start and noise; where
the noise leaves a question open nothing is said. They were chosen on one half of the programs of tests/faults and are
reported on the other (docs/watch.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..errors import ArgumentError
from .curves import Curve, Shape, Values, finite_part, make_curve, mann_kendall, shape_of
from .findings import Findings, sorted_findings
from .records import Evidence, Finding, Severity

FEWEST = 20  # points before anything but NaN is judged
STEPS_TO_MOVE = 50  # points in which a loss should have moved
UNMOVED = 0.02  # a drop below this share is none
UNSURE = 0.1  # unless the noise would hide a drop of this share
FAR = 3.0  # times the start: diverged
BOTTOMLESS = 100.0  # times the start, below zero: without a lower bound
NEAR_TRIVIAL = 0.06  # of the trivial loss: no better than it
TREND = 3.0  # standard deviations of the Mann-Kendall score, one chance in 740
SWING = 0.1  # of the scale: a swing that counts
CHANCE = 9.0  # standard errors that the medians of tenths may lie apart: three times what ten of them do
BOUNCE = -0.6  # rank correlation of neighbours: every other step up
NOISY = 0.5  # noise beside the level: it fluctuates
WORSE = 0.1  # of the best validation loss: over-fitting
CALIBRATED = "calibration in docs/watch.md"

Rule = Callable[[Curve, Shape], Iterator[Finding]]


def diagnose_curve(
    curve: Curve | Sequence[float] | Values,
    *,
    validation: Sequence[float] | Values | None = None,
    trivial: float | None = None,
) -> Findings:
    """Findings from a loss curve alone, the most severe first.

    Args:
        curve: what ``read_log`` gives, or the training losses in order, one for each step or epoch.
        validation: validation losses over the same time, as many as there are.
        trivial: the loss of the best constant prediction: log C for C balanced classes, the variance of the targets
            for squared error. Without it nothing says whether a flat loss is at chance.

    Returns:
        The findings; each has the step at which the curve's judged part ends, or the one where it happened.

    Raises:
        DataError: the curve is empty or holds something else than numbers.
        ArgumentError: ``trivial`` is no finite number.

    >>> [f.code for f in diagnose_curve([2.303, 2.302, 2.304] * 40, trivial=2.303)]
    ['trivial-plateau']
    """
    if trivial is not None and not np.isfinite(trivial):
        raise ArgumentError(f"trivial={trivial!r} should be a finite loss: log C for C balanced classes")
    if not isinstance(curve, Curve):
        curve = make_curve(curve, validation=validation, trivial=trivial)
    elif trivial is not None:
        curve = make_curve(curve.loss, curve.steps, curve.validation, curve.validation_steps, trivial, curve.source)
    return sorted_findings(_findings(curve))


def _findings(curve: Curve) -> Iterator[Finding]:
    n = finite_part(curve)
    if n < len(curve):
        yield _non_finite(curve, n)
        if n and min(curve.loss[n], curve.loss[n - 1]) < -BOTTOMLESS * (abs(curve.loss[0]) + 1):
            yield _bottomless(curve, n, float(curve.loss[n - 1]))
            return
    yield from _over_fitting(curve)
    if n < FEWEST:
        return
    shape = shape_of(curve.loss[:n])
    for rule in _FIRST_OF:
        found = list(rule(curve, shape))
        if found:
            yield from found
            return


def _step(curve: Curve, shape: Shape) -> int:
    return int(curve.steps[shape.n - 1])


def _non_finite(curve: Curve, n: int) -> Finding:
    step, value = int(curve.steps[n]), float(curve.loss[n])
    before = f"; the finite losses before ended at {curve.loss[n - 1]:.4g}" if n else ""
    return Finding(
        "non-finite-values",
        Severity.ERROR,
        "",
        None,
        (Evidence("loss", value, float("inf"), None, "IEEE 754"),),
        f"the loss is {value} from step {step} on{before}",
        "train with firstlight's watch to have the first operation named; a lower learning rate or clipped gradients "
        "help where the loss grew before",
        "with fl.watch(model, optimizer) as w:\n    ...\n    w.step(loss)  # before backward()",
        step,
    )


def _diverged(curve: Curve, s: Shape) -> Iterator[Finding]:
    values = curve.loss[: s.n]
    last = values[-max(5, s.n // 10) :]
    level, before = float(np.median(last)), float(np.median(values[-2 * len(last) : -len(last)]))
    base = max(abs(s.start), abs(curve.trivial or 0.0))
    if abs(level) > FAR * base + 5 * s.noise and abs(level - s.start) > 10 * UNMOVED * s.scale and level >= before:
        yield Finding(
            "loss-diverged",
            Severity.ERROR,
            "",
            None,
            (Evidence("loss, median of the last tenth", level, FAR * base, s.start, CALIBRATED),),
            f"the loss went from {s.start:.4g} to {level:.4g}: each step makes it worse",
            "lower the learning rate tenfold; if it still diverges, look at the first step with fl.probe",
            _LOWER,
            _step(curve, s),
        )
    elif level < -BOTTOMLESS * (base + 1) and level < before:
        yield _bottomless(curve, s.n, level)


def _bottomless(curve: Curve, n: int, level: float) -> Finding:
    start = float(curve.loss[0])
    return Finding(
        "flipped-loss",
        Severity.ERROR,
        "",
        None,
        (Evidence("loss", level, -BOTTOMLESS * (abs(start) + 1), start, CALIBRATED),),
        f"the loss fell from {start:.4g} to {level:.4g} and falls on: what is minimized has no lower bound",
        "check the loss's sign (a log-likelihood is maximized, its negative minimized), and that nll_loss gets "
        "log-probabilities",
        "loss = -loss",
        int(curve.steps[n - 1]),
    )


def _at_trivial(curve: Curve, s: Shape) -> Iterator[Finding]:
    """Never better than a constant prediction, and no longer falling."""
    if curve.trivial is None or s.n < STEPS_TO_MOVE or s.scale == 0:
        return
    bound = curve.trivial - NEAR_TRIVIAL * abs(curve.trivial)
    rests = s.middle - s.tail < UNMOVED * s.scale and s.late_trend > -TREND
    if min(s.lowest, s.tail) > bound and rests and 2 * s.error < UNSURE * s.scale:
        yield Finding(
            "trivial-plateau",
            Severity.ERROR,
            "",
            None,
            (Evidence("loss, median of the last fifth", s.tail, bound, curve.trivial, "the best constant prediction"),),
            f"the loss rests at {s.tail:.4g}, no better than predicting the same for every input ({curve.trivial:.4g})",
            "inputs do not reach the outputs, or gradients not the weights: look at the first step with fl.probe",
            _PROBE,
            _step(curve, s),
        )


def _stuck(curve: Curve, s: Shape) -> Iterator[Finding]:
    """Neither fifths nor trend have moved, and the noise would not hide it."""
    if s.n < STEPS_TO_MOVE or s.scale == 0 or abs(s.tail - s.head) > 5 * UNMOVED * s.scale:
        return
    fell_early = s.start - s.tail > max(UNSURE * s.scale, 3 * s.noise)
    falls = s.trend < -TREND or s.late_trend < -TREND
    if s.drop >= UNMOVED or 2 * s.error >= UNSURE * s.scale or fell_early or (falls and s.n < 4 * STEPS_TO_MOVE):
        return
    yield Finding(
        "loss-stuck",
        Severity.WARNING if falls else Severity.ERROR,
        "",
        None,
        (Evidence("share of the loss that is gone, first to last fifth", s.drop, UNMOVED, None, CALIBRATED),),
        f"the loss stays at {s.tail:.4g} over {s.n} steps" + (f", falling by {100 * s.drop:.2g} %" if falls else ""),
        "look at the first step with fl.probe: a dead start shows there; if it is healthy, raise the learning rate",
        _PROBE,
        _step(curve, s),
    )


def _rising(curve: Curve, s: Shape) -> Iterator[Finding]:
    if s.n < STEPS_TO_MOVE:
        return
    climb, least = s.tail - s.lowest, max(0.25 * max(s.start - s.lowest, 0.0), UNSURE * s.scale)
    upward = s.late_trend > TREND or (s.trend > TREND and s.late_trend > 0)
    above, bound = s.tail - s.start, UNSURE * abs(s.start) + 3 * s.error
    if climb > least + 3 * s.error and upward:
        evidence = Evidence("climb above the lowest level", climb, least, 0.0, CALIBRATED)
        words = f"the training loss has risen from {s.lowest:.4g} to {s.tail:.4g}"
    elif above > bound:
        evidence = Evidence("level above the start", above, bound, 0.0, CALIBRATED)
        words = f"the training loss is at {s.tail:.4g}, higher than at the start ({s.start:.4g})"
    else:
        return
    yield Finding(
        "loss-rising",
        Severity.WARNING,
        "",
        None,
        (evidence,),
        words,
        "lower the learning rate or let it decay; check that the data has not changed on the way",
        _LOWER,
        _step(curve, s),
    )


def _oscillating(curve: Curve, s: Shape) -> Iterator[Finding]:
    if s.n < STEPS_TO_MOVE or s.late_trend < -TREND:
        return
    swing = s.noise / s.scale if s.scale else 0.0
    if s.lag < BOUNCE and swing > SWING:
        yield _swinging(
            curve, s, Severity.WARNING, Evidence("correlation of neighbours", s.lag, BOUNCE, 0.0, CALIBRATED),
            f"every other step goes up again, by {s.noise:.3g} around {s.tail:.4g}: each step overshoots the minimum",
        )  # fmt: skip
        return
    if s.tail < 0.3 * max(s.start, curve.trivial or s.start):  # most of what can be learned is
        return
    late = curve.loss[s.n // 2 : s.n]
    slow = _slow_swing(late)
    bound = max(3 * SWING * s.scale, CHANCE * s.noise / math.sqrt(max(1, len(late) // 10)))
    if slow > bound:
        yield _swinging(
            curve, s, Severity.WARNING, Evidence("swing of the level", slow, bound, 0.0, CALIBRATED),
            f"the level of the loss swings by {slow:.3g} around {s.tail:.4g} and gets no lower",
        )  # fmt: skip
    elif s.tail > 0 and s.noise > NOISY * s.tail:
        yield _swinging(
            curve, s, Severity.NOTE, Evidence("noise / level", s.noise / s.tail, NOISY, None, CALIBRATED),
            f"the loss fluctuates by {s.noise:.3g} around {s.tail:.4g}, without order: the noise of small batches",
        )  # fmt: skip


def _slow_swing(values: Values) -> float:
    """How far the level goes up and down: the range of medians over tenths, where it turns at least twice."""
    level = np.array([np.median(b) for b in np.array_split(values, min(10, max(3, len(values) // 5)))])
    turns = int((np.diff(np.sign(np.diff(level))) != 0).sum())
    return float(np.percentile(level, 90) - np.percentile(level, 10)) if turns >= 3 else 0.0


def _swinging(curve: Curve, s: Shape, severity: Severity, evidence: Evidence, cause: str) -> Finding:
    remedy = (
        "average over more examples: a larger batch or accumulated gradients; a decaying learning rate settles it"
        if severity is Severity.NOTE
        else "lower the learning rate; it is above what the curvature allows"
    )
    return Finding("loss-oscillating", severity, "", None, (evidence,), cause, remedy, _LOWER, _step(curve, s))


def _over_fitting(curve: Curve) -> Iterator[Finding]:
    """Validation has turned up for good while training went on falling."""
    keep = np.isfinite(curve.validation)
    values, steps = curve.validation[keep], curve.validation_steps[keep]
    if len(values) < 6:
        return
    smooth = np.array([np.median(values[max(0, i - 1) : i + 2]) for i in range(len(values))])
    best = int(smooth[:-1].argmin())
    lowest, last = float(smooth[best]), float(np.median(values[-3:]))
    rise = last - lowest
    noise = 1.4826 * float(np.median(np.abs(np.diff(values) - np.median(np.diff(values))))) / 2**0.5
    if len(values) - best < 4 or rise < max(WORSE * abs(lowest), 4 * noise) or mann_kendall(smooth[best:]) < 1.5:
        return
    n = finite_part(curve)
    after = curve.loss[:n][curve.steps[:n] >= steps[best]]
    before = curve.loss[:n][curve.steps[:n] < steps[best]]
    falls = len(after) >= 3 and (
        float(np.median(after[-max(1, len(after) // 4) :])) < float(np.median(after[: max(1, len(after) // 4)]))
    )
    if (len(before) or len(after)) and not falls:
        return
    yield Finding(
        "over-fitting",
        Severity.NOTE,
        "",
        None,
        (Evidence("validation loss above its lowest", rise, WORSE * abs(lowest), 0.0, CALIBRATED),),
        f"validation was best at step {steps[best]:.0f} ({lowest:.4g}) and is {last:.4g} now, while training goes on "
        "falling: no fault of the initial weights",
        f"stop at step {steps[best]:.0f}, regularize, or use more data",
        "torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.1)",
        int(steps[-1]),
    )


_LOWER = "for group in optimizer.param_groups:\n    group['lr'] *= 0.1"
_PROBE = "light = fl.probe(model, inputs, targets, loss_fn)\nprint(light.findings)"
_FIRST_OF: tuple[Rule, ...] = (_diverged, _at_trivial, _stuck, _rising, _oscillating)
