"""Why a loss does not fall: the loop, a bad start, or a learning rate too high or too low, told apart.

First what is certain: gradients that add up, steps that go uphill. Then step 0: a probe's findings where a ``Light``
was given, else the gradients and the loss of the first steps. If the start is sound, the updates are looked at.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .curves import SOURCE, finite_part
from .records import Evidence, Finding, Severity
from .training_records import FIRST, Training, at_zero
from .training_start import bad_start, clipped
from .training_steps import (
    DECAYED,
    after,
    decayed,
    falls_steadily,
    goes_uphill,
    measures_something_else,
    never_overshoots,
)

LEVELS = frozenset({"loss-stuck", "loss-rising", "loss-oscillating"})
MOVING = frozenset({"loss-rising", "loss-oscillating", "loss-diverged", "non-finite-values", "exploded-gradients"})
STANDING = frozenset({"loss-stuck", "trivial-plateau", "update-too-small"})
BROKEN = frozenset({"non-finite-gradients", "vanished-gradients", "dying-units", "update-too-large"})
SYMPTOMS = LEVELS | MOVING | STANDING | BROKEN
OVERSHOT = 0.5  # g(t+1)·u / |g(t)·u|
LARGE, LARGE_AT_FIRST = 1.0, 0.2  # update / weight, once or as the median of the first steps
LONG, REMEMBERED = 100.0, 0.2  # steps, and of all steps: a momentum that swings longer than it has been trained
MOVED, HELPS = 0.01, 0.9  # of the weights, in all steps; of the updates help the next batch, where gradients are sound
STABLE = "gradient descent on a quadratic: rate < 2 (1 + β) / λ"


def too_high(training: Training, symptom: str) -> tuple[Evidence, ...]:
    """What says that the learning rate is too high.

    An overshoot counts where the loss moves about: where it stands, gradients are noise, and so is their slope.
    """
    found = []
    samples = training.samples
    rate = float(np.nanmax(samples[0].rate)) if samples else 0.0
    if training.sharpness is not None and training.momentum is not None:
        bound = 2 * (1 + training.momentum)
        if rate * training.sharpness > bound:
            found.append(
                Evidence("learning rate × λ at the first step", rate * training.sharpness, bound, None, STABLE)
            )
    for part in (samples[:FIRST], samples[-FIRST:]):
        over = after(part)
        if symptom in MOVING and len(over) >= 3 and float(np.median(over)) > OVERSHOT:
            found.append(Evidence("slope behind the update / before", float(np.median(over)), OVERSHOT, -1.0, SOURCE))
            break
    memory = 1 / (1 - training.momentum) if training.momentum is not None and training.momentum < 1 else 0.0
    if symptom in MOVING and memory > max(LONG, REMEMBERED * samples[-1].step):
        found.append(Evidence("steps that the momentum remembers", memory, LONG, 10.0, "1 / (1 - β)"))
    weights = training.layers.weights & ~at_zero(training)
    ratios = [np.where(weights, s.ratio, np.nan) for s in samples]
    largest = [float(np.nanmax(r)) for r in ratios if np.isfinite(r).any()]
    if max(largest, default=0.0) > LARGE:
        found.append(Evidence("largest update / weight", max(largest), LARGE, 1e-3, SOURCE))
    elif len(largest) > 4 and (first := float(np.median(largest[:6]))) > LARGE_AT_FIRST:
        found.append(
            Evidence("largest update / weight, median of the first steps", first, LARGE_AT_FIRST, 1e-3, SOURCE)
        )
    return tuple(found)


def too_low(training: Training) -> tuple[Evidence, ...]:
    """What says that it is too low, or has become so."""
    samples = training.samples
    ratios = [np.where(training.layers.weights, s.ratio, np.nan) for s in samples]
    medians = [float(np.nanmedian(r)) for r in ratios if np.isfinite(r).any()]
    if not medians:
        return ()
    found, over = [], after(samples)
    if (left := decayed(samples)) is not None:
        found.append(Evidence("rate / highest rate", left, DECAYED, 1.0, SOURCE))
    moved = float(np.median(medians)) * samples[-1].step
    if moved < MOVED and (not len(over) or (over < 0).mean() > HELPS):
        found.append(Evidence("update / weight, times the steps", moved, MOVED, None, SOURCE))
    if (share := never_overshoots(training)) is not None and falls_steadily(training):
        found.append(Evidence("updates that leave the slope downhill", share, 0.95, None, SOURCE))
    return tuple(found)


def explain(finding: Finding, training: Training) -> tuple[Finding, ...]:
    """A symptom with its cause; and the learning rate as a finding of its own where that is it."""
    if finding.code not in SYMPTOMS or finding.severity is Severity.NOTE or not training.samples:
        return (finding,)
    if finding.code in LEVELS and measures_something_else(training):
        words = "updates went downhill all the while, so the loss is not what they add up to: a game's, a policy's"
        return (replace(finding, severity=Severity.NOTE, cause=f"{finding.cause}. But {words}"),)
    if certain := _certain(training):
        return (_because(finding, certain),)
    if start := bad_start(training):
        return (_because(finding, f"The start is the likelier reason: {start}"),)
    if high := too_high(training, finding.code):
        return finding, _high(finding, training, high)
    if finding.code in STANDING and (low := too_low(training)):
        return finding, _low(finding, training, low)
    n = finite_part(training.curve)
    return (finding if n < 2 else _because(finding, "The first steps look sound"),)


def _certain(training: Training) -> str:
    """What needs no weighing, in words."""
    if training.unzeroed:
        return "Gradients are never zeroed, and add up"
    return "The updates go up the slope" if goes_uphill(training) is not None else ""


def _because(finding: Finding, words: str) -> Finding:
    return replace(finding, cause=f"{finding.cause}. {words}")


def _high(finding: Finding, training: Training, evidence: tuple[Evidence, ...]) -> Finding:
    rate = float(np.nanmax(training.samples[0].rate))
    words = f"{evidence[0].quantity} is {evidence[0].value:.3g}, above {evidence[0].threshold:g}"
    return Finding(
        "learning-rate-too-high",
        Severity.ERROR if finding.severity is Severity.ERROR else Severity.WARNING,
        "",
        None,
        evidence,
        f"the first steps were sound and the rate of {rate:g} is too high: {words}",
        f"train with {_tenth(training, rate):.2g}, or warm the rate up",
        f"for group in optimizer.param_groups:\n    group['lr'] = {_tenth(training, rate):.2g}",
        finding.step,
    )


def _low(finding: Finding, training: Training, evidence: tuple[Evidence, ...]) -> Finding:
    first, rate, steps = evidence[0], float(np.nanmax(training.samples[0].rate)), training.samples[-1].step
    norm = clipped(training.samples)
    if first.quantity.startswith("rate"):
        words = f"the rate has decayed to {first.value:.2g} of its highest, long before the loss has fallen"
    elif norm is not None:
        words = (
            f"gradients are clipped to a norm of {norm:.3g}, and in {steps} steps at a rate of {rate:g} the weights "
        )
        words += f"have moved by {100 * first.value:.2g} %"
    elif first.quantity.startswith("updates"):
        words = (
            f"gradients are sound, and after {100 * first.value:.0f} % of the updates the loss still fell along them"
        )
    else:
        words = f"gradients are sound, and in {steps} steps at a rate of {rate:g} the weights have moved by "
        words += f"{100 * first.value:.2g} %"
    return Finding(
        "learning-rate-too-low",
        Severity.WARNING,
        "",
        None,
        evidence,
        words,
        "raise the learning rate tenfold, and again while the loss falls smoothly",
        "for group in optimizer.param_groups:\n    group['lr'] *= 10",
        finding.step,
    )


def _tenth(training: Training, rate: float) -> float:
    """A lower rate: half of what the curvature allows where it is known, else a tenth."""
    if training.sharpness is not None and training.momentum is not None and training.sharpness > 0:
        return min(rate / 10, (1 - training.momentum) / training.sharpness)
    return rate / 10
