"""Why a loss does not fall: a learning rate too high or too low, told apart from a bad start.

Step 0 speaks first: a probe's findings where a ``Light`` was given, else the gradients and the loss of the first steps.
If the start is sound, the first updates are looked at. Too high: the rate is above 2 (1 + β) / λ, the slope along the
update turns around by more than half (an overshoot), or an update is as large as its weight. Too low: in all its steps
the training has moved the weights by less than a hundredth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .curves import finite_part
from .records import Evidence, Finding, Severity
from .training_records import FIRST, Training

SYMPTOMS = frozenset(
    {
        "loss-stuck",
        "loss-rising",
        "loss-oscillating",
        "loss-diverged",
        "trivial-plateau",
        "non-finite-values",
        "non-finite-gradients",
        "exploded-gradients",
    }
)
NO_GRADIENT = 1e-6  # rms of a weight's gradient in the first steps: a start that lets none through
FAR_FROM_TRIVIAL = 3.0  # times the trivial loss, and 1 more: a start far off
OVERSHOT = 0.5  # g(t+1)·u / |g(t)·u|
LARGE = 1.0  # update / weight
MOVING = frozenset({"loss-rising", "loss-oscillating", "loss-diverged", "non-finite-values", "exploded-gradients"})
MOVED = 0.01  # of the weights, in all steps
STABLE = "gradient descent on a quadratic: rate < 2 (1 + β) / λ"
SOURCE = "calibration in docs/watch.md"


def bad_start(training: Training) -> str:
    """What is wrong with the first steps, in words; "" where they look sound."""
    if training.suspect:
        return f"the probe of step 0 found {', '.join(training.suspect)}"
    early = [s for s in training.samples[:FIRST] if s.step <= 2 * FIRST][:3]
    weights = training.layers.weights
    if early and weights.any():
        sizes = np.nanmax(np.stack([np.where(np.isnan(s.gradient), 0.0, s.gradient) for s in early]), axis=0)[weights]
        if 0 < float(sizes.min()) < NO_GRADIENT or not np.median(sizes):
            return f"the first gradients are next to nothing already (rms {sizes.min():.2g} in the weakest layer)"
    loss, trivial = training.curve.loss, training.curve.trivial
    if trivial is not None and len(loss) and loss[0] > FAR_FROM_TRIVIAL * trivial + 1:
        return f"the first loss is {loss[0]:.4g}, and a constant prediction has {trivial:.4g}"
    return ""


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
    weights = training.layers.weights
    for part in (samples[:FIRST], samples[-FIRST:]):
        over = np.array([s.overshoot for s in part])
        over = over[~np.isnan(over)]
        if symptom in MOVING and len(over) >= 3 and float(np.median(over)) > OVERSHOT:
            found.append(Evidence("slope behind the update / before", float(np.median(over)), OVERSHOT, -1.0, SOURCE))
            break
    ratios = [np.where(weights, s.ratio, np.nan) for s in samples[:FIRST]]
    largest = max((float(np.nanmax(r)) for r in ratios if np.isfinite(r).any()), default=0.0)
    if largest > LARGE:
        found.append(Evidence("largest update / weight in the first steps", largest, LARGE, 1e-3, SOURCE))
    return tuple(found)


def too_low(training: Training) -> tuple[Evidence, ...]:
    """What says that it is too low."""
    ratios = [np.where(training.layers.weights, s.ratio, np.nan) for s in training.samples]
    medians = [float(np.nanmedian(r)) for r in ratios if np.isfinite(r).any()]
    if not medians:
        return ()
    moved = float(np.median(medians)) * training.samples[-1].step
    return (Evidence("update / weight, times the steps", moved, MOVED, None, SOURCE),) if moved < MOVED else ()


def explain(finding: Finding, training: Training) -> tuple[Finding, ...]:
    """A symptom with its cause; and the learning rate as a finding of its own where that is it."""
    if finding.code not in SYMPTOMS or not training.samples:
        return (finding,)
    start = bad_start(training)
    if start:
        return (replace(finding, cause=f"{finding.cause}. The start is the likelier reason: {start}"),)
    rate = float(np.nanmax(training.samples[0].rate))
    high = too_high(training, finding.code)
    if high:
        words = f"{high[0].quantity} is {high[0].value:.3g}, above {high[0].threshold:g}"
        return finding, Finding(
            "learning-rate-too-high",
            Severity.ERROR if finding.severity is Severity.ERROR else Severity.WARNING,
            "",
            None,
            high,
            f"the first steps were sound and the rate of {rate:g} is too high: {words}",
            f"train with {_tenth(training, rate):.2g}, or warm the rate up",
            f"for group in optimizer.param_groups:\n    group['lr'] = {_tenth(training, rate):.2g}",
            finding.step,
        )
    low = too_low(training) if finding.code in ("loss-stuck", "trivial-plateau") else ()
    if low:
        return finding, Finding(
            "learning-rate-too-low",
            Severity.WARNING,
            "",
            None,
            low,
            f"gradients are sound, and in {training.samples[-1].step} steps at a rate of {rate:g} the weights have "
            f"moved by {100 * low[0].value:.2g} %",
            "raise the learning rate tenfold, and again while the loss falls smoothly",
            "for group in optimizer.param_groups:\n    group['lr'] *= 10",
            finding.step,
        )
    n = finite_part(training.curve)
    return (replace(finding, cause=finding.cause + ("" if n < 2 else ". The first steps look sound")),)


def _tenth(training: Training, rate: float) -> float:
    """A lower rate: half of what the curvature allows where it is known, else a tenth."""
    if training.sharpness is not None and training.momentum is not None and training.sharpness > 0:
        return min(rate / 10, (1 - training.momentum) / training.sharpness)
    return rate / 10
