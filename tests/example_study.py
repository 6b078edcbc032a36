"""A study as ``compare`` would give it, constructed: nine arms × four learning rates × ten seeds, all that goes wrong.

One arm diverges, one stays at chance, one raises, one has an exploding signal, and one has a very long name. Tests of
the page, the terminal and the browser look at it.
"""

from __future__ import annotations

import math
from pathlib import Path

from firstlight.checks import Evidence, Finding, Severity
from firstlight.probes import Signal
from firstlight.studies.records import Point, Result, Setting, Trial
from firstlight.studies.study import Study, make_study

LONG = "variance_scaling(scale=2.0, mode=fan_geo_avg, distribution=truncated_normal, forget_bias=0)"
# Final accuracy by learning rate, and the factor of the second moment a layer: forward, backward.
ARMS: dict[str, tuple[tuple[float, ...], float, float]] = {
    "torch": ((0.2, 0.2, 0.2, 0.2), 0.7, 0.4),
    "normal(std=0.01)": ((0.2, 0.2, 0.2, 0.2), 0.003, 0.003),
    "uniform(bound=0.5)": ((0.2, 0.2, 0.2, 0.2), 9.0, 9.0),
    "glorot_uniform": ((0.3, 0.4, 0.55, 0.6), 0.5, 0.5),
    "he_uniform": ((0.9, 0.95, 0.8, 0.3), 1.0, 1.0),
    "he_normal": ((0.91, 0.96, 0.8, 0.3), 1.0, 1.0),
    "orthogonal(gain=relu)": ((0.93, 0.97, 0.9, 0.3), 1.05, 1.05),
    LONG: ((0.88, 0.93, 0.7, 0.4), 1.1, 0.9),
    "pretrained": ((0.9, 0.94, 0.5, 0.2), 1.0, 1.2),
}
RATES = (0.001, 0.003, 0.01, 0.03)
STEPS = tuple(range(20, 201, 20))
LAYERS = (*(f"layer{i}" for i in range(1, 20)), "head")


def example_study(
    arms: tuple[str, ...] = tuple(ARMS), rates: tuple[float, ...] = RATES, seeds: int = 10, folder: Path = Path("run")
) -> Study:
    """The study, or a part of it."""
    results = [_result(a, r, s) for a in arms for r in rates for s in range(seeds)]
    return make_study(setting(arms, rates, seeds), results, folder)


def failed_study(error: str = "RuntimeError: no", seeds: int = 3) -> Study:
    """A study all of whose trials raised: every number is NaN."""
    arms = ("torch", "he_normal")
    results = [_failed(Trial("target", a, r, s), error) for a in arms for r in RATES for s in range(seeds)]
    return make_study(setting(arms, RATES, seeds), results, Path("run"))


def setting(arms: tuple[str, ...], rates: tuple[float, ...], seeds: int) -> Setting:
    """What the study ran."""
    return Setting(
        task="digits-5-9: Handwritten digits 5 to 9, 8 × 8 pixels (scikit-learn, UCI).",
        network="mlp",
        parameters=79365,
        classes=5,
        train_size=448,
        validation_size=179,
        test_size=269,
        arms=arms,
        learning_rates=rates,
        seeds=tuple(range(seeds)),
        optimizer="sgd",
        steps=200,
        batch_size=32,
        target=0.6,
        chance=0.2,
        baseline=arms[0],
        command="firstlight compare --arms 'normal(std=0.01)'",
        versions=(("torch", "2.13.0"), ("python", "3.11.7")),
        machine="Linux x86_64, 2 cores",
        fingerprint="289135a7f3f07278bbcb54bf5e235079",
    )


def _result(arm: str, rate: float, seed: int) -> Result:
    trial = Trial("target", arm, rate, seed)
    if arm == LONG and seed == 3:
        return _failed(trial, "Traceback (most recent call last):\nValueError: a <b>fault</b> of the model")
    finals, forward, backward = ARMS.get(arm, ((0.9,) * 4, 1.0, 1.0))
    # Spread the seeds evenly, ±2.5 points, but not where the arm stays at chance.
    final = finals[RATES.index(rate) % 4]
    final += 0.005 * (seed - 4.5) * (final > 0.25)
    diverged = arm == "uniform(bound=0.5)"
    curve = tuple(_point(step, final) for step in STEPS)
    if diverged:
        curve = (Point(1, math.inf, math.nan, 0.2),)
    reached = next((p.step for p in curve if p.validation_accuracy >= 0.6), None)
    return Result(
        trial=trial,
        status="diverged" if diverged else "finished",
        curve=curve,
        steps_to_target=reached,
        diverged_at=1 if diverged else None,
        at_chance=final < 0.25,
        validation_accuracy=final,
        validation_loss=math.nan if diverged else 2 * (1 - final),
        test_accuracy=final - 0.01 * (final > 0.25),
        test_loss=math.nan if diverged else 2 * (1 - final),
        signal=_signal(forward, backward, seed),
        error=None,
        wall_seconds=0.2,
        findings=_findings(forward, backward) if rate == RATES[0] else None,
    )


def _findings(forward: float, backward: float) -> tuple[Finding, ...]:
    """As a probe of such a signal would have them."""
    for way, factor in (("forward", forward), ("gradient", backward)):
        if not 0.5 <= factor <= 2:
            code = f"{'exploding' if factor > 1 else 'vanishing'}-{way}"
            numbers = (Evidence(f"second moment's factor a layer, {way}", factor, 0.5, 1.0, "mean field"),)
            cause, remedy = "all 19 layers change the signal", "draw these weights for what they meet: fl.init_(…)"
            return (Finding(code, Severity.ERROR, "layer1", 0.0, numbers, cause, remedy, remedy),)
    return ()


def _point(step: int, final: float) -> Point:
    share = 1 - math.exp(-step / 50)
    return Point(step, 1.6 * (1 - share * final), 1.6 * (1 - share * final), 0.2 + (final - 0.2) * share)


def _signal(forward: float, backward: float, seed: int) -> Signal:
    start = 1 + 0.01 * seed
    last = len(LAYERS) - 1
    outputs = tuple(start * forward**i for i in range(last + 1))
    return Signal(LAYERS, outputs, tuple(1e-4 * start * backward ** (last - i) for i in range(last + 1)))


def _failed(trial: Trial, error: str) -> Result:
    nan = math.nan
    return Result(trial, "failed", (), None, None, False, nan, nan, nan, nan, None, error, 0.1)
