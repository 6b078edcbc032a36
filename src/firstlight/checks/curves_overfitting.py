"""Over-fitting from a curve with validation losses: they turn up, or never come down, while training goes on falling.

``curves_rules`` asks it first. Without validation losses a curve alone tells nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .curves import FEWEST, MAD, SOURCE, Curve, Values, finite_part, mann_kendall, shape_of
from .records import Evidence, Finding, Severity

WORSE = 0.1  # of the best validation loss: over-fitting
GAP, LEARNED = 0.3, 0.2  # training / validation; the share of the first loss that validation should lose


def over_fitting(curve: Curve) -> Iterator[Finding]:
    """Validation has turned up for good, or never came down, while training went on falling."""
    keep = np.isfinite(curve.validation)
    values, steps = curve.validation[keep], curve.validation_steps[keep]
    if len(values) < 6:
        return
    smooth = np.array([np.median(values[max(0, i - 1) : i + 2]) for i in range(len(values))])
    best = int(smooth[:-1].argmin())
    lowest, last = float(smooth[best]), float(np.median(values[-3:]))
    if not _falls_from(curve, float(steps[best])):
        return
    if _turned(values, smooth, best):
        at = int(steps[best])
        yield _over(
            int(steps[-1]),
            Evidence("validation loss above its lowest", last - lowest, WORSE * abs(lowest), 0.0, SOURCE),
            f"validation was best at step {at} ({lowest:.4g}) and is {last:.4g} now, while training goes on falling",
            f"stop at step {at}, regularize, or use more data",
        )
    elif (gap := _gap(curve, values)) is not None:
        yield _over(
            int(steps[-1]),
            Evidence("training loss / validation loss", gap, GAP, 1.0, SOURCE),
            f"validation has never come down (it is {last:.4g}), while training has fallen to {100 * gap:.2g} % of it",
            "regularize, use more data, or check that validation data are like those of training",
        )


def _falls_from(curve: Curve, best: float) -> bool:
    """Whether the training loss falls after a step; true of a log that has only validation."""
    n = finite_part(curve)
    after = curve.loss[:n][curve.steps[:n] >= best]
    if not n:
        return True
    quarter = max(1, len(after) // 4)
    return len(after) >= 3 and float(np.median(after[-quarter:])) < float(np.median(after[:quarter]))


def _turned(values: Values, smooth: Values, best: int) -> bool:
    """Whether validation is above its best by a tenth and more than its noise, and rising."""
    lowest, rise = float(smooth[best]), float(np.median(values[-3:])) - float(smooth[best])
    noise = MAD * float(np.median(np.abs(np.diff(values) - np.median(np.diff(values))))) / 2**0.5
    clear = rise >= max(WORSE * abs(lowest), 4 * noise) and mann_kendall(smooth[best:]) >= 1.5
    return clear and len(values) - best >= 4


def _gap(curve: Curve, values: Values) -> float | None:
    """Training / validation, where that is small and validation is no lower than it was at first."""
    n = finite_part(curve)
    if n < FEWEST:
        return None
    first, last, s = float(np.median(values[:3])), float(np.median(values[-3:])), shape_of(curve.loss[:n])
    learned = last < (1 - LEARNED) * max(first, s.start)
    return s.tail / last if last > 0 and 0 <= s.tail < GAP * last and not learned else None


def _over(step: int, evidence: Evidence, cause: str, remedy: str) -> Finding:
    cause = f"{cause}: no fault of the initial weights"
    code = "torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.1)"
    return Finding("over-fitting", Severity.NOTE, "", None, (evidence,), cause, remedy, code, step)
