"""Findings while training, from gradients and updates: vanished, exploded, spiking, dying units, updates out of range.

Takes what ``watch`` has gathered. ``training_causes`` then tells a learning rate from a bad start. A loss that has
fallen well below its start excuses small gradients and updates: that is convergence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .curves import MAD, SOURCE, Values, beginning
from .records import Evidence, Finding, Severity
from .repairs import LOWER, PROBE
from .training_records import NDBool, Sample, Training, at_zero
from .training_start import STEEP, steepness
from .training_steps import by_heart, ended, slow, uphill

VANISHED = 1e-8  # rms of a gradient: Adam's eps, below which its steps vanish too
GROWN = 100.0  # times the gradient of the first samples
SPIKE = 10.0  # times the median of the gradients before
SPIKE_SIGMAS = 8.0  # and so many robust standard deviations of its logarithm
DEAD = 0.5  # share of units: a draw kills no more than half (arc-cosine map, docs/findings.md)
GREW_DEAD = 0.25  # and so much more than at first
LARGE_ONCE, LARGE, SMALL = 1.0, 0.1, 1e-6  # update / weight
SUSTAINED = 5  # samples
SHRUNK, SOON = 0.5, 500  # of their first size, within so many steps
STANDING = 0.5  # of its start, above which a loss has not converged
IMPROVED = 0.9  # of its start, below which large updates have done no harm
WARM_UP = 10  # steps in which weights that start at zero find their size

Rule = Callable[[Training], Iterator[Finding]]


def diagnose_training(training: Training) -> Iterator[Finding]:
    """The findings that hold now; the curve's own are ``diagnose_curve``'s."""
    if training.samples:
        for rule in _RULES:
            yield from rule(training)


def standing(training: Training) -> bool:
    """Whether the loss is still near where it began (or near the trivial loss, if that is lower): not converged."""
    loss = training.curve.loss[np.isfinite(training.curve.loss)]
    if not len(loss):
        return True
    start, trivial = beginning(loss), training.curve.trivial
    return bool(np.median(loss[-5:]) > STANDING * (start if trivial is None else min(start, trivial)))


def improved(training: Training) -> bool:
    """Whether the loss is a tenth below its start, and below a constant prediction's."""
    loss = training.curve.loss[np.isfinite(training.curve.loss)]
    if not len(loss):
        return False
    start, trivial = beginning(loss), training.curve.trivial
    return bool(np.median(loss[-5:]) < IMPROVED * (start if trivial is None else min(start, trivial)))


def _where(training: Training, index: int) -> tuple[str, float | None]:
    """A parameter's name, and its place among the parameters."""
    names = training.layers.names
    return names[index], index / (len(names) - 1) if len(names) > 1 else None


def _non_finite(training: Training) -> Iterator[Finding]:
    """Backward goes from the outputs to the inputs: the last parameter in order is the first on its way."""
    for sample in training.samples:
        if np.isfinite(sample.norm):  # so is each that it is made of
            continue
        bad = sample.held & ~np.isfinite(sample.gradient)
        if bad.any() and np.isfinite(sample.weight).all():
            where, position = _where(training, int(np.flatnonzero(bad)[-1]))
            yield Finding(
                "non-finite-gradients",
                Severity.ERROR,
                where,
                position,
                (Evidence("parameters whose gradient is NaN or Inf", float(bad.sum()), 0.0, 0.0, "IEEE 754"),),
                "the gradient is not finite, and this parameter is the first on its way back from the loss",
                "look for what has no finite slope there: a root or a norm at 0, a logarithm near 0, an overflow "
                "in half precision",
                "torch.autograd.set_detect_anomaly(True)",
                sample.step,
            )
            return


def _vanished(training: Training) -> Iterator[Finding]:
    recent = training.samples[-SUSTAINED:]
    if len(recent) < SUSTAINED or recent[-1].step <= WARM_UP or not standing(training):
        return
    gradients = np.stack([s.gradient for s in recent])
    small = (gradients < VANISHED).all(axis=0) & training.layers.weights
    if not small.any():
        return
    index = int(np.flatnonzero(small)[np.argmin(np.median(gradients, axis=0)[small])])
    size = float(np.median(gradients[:, index]))
    where, position = _where(training, index)
    of = int(training.layers.weights.sum())
    yield Finding(
        "vanished-gradients",
        Severity.ERROR if small.sum() > of / 2 else Severity.WARNING,
        where,
        position,
        (Evidence("rms of the gradient", size, VANISHED, None, "Adam's eps"),),
        f"the gradient of {int(small.sum())} of {of} weights has been below {VANISHED:g} over {SUSTAINED} samples "
        "while the loss stands",
        "units are dead or saturated, or the start lets no gradient through: see fl.probe",
        PROBE,
        recent[-1].step,
    )


def _unzeroed(training: Training) -> Iterator[Finding]:
    if training.unzeroed < SUSTAINED:
        return
    yield Finding(
        "exploded-gradients",
        Severity.ERROR,
        "",
        None,
        (Evidence("steps in a row whose backward() found an old gradient", training.unzeroed, SUSTAINED - 1, 0.0),),
        "gradients are never zeroed: each backward() adds to those of all the steps before",
        "call optimizer.zero_grad() once between two steps",
        "optimizer.zero_grad()",
        training.samples[-1].step,
    )


def _exploded(training: Training) -> Iterator[Finding]:
    norms = np.array([s.norm for s in training.samples])
    if len(norms) < 2 * SUSTAINED or training.unzeroed or not standing(training):
        return
    first, now = float(np.median(norms[:SUSTAINED])), float(np.median(norms[-3:]))
    if not (np.isfinite(now) and now > GROWN * first > 0):
        return
    growth = training.samples[-1].gradient / np.maximum(training.samples[0].gradient, 1e-30)
    where, position = _where(training, int(np.nanargmax(np.where(training.layers.weights, growth, np.nan))))
    yield Finding(
        "exploded-gradients",
        Severity.ERROR,
        where,
        position,
        (Evidence("norm of the gradient / norm at the start", now / first, GROWN, 1.0, SOURCE),),
        f"the gradient's norm has grown from {first:.3g} to {now:.3g} and the loss has not fallen",
        "lower the learning rate, clip the gradient's norm",
        "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
        training.samples[-1].step,
    )


def _steep(training: Training) -> Iterator[Finding]:
    """From the first step on, where the loss has got nowhere since."""
    found = steepness(training)
    known = training.curve.trivial is not None  # else the loss may be next to nothing because all is learned
    if found > STEEP and known and training.samples[-1].step >= 2 * WARM_UP and not improved(training):
        sizes = np.where(training.layers.weights, training.samples[0].gradient * training.samples[0].weight, np.nan)
        where, position = _where(training, int(np.nanargmax(sizes * training.layers.sizes)))
        yield Finding(
            "exploded-gradients",
            Severity.WARNING,
            where,
            position,
            (Evidence("relative change of the loss / of the weight, at the first step", found, STEEP, 1.0, SOURCE),),
            f"at the first step already the loss changes {found:.2g} times as much as this weight, in proportion: the "
            "start makes gradients explode, or the network is chaotic",
            "see fl.probe: smaller weights, a scale that fits the activation",
            PROBE,
            training.samples[-1].step,
        )


def _spike(training: Training) -> Iterator[Finding]:
    if sum(np.isfinite(s.norm) for s in training.samples) < 16:
        return
    norms = np.array([s.norm for s in training.samples])
    logs = np.log(np.maximum(norms[np.isfinite(norms)], 1e-300))
    last, before = float(logs[-1]), logs[-33:-1]
    middle = float(np.median(before))
    spread = MAD * float(np.median(np.abs(before - middle)))
    if np.isfinite(norms[-1]) and last - middle > max(np.log(SPIKE), SPIKE_SIGMAS * spread):
        times = float(np.exp(last - middle))
        index = int(np.nanargmax(training.samples[-1].gradient))
        where, position = _where(training, index)
        yield Finding(
            "gradient-spike",
            Severity.NOTE,
            where,
            position,
            (Evidence("norm of the gradient / median before", times, SPIKE, 1.0, SOURCE),),
            f"one gradient is {times:.3g} times as large as those before",
            "look at that batch; clip the gradient's norm where spikes come again",
            "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
            training.samples[-1].step,
        )


def _dying(training: Training) -> Iterator[Finding]:
    units = training.layers.units
    dead = training.samples[-1].dead
    if len(training.samples) <= SUSTAINED:
        return
    first = np.nan_to_num(training.samples[min(SUSTAINED, len(training.samples) - 1)].dead)
    bound = np.maximum(DEAD + 3 * np.sqrt(0.25 / np.maximum(units, 1)), first)
    with np.errstate(invalid="ignore"):
        many = (dead > np.minimum(bound, 1 - 1e-9)) & (units >= 4)
    if not many.any():
        return
    index = int(np.flatnonzero(many)[np.argmax(dead[many])])
    where, position = _where(training, index)
    also = f" ({int(many.sum())} layers in all)" if many.sum() > 1 else ""
    yield Finding(
        "dying-units",
        Severity.WARNING,
        where,
        position,
        (Evidence("share of units without any gradient", float(dead[index]), float(bound[index]), None, SOURCE),),
        f"{100 * dead[index]:.0f} % of the units have had no gradient in {SUSTAINED} samples{also}; "
        f"{100 * first[index]:.0f} % at the start",
        "lower the learning rate, or use an activation with a slope below zero",
        "torch.nn.LeakyReLU(0.01)",
        training.samples[-1].step,
    )


def _large_updates(training: Training) -> Iterator[Finding]:
    if improved(training):  # a small start may be outgrown in one step
        return
    weights = training.layers.weights & ~at_zero(training)
    above = _ratios(training.samples, weights) > LARGE_ONCE
    if above.any():
        once = training.samples[int(above.any(axis=1).argmax())]
        ratio = np.where(weights, once.ratio, np.nan)
        yield _large(training, once, ratio, LARGE_ONCE, "one update was larger than the weight it changed")
        return
    yield from _shrunk(training)
    recent = training.samples[-2 * SUSTAINED :]
    if len(recent) < 2 * SUSTAINED or recent[0].step <= 2 * WARM_UP:  # w = lr t from a small start: 1/t of it a step
        return
    ratio = _median(_ratios(recent, training.layers.weights))
    if np.nanmax(ratio, initial=0.0) > LARGE:
        yield _large(
            training, recent[-1], ratio, LARGE, f"updates are {np.nanmax(ratio):.2g} of the weight, step after step"
        )


def _shrunk(training: Training) -> Iterator[Finding]:
    """Weights that lose half their size while nothing is learned: decay is stronger than the gradient."""
    first, last = training.samples[0], training.samples[-1]
    chosen = training.layers.weights & ~at_zero(training)
    if len(training.samples) < SUSTAINED or last.step > SOON or not chosen.any() or not standing(training):
        return
    left = np.where(chosen, last.weight / np.maximum(first.weight, 1e-30), np.nan)
    if np.nanmedian(left) < SHRUNK:
        index = int(np.nanargmin(left))
        where, position = _where(training, index)
        yield Finding(
            "update-too-large",
            Severity.WARNING,
            where,
            position,
            (Evidence("rms of the weights / at the start, median", float(np.nanmedian(left)), SHRUNK, 1.0, SOURCE),),
            f"in {last.step} steps the weights have shrunk to {100 * np.nanmedian(left):.0f} % of their start",
            "lower the weight decay, or the learning rate that it is multiplied by",
            "for group in optimizer.param_groups:\n    group['weight_decay'] = 0.01",
            last.step,
        )


def _large(training: Training, sample: Sample, ratio: Values, bound: float, cause: str) -> Finding:
    index = int(np.nanargmax(ratio))
    where, position = _where(training, index)
    return Finding(
        "update-too-large",
        Severity.WARNING,
        where,
        position,
        (Evidence("rms of the update / rms of the weight", float(ratio[index]), bound, 1e-3, SOURCE),),
        cause,
        "lower the learning rate, or warm it up",
        LOWER,
        sample.step,
    )


def _small_updates(training: Training) -> Iterator[Finding]:
    recent = training.samples[-2 * SUSTAINED :]
    if len(recent) < 2 * SUSTAINED or recent[-1].step <= WARM_UP or not standing(training):
        return
    rates = np.stack([s.rate for s in recent])
    highest = np.max([s.rate for s in training.samples], axis=0)
    going = (rates > 0.1 * highest).all(axis=0) & (highest > 0) & training.layers.weights
    ratio = _median(_ratios(recent, going))
    if not np.isfinite(ratio).any() or not np.nanmedian(ratio) < SMALL:
        return
    if np.nanmax(ratio) > 100 * SMALL:  # some layer learns: the others wait behind a gate that starts at zero
        return
    index = int(np.nanargmin(ratio))
    where, position = _where(training, index)
    yield Finding(
        "update-too-small",
        Severity.WARNING,
        where,
        position,
        (Evidence("rms of the update / rms of the weight, median", float(np.nanmedian(ratio)), SMALL, 1e-3, SOURCE),),
        "updates are less than a millionth of the weights while the loss stands",
        "raise the learning rate, if gradients are not vanishing",
        "for group in optimizer.param_groups:\n    group['lr'] *= 10",
        recent[-1].step,
    )


def _ratios(samples: Sequence[Sample], chosen: NDBool) -> Values:
    """update / weight of the chosen parameters, one row for each sample; NaN elsewhere."""
    updates, weights = np.stack([s.update for s in samples]), np.stack([s.weight for s in samples])
    with np.errstate(invalid="ignore"):
        return np.divide(updates, weights, out=np.full_like(updates, np.nan), where=(weights > 0) & chosen)


def _median(values: Values) -> Values:
    """Along the first axis; NaN where all are, without a warning."""
    out = np.full(values.shape[1], np.nan)
    some = ~np.isnan(values).all(axis=0)
    out[some] = np.nanmedian(values[:, some], axis=0)
    return out


_RULES: tuple[Rule, ...] = (
    _non_finite,
    _unzeroed,
    uphill,
    _vanished,
    _exploded,
    _steep,
    _spike,
    _dying,
    _large_updates,
    _small_updates,
    slow,
    ended,
    by_heart,
)
