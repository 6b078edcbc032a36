"""A study's page: the question, the answer in words, and everything it rests on.

Composes ``reports`` blocks from a study's records; ``Study.report`` writes what ``render`` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..reports import text
from ..reports.page import Block, Cell, Code, Facts, Section, Table, Text, render_page
from ..reports.text import counted
from .figures import Style, named, ranking, rates, signal, spread, training
from .foretelling import OUTCOMES
from .records import ArmSummary, Comparison, Foretold, Setting


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

    @property
    def foretold(self) -> tuple[Foretold, ...]:
        """What step 0 said, and how often it came true."""


def render(study: Shown) -> str:
    """The page as one HTML text; the same study gives the same text."""
    setting, arms = study.setting, study.arms
    # The look of an arm is its place in the question, so a rank that changes changes no colour.
    style = {arm: i for i, arm in enumerate(setting.arms)}
    task = setting.task.partition(":")[0]
    trials = len(arms) * len(setting.learning_rates) * len(setting.seeds)
    return render_page(
        title=f"Which initial weights for {setting.network} on {task}?",
        subtitle=f"{counted(len(arms), 'initialization')} × {counted(len(setting.learning_rates), 'learning rate')} "
        f"× {counted(len(setting.seeds), 'seed')}: {counted(trials, 'training run')} of the same network on the same "
        "data. They differ in nothing else.",
        sections=[
            Section("Verdict", [Text(study.verdict, lead=True)]),
            Section("Setting", [facts(setting)]),
            Section("Ranked", [ranking(setting, arms, study.comparisons, style), *spread(arms, style)]),
            Section("Training", training(setting, arms, style)),
            Section("Learning rates", rates(setting, arms, style)),
            Section("The signal at step 0", signal(arms, style)),
            Section("What went wrong, and whether step 0 showed it", _failures(study, style)),
            Section("How the numbers were made", [Text(_methods(setting))]),
            Section("Run it again", _again(setting)),
        ],
        footer=f"Made by firstlight. Fingerprint {setting.fingerprint}.",
    )


def facts(setting: Setting) -> Facts:
    """The setting in names and values; the task's description without its name."""
    name, _, description = setting.task.partition(":")
    return Facts(
        (
            ("Task", description.strip() or name),
            (
                "Examples",
                f"{setting.train_size:,} train, {setting.validation_size:,} validation, {setting.test_size:,} test",
            ),
            ("Network", f"{setting.network}, {setting.parameters:,} parameters"),
            ("Classes", f"{setting.classes}; guessing the largest scores {text.percent(setting.chance)}"),
            ("Optimizer", f"{_OPTIMIZERS.get(setting.optimizer, setting.optimizer)}, constant learning rate"),
            ("Learning rates", ", ".join(map(text.rate, setting.learning_rates))),
            ("Training", f"{setting.steps:,} steps of {counted(setting.batch_size, 'example')}"),
            ("Target", f"{text.percent(setting.target)} validation accuracy"),
            ("Seeds", _seeds(setting.seeds)),
            ("Baseline", setting.baseline),
        )
    )


_OPTIMIZERS = {"sgd": "SGD, momentum 0.9", "adamw": "AdamW, weight decay 0.01"}


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def _failures(study: Shown, style: Style) -> list[Block]:
    rows = []
    for arm in study.arms:
        trouble = _trouble(arm)
        if trouble or arm.reading or arm.errors:
            note = "; ".join(filter(None, (_elsewhere(arm), _errors(arm))))
            rows.append((named(arm, style), Cell(_reading(arm)), Cell(trouble or "Trained all the same.", note=note)))
    if not rows:
        blocks: list[Block] = [Text(["Nothing did: every initialization let the signal through and trained."])]
    else:
        header = ("Initialization", "Step 0 shows", "Training then did")
        caption = "What a probe of step 0 finds, beside the outcome at the chosen learning rate."
        blocks = [Table(caption, header, rows, left=3)]
    return [*blocks, *_foretold(study.foretold)]


def _foretold(counts: Sequence[Foretold]) -> list[Block]:
    """How often the verdict of step 0 came true."""
    if not any(sum(f.outcomes) for f in counts):
        return []
    rows = [(Cell(f.verdict), *(Cell(str(n)) for n in f.outcomes)) for f in counts]
    caption = (
        "Each initialization from each seed, probed before it trained: what the findings foretold (an error says that "
        "it will not train, a warning that it may not), and how many runs then ended so at the chosen learning rate."
    )
    return [Table(caption, ("Step 0 foretold", *map(str.capitalize, OUTCOMES)), rows)]


def _reading(arm: ArmSummary) -> str:
    if not arm.reading and arm.signal is None:
        return "Not measured: no run got as far as its first batch."
    return arm.reading or "Nothing out of the ordinary: the signal gets through."


def _trouble(arm: ArmSummary) -> str:
    faults = []
    if arm.failed:
        faults.append(f"{arm.failed} of {counted(arm.trials, 'seed')} raised an error")
    if arm.diverged:
        faults.append(f"{arm.diverged} of {counted(arm.trials, 'seed')} diverged")
    stuck = sum(r.at_chance + r.failed == r.trials for r in arm.rates)
    if arm.at_chance and stuck == len(arm.rates):
        faults.append("stayed at chance at every learning rate")
    elif arm.at_chance:
        faults.append(f"{arm.at_chance} of {counted(arm.trials, 'seed')} stayed at chance")
    if arm.reached < arm.trials and not arm.at_chance and not arm.failed:
        faults.append(f"{arm.trials - arm.reached} of {counted(arm.trials, 'seed')} never reached the target")
    sentence = "; ".join(faults)
    return f"{sentence[0].upper()}{sentence[1:]}." if sentence else ""


def _elsewhere(arm: ArmSummary) -> str:
    """What happened at the learning rates that were not chosen."""
    others = [r for r in arm.rates if r.learning_rate != arm.learning_rate]
    diverged = [f"{r.diverged} of {r.trials} at {text.rate(r.learning_rate)}" for r in others if r.diverged]
    failed = [f"{r.failed} of {r.trials} at {text.rate(r.learning_rate)}" for r in others if r.failed]
    parts = (f"{word} {text.listing(which)}" for word, which in (("diverged", diverged), ("raised", failed)) if which)
    sentence = "; ".join(parts)
    return f"At other rates: {sentence}" if sentence else ""


def _errors(arm: ArmSummary) -> str:
    """The last line of each error, where Python puts the message; the whole text is in results.json."""
    messages = list(dict.fromkeys(e.strip().splitlines()[-1] for e in arm.errors if e.strip()))
    shown = "; ".join(messages[:3])
    return f"{shown}; and {counted(len(messages) - 3, 'other message')}" if len(messages) > 3 else shown


def _methods(setting: Setting) -> list[str]:
    return [
        "Every initialization was trained at every learning rate from every seed. From the same seed all see the same "
        "batches in the same order, so their differences are paired. The learning rate of each is the one with the "
        "best mean validation accuracy; the test split was read once per run, after its last step.",
        "Intervals are 95 % bootstrap intervals of the mean over seeds (BCa, 9,999 resamples). They hold for this "
        "split and this network; they say nothing of other data. Differences were tested with two-sided paired "
        "permutation tests (sign flips) and Holm's correction over all comparisons with the baseline. What cannot be "
        "told from the best is the 95 % model confidence set (Hansen, Lunde & Nason 2011; permutations within seeds), "
        "which allows for having looked for the highest of several means.",
        "A run diverged if its loss was no longer a number or a thousand times that of guessing; it stayed at chance "
        "if its final validation accuracy is no more than three standard errors above guessing the largest class "
        f"({text.percent(setting.chance)}). An output that is not finite counts as wrong, and a run that raised an "
        "error scores 0. Denormal numbers were flushed to zero.",
    ]


def _again(setting: Setting) -> list[Block]:
    versions = ", ".join(f"{name} {version}" for name, version in setting.versions)
    facts = (
        ("Versions", versions),
        ("Machine", setting.machine),
        ("Seeds", _seeds(setting.seeds)),
        ("Fingerprint", setting.fingerprint),
    )
    kept = (
        "The same command in the same place goes on where a run was interrupted, and adds only what is new; on the "
        "same machine it gives the same numbers bit for bit."
    )
    return [Code(setting.command), Facts(facts), Text([kept])]
