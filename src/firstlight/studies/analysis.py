"""From results to summaries: each arm at its learning rate, intervals, comparisons, ranks.

Pure functions of the results; ``study`` holds what they give, the page and the tables show it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..probes import Signal
from .foretelling import findings_of, reading_of
from .records import ArmSummary, Comparison, CurvePoint, RateSummary, Result, SignalSummary
from .statistics import holm, interval, paired_p


def summarize(results: Sequence[Result], arms: Sequence[str], target: float) -> tuple[ArmSummary, ...]:
    """Every arm's summary, best first: by mean test accuracy at the learning rate that validation chose."""
    trials = [r for r in results if r.trial.stage == "target"]
    summaries = [_arm(arm, [r for r in trials if r.trial.arm == arm], target) for arm in arms]
    ordered = sorted(summaries, key=lambda s: (-_low_nan(s.test.mean), arms.index(s.arm)))
    return tuple(replace(s, rank=i) for i, s in enumerate(ordered, start=1))


def choose_rate(results: Sequence[Result]) -> float:
    """The learning rate with the best mean validation accuracy; of equals, the one with the lower loss.

    A trial that failed or diverged counts with what it had reached at its last evaluation, one without any as 0.
    """
    by_rate: dict[float, list[Result]] = {}
    for r in results:
        by_rate.setdefault(r.trial.learning_rate, []).append(r)

    def merit(rate: float) -> tuple[float, float, float]:
        accuracy = _mean([_low_nan(r.validation_accuracy) for r in by_rate[rate]])
        losses = [r.validation_loss if math.isfinite(r.validation_loss) else math.inf for r in by_rate[rate]]
        return (-accuracy, _mean(losses), rate)

    return min(by_rate, key=merit)


def compare_arms(summaries: Sequence[ArmSummary], baseline: str) -> tuple[Comparison, ...]:
    """Each arm against the baseline, paired by seed, Holm-corrected over the arms."""
    base = next(s for s in summaries if s.arm == baseline)
    others = [s for s in summaries if s.arm != baseline]
    differences = [_differences(s.test_accuracies, base.test_accuracies) for s in others]
    p_values = [paired_p(d) for d in differences]
    return tuple(
        Comparison(s.arm, baseline, interval(d), p, corrected)
        for s, d, p, corrected in zip(others, differences, p_values, holm(p_values), strict=True)
    )


def _differences(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Paired differences of test accuracies; a trial without one (it raised) counts as 0, not as missing."""
    return [_low_nan(v) - _low_nan(b) for v, b in zip(values, base, strict=True)]


def _arm(arm: str, results: list[Result], target: float) -> ArmSummary:
    rate = choose_rate(results)
    chosen = sorted((r for r in results if r.trial.learning_rate == rate), key=lambda r: r.trial.seed)
    rates = tuple(_rate(r, results, target) for r in sorted({r.trial.learning_rate for r in results}))
    reached = [r.steps_to_target for r in chosen if r.steps_to_target is not None]
    findings = findings_of(results)
    signal = _mean_signal([r.signal for r in chosen if r.signal is not None])
    accuracies = tuple(r.test_accuracy for r in chosen)
    return ArmSummary(
        arm=arm,
        rank=0,
        learning_rate=rate,
        test=interval([_low_nan(a) for a in accuracies]),
        test_accuracies=accuracies,
        validation=interval([_low_nan(r.validation_accuracy) for r in chosen]),
        steps_to_target=interval(reached) if reached else None,
        reached=len(reached),
        trials=len(chosen),
        diverged=sum(r.status == "diverged" for r in chosen),
        at_chance=sum(r.at_chance for r in chosen),
        failed=sum(r.status == "failed" for r in chosen),
        working_rates=tuple(r.learning_rate for r in rates if r.works),
        rates=rates,
        curve=_curve(chosen),
        signal=signal,
        findings=findings,
        reading=reading_of(findings),
        errors=tuple(dict.fromkeys(r.error for r in results if r.error)),
    )


def _rate(rate: float, results: Sequence[Result], target: float) -> RateSummary:
    mine = [r for r in results if r.trial.learning_rate == rate]
    reached = sum(r.steps_to_target is not None for r in mine)
    return RateSummary(
        learning_rate=rate,
        validation=interval([_low_nan(r.validation_accuracy) for r in mine]),
        trials=len(mine),
        reached=reached,
        diverged=sum(r.status == "diverged" for r in mine),
        at_chance=sum(r.at_chance for r in mine),
        failed=sum(r.status == "failed" for r in mine),
        works=2 * sum(r.validation_accuracy >= target for r in mine) > len(mine),
    )


def _curve(results: Sequence[Result]) -> tuple[CurvePoint, ...]:
    """Accuracy and loss by step over the seeds; a run that diverged keeps its last accuracy from there on."""
    steps = sorted({p.step for r in results for p in r.curve if r.diverged_at != p.step})
    points = []
    for step in steps:
        so_far = [[p for p in r.curve if p.step <= step] for r in results]
        now = [points_[-1] for points_ in so_far if points_]
        losses = [p.train_loss for p in now if p.step == step and math.isfinite(p.train_loss)]
        points.append(CurvePoint(step, interval([p.validation_accuracy for p in now]), interval(losses)))
    return tuple(points)


def _mean_signal(signals: Sequence[Signal]) -> SignalSummary | None:
    """The geometric mean over seeds, layer by layer: second moments of deep networks spread over decades."""
    if not signals:
        return None
    layers = signals[0].layers
    alike = [s for s in signals if s.layers == layers]

    def means(rows: list[tuple[float, ...]]) -> tuple[float, ...]:
        return tuple(_geometric(column) for column in zip(*rows, strict=True))

    return SignalSummary(layers, means([s.activations for s in alike]), means([s.gradients for s in alike]))


def _geometric(values: Sequence[float]) -> float:
    if any(not math.isfinite(v) for v in values):
        return math.inf
    if any(v <= 0 for v in values):
        return 0.0
    return math.exp(_mean([math.log(v) for v in values]))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _low_nan(value: float) -> float:
    """What never gave an accuracy scores 0."""
    return 0.0 if math.isnan(value) else value
