"""What the first measured steps say of the start: gradients that vanish or explode, a loss far off.

Numbers are of the start's own scale where they can be. ``training_causes`` asks it before it blames a learning rate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .training_records import FIRST, Sample, Training

NO_GRADIENT = 1e-6  # rms of a weight's gradient in the first steps: a start that lets none through
ALIKE = 100.0  # times: gradients of all parameters within it are small together, which is a matter of units
STEEP = 300.0  # relative change of the loss for that of a weight; of healthy starts up to 40, of fine-tuning 120
FAR_FROM_TRIVIAL = 3.0  # times the trivial loss, and 1 more: a start far off
CLIPPED = 1e-4  # to which norms of gradients are equal only if they were made so


def bad_start(training: Training) -> str:
    """What is wrong with the first steps, in words; "" where they look sound."""
    if training.suspect:
        return f"the probe of step 0 found {', '.join(training.suspect)}"
    early = [s for s in training.samples[:FIRST] if s.step <= 2 * FIRST][:3]
    weights = training.layers.weights
    if early and weights.any():
        every = np.nanmax(np.stack([np.where(np.isnan(s.gradient), 0.0, s.gradient) for s in early]), axis=0)
        sizes = every[weights]
        none = int((sizes == 0).sum())
        if none and len(early) > 2:  # a branch that starts at zero gets its gradient with the second step
            return f"{none} of {len(sizes)} weights get no gradient in the first steps"
        if 0 < sizes.min() < min(NO_GRADIENT, every.max() / ALIKE) and clipped(training.samples) is None:
            return f"the first gradients are next to nothing already (rms {sizes.min():.2g} in the weakest layer)"
    if (found := steepness(training)) > STEEP:
        return f"a weight changed by 1 % changes the first loss by {found:.2g} %: gradients explode, or it is chaotic"
    loss, trivial = training.curve.loss, training.curve.trivial
    if trivial is not None and len(loss) and loss[0] > FAR_FROM_TRIVIAL * trivial + 1:
        return f"the first loss is {loss[0]:.4g}, and a constant prediction has {trivial:.4g}"
    return ""


def clipped(samples: Sequence[Sample]) -> float | None:
    """The norm that every gradient was clipped to, where that is so."""
    norms = np.array([s.norm for s in samples])
    same = len(norms) > 4 and np.isfinite(norms).all() and np.ptp(norms) < CLIPPED * norms.mean()
    return float(norms.mean()) if same else None


def steepness(training: Training) -> float:
    """max over weights of |g| |w| / L at the first step: the relative condition of the loss L.

    L is the first loss, or a constant prediction's if that is larger. Homogeneous layers have g·w of the size of what
    the loss can lose; 0 where nothing is known.
    """
    loss, first = training.curve.loss, training.samples[:1]
    if not first or first[0].step > 1 or not len(loss) or not training.layers.weights.any():
        return 0.0
    of = max(abs(float(loss[0])), training.curve.trivial or 0.0)
    sizes = (first[0].gradient * first[0].weight * training.layers.sizes)[training.layers.weights]
    return float(np.nanmax(sizes, initial=0.0) / of) if of > 0 else 0.0
