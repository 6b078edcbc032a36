"""What the updates did to the loss: uphill, too slow, of no use to the next batch; or not what the loss measures.

An update u changes the loss by g·u, and the next step's gradient, of other examples, tells what slope is left along it.
Takes what ``watch`` has gathered; ``training`` runs these rules among its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from .curves import BLOCKS, SOURCE, Values, finite_part, shape_of
from .records import Evidence, Finding, Severity
from .training_records import FIRST, Sample, Training
from .training_start import bad_start

FEW, MANY = 6, 24  # samples that a rule asks for
UPHILL = 0.1  # cosine of update and gradient; -1 is straight downhill
DOWNHILL = 0.95  # of the updates after which the next batch's slope still goes down
NO_USE = 0.1  # of its own batch's slope is what an update does for the next, either way
DECAYED, MOSTLY = 0.01, 0.5  # of the highest rate, for so much of the steps
OVER = 100  # steps from which a schedule that has ended can be told from a short run's end
BELOW = 0.02  # of the trivial loss: below it by more
PROMISED, SURE = 3.0, 3.0  # times the fall that came of it; standard errors


def _finite(values: Sequence[float] | Values) -> Values:
    found: Values = np.asarray(values, dtype=np.float64)
    kept: Values = found[np.isfinite(found)]
    return kept


def after(samples: Sequence[Sample]) -> Values:
    """The overshoots that are known."""
    return _finite([s.overshoot for s in samples])


def cosines(training: Training, samples: Sequence[Sample]) -> Values:
    """g·u / |g| |u| of each; where too large a model is measured in part, u is of that part."""
    sizes = training.layers.sizes
    lengths = np.array([s.norm * np.sqrt(np.nansum(np.square(s.update) * sizes)) for s in samples])
    slopes = np.array([s.slope for s in samples])
    with np.errstate(invalid="ignore", divide="ignore"):
        return _finite(slopes / lengths)


def goes_uphill(training: Training) -> float | None:
    """The median cosine of the first updates with the gradient, where they go up the slope."""
    found = cosines(training, [s for s in training.samples[:FIRST] if s.step <= 2 * FIRST])
    if len(found) < FEW or not np.median(found) > UPHILL or not (found > 0).mean() > 0.9:
        return None
    return float(np.median(found))


def decayed(samples: Sequence[Sample]) -> float | None:
    """The last rate over the highest, where it has been next to nothing for most of the steps."""
    rates = np.array([np.nanmax(s.rate) for s in samples])
    low = np.flatnonzero(rates > DECAYED * rates.max())
    if not len(low) or rates.max() <= 0 or low[-1] + 1 >= len(samples):
        return None
    return float(rates[-1] / rates.max()) if samples[low[-1] + 1].step < (1 - MOSTLY) * samples[-1].step else None


def falls_steadily(training: Training) -> bool:
    """Whether the loss falls in its second half nearly as fast as in its first."""
    n = finite_part(training.curve)
    return n >= 50 and shape_of(training.curve.loss[:n]).steady


def never_overshoots(training: Training) -> float | None:
    """The share of updates after which the loss of the next batch still falls along them, where it is nearly all."""
    found = after(training.samples)
    share = float((found < 0).mean()) if len(found) else 0.0
    return share if len(found) >= FIRST and share >= DOWNHILL else None


def measures_something_else(training: Training) -> bool:
    """Whether the updates went on downhill for the next batches while the loss went nowhere: no sum of them is it.

    At the end of an update the slope of a convex loss is at least -(what was gained), so the sum of these slopes is
    promised at the least. A player's loss in a game, or a policy gradient's, keeps no such promise: over all steps, or
    since it was lowest. Where the targets are known the loss is what it says.
    """
    n = finite_part(training.curve)
    if training.curve.trivial is not None or n < 50:
        return False
    steps, loss = training.curve.steps[:n], training.curve.loss[:n]
    s = shape_of(loss)
    blocks = np.array_split(np.arange(n), BLOCKS)
    turn = steps[blocks[int(np.argmin([np.median(loss[b]) for b in blocks]))][-1]]
    least = max(2 * s.error, 0.1 * s.scale)
    return _promised(training, 0.0) > PROMISED * max(s.start - s.tail, s.head - s.tail, least) or (
        _promised(training, float(turn)) > PROMISED * least
    )


def _promised(training: Training, since: float) -> float:
    """-Σ g(t+1)·u over the steps since one, from the samples there; 0 where these are few or do not tell its sign."""
    known = [s for s in training.samples if s.step >= since and np.isfinite(s.overshoot) and np.isfinite(s.slope)]
    gains = np.array([-s.overshoot * abs(s.slope) for s in known])
    if len(known) < FIRST or not gains.mean() > SURE * gains.std() / np.sqrt(len(gains)):
        return 0.0
    return float(np.trapezoid(gains, [s.step for s in known]))


def uphill(training: Training) -> Iterator[Finding]:
    """The sign of the step is wrong: maximize=True, or a rate below zero."""
    found = goes_uphill(training)
    loss = training.curve.loss[: finite_part(training.curve)]
    if found is None or len(loss) < FEW or not np.median(loss[-3:]) > np.median(loss[:3]):
        return
    yield Finding(
        "flipped-loss",
        Severity.ERROR,
        "",
        None,
        (Evidence("cosine of update and gradient, median", found, UPHILL, -1.0, "a descent has it below zero"),),
        "the optimizer's updates go up the slope of the loss, and the loss rises",
        "look at the sign: maximize=True, a learning rate below zero, a loss that was negated on its way to backward()",
        "for group in optimizer.param_groups:\n    group['maximize'] = False",
        training.samples[-1].step,
    )


def slow(training: Training) -> Iterator[Finding]:
    """Falls as slowly at the end as at the start, and no update has used up its slope."""
    share = never_overshoots(training)
    if share is None or len(training.curve) < 100 or not falls_steadily(training):
        return
    rates = np.array([np.nanmax(s.rate) for s in training.samples])
    if rates[-1] < 0.5 * rates.max() or rates[-1] > 2 * rates[0]:  # on its way down, or still warming up
        return
    yield Finding(
        "learning-rate-too-low",
        Severity.NOTE,
        "",
        None,
        (Evidence("updates that leave the slope downhill for the next batch", share, DOWNHILL, None, SOURCE),),
        f"the loss falls as slowly as at first, and {100 * share:.0f} % of the updates could have been larger",
        "raise the learning rate threefold, and again while the loss falls smoothly",
        "for group in optimizer.param_groups:\n    group['lr'] *= 3",
        training.samples[-1].step,
    )


def ended(training: Training) -> Iterator[Finding]:
    """The rate has been next to nothing for most of the steps, and updates still leave the slope downhill.

    Schedules end near zero, and the training with them.
    """
    left, last = decayed(training.samples), after(training.samples[-FIRST:])
    if left is None or training.samples[-1].step < OVER or len(last) < FEW or not (last < 0).mean() >= DOWNHILL:
        return
    yield Finding(
        "learning-rate-too-low",
        Severity.WARNING,
        "",
        None,
        (Evidence("rate / highest rate", left, DECAYED, 1.0, SOURCE),),
        "for most of the steps the rate has been below a hundredth of its highest, and "
        f"{100 * (last < 0).mean():.0f} % of the updates could still have been larger: the schedule has ended long "
        "before the training",
        "count the schedule in the steps that it is stepped by: an epoch's decay once an epoch",
        "scheduler.step()  # behind the loop over batches, not in it",
        training.samples[-1].step,
    )


def by_heart(training: Training) -> Iterator[Finding]:
    """The loss gets below the trivial one though no update helps the next batch: it can only be remembered examples."""
    curve, n = training.curve, finite_part(training.curve)
    first, last = after(training.samples[:FIRST]), after(training.samples[FIRST:])
    if curve.trivial is None or n < 50 or bad_start(training) or len(first) + len(last) < MANY or len(last) < FEW:
        return
    every, s = np.concatenate([first, last]), shape_of(curve.loss[:n])
    even = abs((every < 0).mean() - 0.5) < 1 / np.sqrt(len(every))
    small = max(abs(float(np.median(first))), abs(float(np.median(last)))) < NO_USE
    below = curve.trivial - s.tail > BELOW * abs(curve.trivial) + 2 * s.error
    if not (even and small and below and s.tail > 0.5 * curve.trivial and s.trend < -3):
        return
    gain = -float(np.median(every))
    yield Finding(
        "over-fitting",
        Severity.NOTE,
        "",
        None,
        (Evidence("what an update does for the next batch / for its own", gain, NO_USE, 1.0, SOURCE),),
        f"the loss has got to {s.tail:.4g}, and no update has helped the batch after it: examples are learned by "
        f"heart, or the targets have nothing to do with the inputs{_start_words(training)}",
        "measure a validation loss; check that targets belong to their inputs",
        "w.log(validation_loss=loss_fn(model(held_inputs), held_targets))",
        training.samples[-1].step,
    )


def _start_words(training: Training) -> str:
    """A chaotic network learns by heart too, and of that a probe is surer."""
    if training.suspect is None:
        return "; or the network is chaotic from its start, which fl.probe tells"
    return ". No fault of the initial weights: the probe of step 0 found none"
