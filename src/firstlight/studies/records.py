"""What a study asks and what it found, as plain frozen data.

``Trial`` is one question (arm × learning rate × seed), ``Result`` its answer; ``training`` makes results, the
``store`` keeps them, ``analysis`` turns them into summaries, and the page and the tables only read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..checks import Finding
from ..probes import Signal

Stage = Literal["source", "target"]
Status = Literal["finished", "diverged", "failed"]


@dataclass(frozen=True, slots=True, order=True)
class Trial:
    """One training run: an arm at one learning rate from one seed.

    ``stage`` is ``"source"`` for the runs that train the weights a ``pretrained`` arm starts from.
    """

    stage: Stage
    arm: str
    learning_rate: float
    seed: int


@dataclass(frozen=True, slots=True)
class Point:
    """One evaluation during training; ``train_loss`` is the mean over the steps since the last point."""

    step: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True, slots=True)
class Result:
    """What one trial gave. A trial that diverged or raised is a result too.

    ``steps_to_target`` is the first evaluated step with validation accuracy ≥ the study's target, ``None`` where
    it never got there. ``test_accuracy`` is read once, after the last step; it is NaN for a trial that failed.
    ``findings`` is what a probe at step 0 found: of one trial for each arm and seed, ``None`` for the others, which
    start from the same weights. Everything but ``wall_seconds`` is the same bits whenever and wherever the trial runs.
    """

    trial: Trial
    status: Status
    curve: tuple[Point, ...]
    steps_to_target: int | None
    diverged_at: int | None
    at_chance: bool
    validation_accuracy: float
    validation_loss: float
    test_accuracy: float
    test_loss: float
    signal: Signal | None
    error: str | None
    wall_seconds: float
    findings: tuple[Finding, ...] | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its bootstrap interval; ``n`` values went in."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Accuracy and loss at one step over the seeds of an arm."""

    step: int
    accuracy: Interval
    train_loss: Interval


@dataclass(frozen=True, slots=True)
class RateSummary:
    """An arm at one learning rate. ``works`` where more than half of its seeds end at the target or above."""

    learning_rate: float
    validation: Interval
    trials: int
    reached: int
    diverged: int
    at_chance: int
    failed: int
    works: bool


@dataclass(frozen=True, slots=True)
class SignalSummary:
    """Second moments by depth over an arm's seeds (geometric means), input side first."""

    layers: tuple[str, ...]
    activations: tuple[float, ...]
    gradients: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ArmFinding:
    """What probes of an arm found at step 0: an example, and from how many of the ``looked`` seeds."""

    finding: Finding
    seeds: int
    looked: int


@dataclass(frozen=True, slots=True)
class Foretold:
    """A verdict at step 0, and how many trials with it ended in each outcome (``foretelling.OUTCOMES``)."""

    verdict: str
    outcomes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ArmSummary:
    """An arm at its learning rate, the one with the best mean validation accuracy.

    ``steps_to_target`` averages the seeds that reached it, ``reached`` of ``trials``. ``reading`` says in words
    what step 0 shows; empty where it shows nothing wrong.
    """

    arm: str
    rank: int
    learning_rate: float
    test: Interval
    test_accuracies: tuple[float, ...]
    validation: Interval
    steps_to_target: Interval | None
    reached: int
    trials: int
    diverged: int
    at_chance: int
    failed: int
    working_rates: tuple[float, ...]
    rates: tuple[RateSummary, ...]
    curve: tuple[CurvePoint, ...]
    signal: SignalSummary | None
    findings: tuple[ArmFinding, ...]
    reading: str
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """An arm against the baseline at their own learning rates, paired by seed.

    ``p`` is the two-sided paired permutation test's; ``p_holm`` corrected over the arms of the study.
    """

    arm: str
    baseline: str
    difference: Interval
    p: float
    p_holm: float


@dataclass(frozen=True, slots=True)
class Setting:
    """What was run, in the words and numbers a reader needs to run it again."""

    task: str
    network: str
    parameters: int
    classes: int
    train_size: int
    validation_size: int
    test_size: int
    arms: tuple[str, ...]
    learning_rates: tuple[float, ...]
    seeds: tuple[int, ...]
    optimizer: str
    steps: int
    batch_size: int
    target: float
    chance: float
    baseline: str
    command: str
    versions: tuple[tuple[str, str], ...]
    machine: str
    fingerprint: str
