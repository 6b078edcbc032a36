"""A study's page: the question, the answer in words, and everything it rests on.

Composes ``reports`` blocks from a study's records; ``Study.report`` writes what ``render`` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ..reports import text
from ..reports.charts import Axis, Chart, Series, lines, look
from ..reports.page import Block, Cell, Code, Facts, Plot, Section, Table, Text, render_page
from .records import ArmSummary, Comparison, Interval, Setting, SignalSummary


class Shown(Protocol):
    """What the page reads of a study."""

    @property
    def setting(self) -> Setting:
        """What was run."""

    @property
    def arms(self) -> tuple[ArmSummary, ...]:
        """The arms, ranked."""

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Against the baseline."""

    @property
    def verdict(self) -> tuple[str, ...]:
        """In words."""


def render(study: Shown) -> str:
    """The page as one HTML text."""
    setting, arms = study.setting, study.arms
    # The look of an arm is its place in the question, so a rank that changes changes no colour.
    style = {arm: i for i, arm in enumerate(setting.arms)}
    return render_page(
        title=f"Which initialization? {setting.network} on {setting.task.partition(':')[0]}",
        subtitle=f"{len(arms)} initializations × {len(setting.learning_rates)} learning rates × "
        f"{len(setting.seeds)} seeds, trained by firstlight",
        sections=[
            Section("Verdict", [Text(study.verdict, lead=True)]),
            Section("Ranked", [_ranking(study, style)]),
            Section("Training", _training(setting, arms, style)),
            Section("Learning rates", _rates(setting, arms, style)),
            Section("The signal at step 0", _signal(arms, style)),
            Section("What went wrong, and whether step 0 showed it", _failures(arms, style)),
            Section("Setting", [_facts(setting)]),
            Section("How the numbers were made", [Text(_methods(setting))]),
            Section("Run it again", _again(setting)),
        ],
        footer=f"Made by firstlight. Fingerprint {setting.fingerprint}.",
    )


def _ranking(study: Shown, style: Mapping[str, int]) -> Table:
    comparisons = {c.arm: c for c in study.comparisons}
    header = (
        "Initialization",
        "Test accuracy",
        "Learning rate",
        "Steps to target",
        "Rates that work",
        f"Against {study.setting.baseline}",
        "Stuck or diverged",
    )
    rows = [
        (
            _name(arm, style),
            Cell(text.percent(arm.test.mean), note=f"{text.percent(arm.test.low)} – {text.percent(arm.test.high)}"),
            Cell(text.rate(arm.learning_rate)),
            _steps(arm),
            Cell(text.rates(arm.working_rates)),
            _difference(comparisons.get(arm.arm)),
            _lost(arm),
        )
        for arm in study.arms
    ]
    target, chance = text.percent(study.setting.target), text.percent(study.setting.chance)
    caption = (
        f"Mean test accuracy over {len(study.setting.seeds)} seeds with its 95 % bootstrap interval, at the learning "
        f"rate with the best validation accuracy. Target: {target} on validation; chance is {chance}. "
        "A rate works if more than half of the seeds reach the target with it."
    )
    return Table(caption, header, rows)


def _name(arm: ArmSummary, style: Mapping[str, int]) -> Cell:
    return Cell(arm.arm, colour=look(style[arm.arm]).colour)


def _steps(arm: ArmSummary) -> Cell:
    if arm.steps_to_target is None:
        return Cell("never", note=f"0 of {arm.trials} seeds")
    return Cell(text.count(arm.steps_to_target.mean), note=f"{arm.reached} of {arm.trials} seeds")


def _lost(arm: ArmSummary) -> Cell:
    """Runs that stayed at chance, diverged or raised; a run that diverged usually ends at chance and counts once."""
    notes = [f"{n} {word}" for n, word in ((arm.diverged, "diverged"), (arm.failed, "failed")) if n]
    return Cell(f"{max(arm.at_chance, arm.diverged) + arm.failed} of {arm.trials}", note=", ".join(notes))


def _difference(comparison: Comparison | None) -> Cell:
    if comparison is None:
        return Cell("baseline")
    return Cell(f"{text.points(comparison.difference.mean)} points", note=f"p = {_p(comparison.p_holm)}")


def _p(value: float) -> str:
    return text.p_value(value)


def _training(setting: Setting, arms: Sequence[ArmSummary], style: Mapping[str, int]) -> list[Block]:
    steps = Axis("Step")

    def series(pick: Callable[..., Interval]) -> list[Series]:
        return [_over(a.arm, style[a.arm], [p.step for p in a.curve], [pick(p) for p in a.curve]) for a in arms]

    accuracy = lines(
        "Validation accuracy",
        "Mean validation accuracy over training steps for each initialization, with 95 % intervals.",
        steps,
        Axis("Validation accuracy", percent=True),
        series(lambda p: p.accuracy),
        reference=(setting.target, f"target {text.percent(setting.target)}"),
    )
    loss = lines(
        "Training loss",
        "Mean training loss over training steps for each initialization, with 95 % intervals, logarithmic.",
        steps,
        Axis("Cross-entropy", log=True),
        series(lambda p: p.train_loss),
    )
    caption = "Each at its own learning rate; mean over seeds, with the 95 % interval of the mean."
    return [Plot(accuracy, caption), Plot(loss)]


def _rates(setting: Setting, arms: Sequence[ArmSummary], style: Mapping[str, int]) -> list[Block]:
    chart = lines(
        "Accuracy against learning rate",
        "Final validation accuracy at each learning rate for each initialization, with 95 % intervals.",
        Axis("Learning rate", log=True, ticks=setting.learning_rates),
        Axis("Validation accuracy", percent=True),
        [_over(a.arm, style[a.arm], [r.learning_rate for r in a.rates], [r.validation for r in a.rates]) for a in arms],
        bands=False,
        markers=True,
        reference=(setting.chance, f"chance {text.percent(setting.chance)}"),
    )
    caption = (
        "An initialization that works over a wide range of rates is easier to use than one that needs the right one."
    )
    return [Plot(chart, caption)]


def _over(name: str, style: int, x: Sequence[float], intervals: Sequence[Interval]) -> Series:
    return Series(name, style, x, [i.mean for i in intervals], [i.low for i in intervals], [i.high for i in intervals])


def _signal(arms: Sequence[ArmSummary], style: Mapping[str, int]) -> list[Block]:
    known = [(a, a.signal) for a in arms if a.signal is not None]
    if not known:
        return [Text(["No trial got as far as its first batch."])]
    forward = _by_depth(
        "Activations",
        "Second moment of the outputs of each weight layer at step 0, by depth, logarithmic.",
        "E[activation²]",
        [(a.arm, style[a.arm], s.activations) for a, s in known],
    )
    backward = _by_depth(
        "Gradients",
        "Second moment of the loss's gradient to each weight layer's output at step 0, by depth, logarithmic.",
        "E[gradient²]",
        [(a.arm, style[a.arm], s.gradients) for a, s in known],
    )
    caption = "Geometric mean over seeds on the first batch, before training. A signal that gets through stays level."
    return [
        Plot(forward, caption),
        Plot(backward, "From the last layer (right) back to the first."),
        *_names(known[0][1]),
    ]


def _by_depth(title: str, words: str, axis: str, moments: Sequence[tuple[str, int, Sequence[float]]]) -> Chart:
    series = [Series(name, style, list(range(1, len(y) + 1)), y) for name, style, y in moments]
    return lines(title, words, Axis("Weight layer, input side first"), Axis(axis, log=True), series)


def _names(signal: SignalSummary) -> list[Block]:
    return [Text([f"Layers: {', '.join(signal.layers)}."])] if len(signal.layers) <= 60 else []


def _failures(arms: Sequence[ArmSummary], style: Mapping[str, int]) -> list[Block]:
    rows = []
    for arm in arms:
        trouble = _trouble(arm)
        if trouble or arm.reading:
            shown = arm.reading or "Nothing out of the ordinary: the signal gets through."
            rows.append(
                (_name(arm, style), Cell(shown), Cell(trouble or "Trained all the same.", note="; ".join(arm.errors)))
            )
    if not rows:
        return [Text(["Nothing did: every initialization let the signal through and trained."])]
    header = ("Initialization", "Step 0 shows", "Training then did")
    return [Table("Signal at step 0 beside the outcome at the chosen learning rate.", header, rows, left=3)]


def _trouble(arm: ArmSummary) -> str:
    faults = []
    if arm.failed:
        faults.append(f"{arm.failed} of {arm.trials} seeds raised an error")
    if arm.diverged:
        faults.append(f"{arm.diverged} of {arm.trials} seeds diverged")
    stuck = sum(r.at_chance + r.failed == r.trials for r in arm.rates)
    if stuck == len(arm.rates):
        faults.append("stayed at chance at every learning rate")
    elif arm.at_chance:
        faults.append(f"{arm.at_chance} of {arm.trials} seeds stayed at chance")
    if arm.reached < arm.trials and not arm.at_chance:
        faults.append(f"{arm.trials - arm.reached} of {arm.trials} seeds never reached the target")
    sentence = "; ".join(faults)
    return f"{sentence[0].upper()}{sentence[1:]}." if sentence else ""


def _facts(setting: Setting) -> Facts:
    return Facts(
        (
            ("Task", setting.task),
            ("Network", f"{setting.network}, {setting.parameters:,} parameters"),
            (
                "Examples",
                f"{setting.train_size:,} train, {setting.validation_size:,} validation, {setting.test_size:,} test",
            ),
            ("Classes", f"{setting.classes}; guessing the largest scores {text.percent(setting.chance)}"),
            ("Optimizer", f"{_OPTIMIZERS[setting.optimizer]}, constant learning rate"),
            ("Training", f"{setting.steps:,} steps of {setting.batch_size} examples"),
            ("Learning rates", ", ".join(map(text.rate, setting.learning_rates))),
            ("Seeds", _seeds(setting.seeds)),
            ("Baseline", setting.baseline),
        )
    )


_OPTIMIZERS = {"sgd": "SGD, momentum 0.9", "adamw": "AdamW, weight decay 0.01"}


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _methods(setting: Setting) -> list[str]:
    return [
        "Every initialization was trained at every learning rate from every seed. From the same seed all see the same "
        "batches in the same order, so their differences are paired. The learning rate of each is the one with the "
        "best mean validation accuracy; the test split was read once per run, after its last step.",
        "Intervals are 95 % bootstrap intervals of the mean over seeds (BCa, 9,999 resamples). They hold for this "
        "split and this network; they say nothing of other data. Differences were tested with two-sided paired "
        "permutation tests (sign flips) and Holm's correction over all comparisons with the baseline.",
        "A run diverged if its loss was no longer a number or a thousand times that of guessing; it stayed at chance "
        "if its final validation accuracy is no more than three standard errors above guessing the largest class "
        f"({text.percent(setting.chance)}). An output that is not finite counts as wrong, and a run that raised an "
        "error scores 0. Denormal numbers were flushed to zero.",
    ]


def _again(setting: Setting) -> list[Block]:
    versions = ", ".join(f"{name} {version}" for name, version in setting.versions)
    return [
        Code(setting.command),
        Text(
            [
                f"With {versions}; on {setting.machine}. The same command in the same place goes on where a run was "
                "interrupted, and adds only what is new; on the same machine it gives the same numbers bit for bit."
            ]
        ),
    ]
