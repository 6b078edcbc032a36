"""Findings from a loss curve alone: it does not move, rises, swings, diverges, rests at chance, over-fits.

``watch`` and ``firstlight diagnose`` use the same rules. Bounds are relative to the curve's own start and noise; where
the noise leaves a question open nothing is said. They were chosen on one half of the programs of tests/faults and are
reported on the other (docs/watch.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..errors import ArgumentError
from .curves import FEWEST, SOURCE, Curve, Shape, Values, finite_part, make_curve, shape_of
from .curves_overfitting import over_fitting
from .findings import Findings, sorted_findings
from .records import Evidence, Finding, Severity
from .repairs import LOWER, PROBE

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
STAY = 10  # points that a jump of the level lasts
NOISY = 0.5  # noise beside the level: it fluctuates

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
    if n < len(curve) and _recovers(curve, n):
        yield _non_finite(curve, n, recovers=True)
        curve = _without_gaps(curve)
        n = finite_part(curve)
    elif n < len(curve):
        yield _non_finite(curve, n)
        if n and min(curve.loss[n], curve.loss[n - 1]) < -BOTTOMLESS * (abs(curve.loss[0]) + 1):
            yield _bottomless(curve, n, float(curve.loss[n - 1]))
            return
    yield from over_fitting(curve)
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


def _recovers(curve: Curve, n: int) -> bool:
    """Whether what comes after the first NaN is finite for the most part, and at its end: single batches were bad."""
    rest = np.isfinite(curve.loss[n:])
    return bool(rest.mean() > 0.5 and rest[-3:].all())


def _without_gaps(curve: Curve) -> Curve:
    kept = np.isfinite(curve.loss)
    return replace(curve, steps=curve.steps[kept], loss=curve.loss[kept])


def _non_finite(curve: Curve, n: int, recovers: bool = False) -> Finding:
    step, value = int(curve.steps[n]), float(curve.loss[n])
    before = f"; the finite losses before ended at {curve.loss[n - 1]:.4g}" if n else ""
    some = f"at step {step}, and at {int((~np.isfinite(curve.loss)).sum())} of {len(curve)} in all"
    return Finding(
        "non-finite-values",
        Severity.WARNING if recovers else Severity.ERROR,
        "",
        None,
        (Evidence("loss", value, float("inf"), None, "IEEE 754"),),
        f"the loss is {value} {some if recovers else f'from step {step} on{before}'}",
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
    rise = level - s.start
    if rise > (FAR - 1) * base + 5 * s.noise and rise > 10 * UNMOVED * s.scale and level >= before:
        yield Finding(
            "loss-diverged",
            Severity.ERROR,
            "",
            None,
            (Evidence("loss, median of the last tenth", level, FAR * base, s.start, SOURCE),),
            f"the loss went from {s.start:.4g} to {level:.4g}: each step makes it worse",
            "lower the learning rate tenfold; if it still diverges, look at the first step with fl.probe",
            LOWER,
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
        (Evidence("loss", level, -BOTTOMLESS * (abs(start) + 1), start, SOURCE),),
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
    rests = s.middle - s.tail < UNMOVED * s.scale and s.late_trend > -TREND and not s.steady
    if min(s.lowest, s.tail) > bound and rests and 2 * s.error < UNSURE * s.scale:
        yield Finding(
            "trivial-plateau",
            Severity.ERROR,
            "",
            None,
            (Evidence("loss, median of the last fifth", s.tail, bound, curve.trivial, "the best constant prediction"),),
            f"the loss rests at {s.tail:.4g}, no better than predicting the same for every input ({curve.trivial:.4g})",
            "inputs do not reach the outputs, or gradients not the weights: look at the first step with fl.probe",
            PROBE,
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
        (Evidence("share of the loss that is gone, first to last fifth", s.drop, UNMOVED, None, SOURCE),),
        f"the loss stays at {s.tail:.4g} over {s.n} steps" + (f", falling by {100 * s.drop:.2g} %" if falls else ""),
        "look at the first step with fl.probe: a dead start shows there; if it is healthy, raise the learning rate",
        PROBE,
        _step(curve, s),
    )


def _rising(curve: Curve, s: Shape) -> Iterator[Finding]:
    if s.n < STEPS_TO_MOVE:
        return
    climb, least = s.tail - s.lowest, max(0.25 * max(s.start - s.lowest, 0.0), UNSURE * s.scale)
    upward = s.late_trend > TREND or (s.trend > TREND and s.late_trend > 0)
    above, bound = s.tail - s.start, UNSURE * abs(s.start) + 3 * s.error
    if climb > least + 3 * s.error and upward:
        evidence = Evidence("climb above the lowest level", climb, least, 0.0, SOURCE)
        words = f"the training loss has risen from {s.lowest:.4g} to {s.tail:.4g}"
    elif above > bound:
        evidence = Evidence("level above the start", above, bound, 0.0, SOURCE)
        words = f"the training loss is at {s.tail:.4g}, higher than at the start ({s.start:.4g})"
    else:
        return
    fades = s.lowest < 0 and abs(s.tail) < 2 * s.noise  # a policy gradient's loss does, as its advantages do
    yield Finding(
        "loss-rising",
        Severity.NOTE if fades else Severity.WARNING,
        "",
        None,
        (evidence,),
        words,
        "lower the learning rate or let it decay; check that the data has not changed on the way",
        LOWER,
        _step(curve, s),
    )


def _oscillating(curve: Curve, s: Shape) -> Iterator[Finding]:
    if s.n < STEPS_TO_MOVE or s.late_trend < -TREND:
        return
    swing = s.noise / s.scale if s.scale else 0.0
    if s.lag < BOUNCE and swing > SWING:
        yield _swinging(
            curve, s, Severity.WARNING, Evidence("correlation of neighbours", s.lag, BOUNCE, 0.0, SOURCE),
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
            curve, s, Severity.WARNING, Evidence("swing of the level", slow, bound, 0.0, SOURCE),
            f"the level of the loss swings by {slow:.3g} around {s.tail:.4g} and gets no lower",
        )  # fmt: skip
    elif s.tail > 0 and s.noise > NOISY * s.tail:
        yield _swinging(
            curve, s, Severity.NOTE, Evidence("noise / level", s.noise / s.tail, NOISY, None, SOURCE),
            f"the loss fluctuates by {s.noise:.3g} around {s.tail:.4g}, without order: the noise of small batches",
        )  # fmt: skip


def _slow_swing(values: Values) -> float:
    """How far the level goes up and down: the range of medians over tenths, where it turns at least twice."""
    level = np.array([np.median(b) for b in np.array_split(values, min(10, max(3, len(values) // 5)))])
    turns = int((np.diff(np.sign(np.diff(level))) != 0).sum())
    return float(np.percentile(level, 90) - np.percentile(level, 10)) if turns >= 3 else 0.0


def _jumped(curve: Curve, s: Shape) -> Iterator[Finding]:
    """From one step to the next the level goes up, and stays for a while; what comes after may fall again."""
    if s.n < STEPS_TO_MOVE:
        return
    level = np.median(sliding_window_view(curve.loss[: s.n], STAY), axis=1)
    up = level[STAY:] - level[:-STAY]
    at, bound = int(up.argmax()), max(0.5 * s.scale, 8 * s.noise)
    if up[at] > bound:
        step = int(curve.steps[at + STAY])
        yield Finding(
            "loss-rising",
            Severity.NOTE,
            "",
            None,
            (Evidence("level after - before", float(up[at]), bound, 0.0, SOURCE),),
            f"the training loss jumped from {level[at]:.4g} to {level[at + STAY]:.4g} at step {step}",
            "look at what changed there: the data, the learning rate; clip the gradient's norm where batches do it",
            "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
            step,
        )


def _swinging(curve: Curve, s: Shape, severity: Severity, evidence: Evidence, cause: str) -> Finding:
    remedy = (
        "average over more examples: a larger batch or accumulated gradients; a decaying learning rate settles it"
        if severity is Severity.NOTE
        else "lower the learning rate; it is above what the curvature allows"
    )
    return Finding("loss-oscillating", severity, "", None, (evidence,), cause, remedy, LOWER, _step(curve, s))


_FIRST_OF: tuple[Rule, ...] = (_diverged, _at_trivial, _stuck, _rising, _oscillating, _jumped)
