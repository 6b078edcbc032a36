"""The page of a learning curve: accuracy and steps to the target over the number of training examples.

Composes ``reports`` blocks from the studies' records; ``LearningCurve.report`` writes what ``render`` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ..reports import text
from ..reports.charts import Axis, Series, lines
from ..reports.page import Block, Cell, Code, Facts, Section, Table, Text, render_page
from ..reports.text import counted
from .figures import Style, drawn, steps
from .page import Shown, facts
from .records import ArmSummary, Interval


class Curve(Protocol):
    """What the page reads of a learning curve."""

    @property
    def examples(self) -> tuple[int, ...]:
        """Training examples of each class."""

    def __iter__(self) -> Iterator[tuple[int, Shown]]:
        """Each size with its study."""


def render(curve: Curve) -> str:
    """The page as one HTML text; the same studies give the same text."""
    sizes, studies = [n for n, _ in curve], [s for _, s in curve]
    setting = studies[0].setting
    style = {arm: i for i, arm in enumerate(setting.arms)}
    task = setting.task.partition(":")[0]
    paragraphs = [f"With {counted(n, 'example')} a class: {study.verdict[0]}" for n, study in curve]
    return render_page(
        title=f"What is a start worth in data? {setting.network} on {task}",
        subtitle=f"{counted(len(setting.arms), 'initialization')} at {text.listing([f'{n:,}' for n in sizes])} "
        f"training examples a class, {counted(len(setting.learning_rates), 'learning rate')}, "
        f"{counted(len(setting.seeds), 'seed')}.",
        sections=[
            Section("Verdict", [Text(paragraphs, lead=True)]),
            Section("Accuracy and speed", _figures(sizes, studies, style)),
            Section("Setting, at the largest size", [facts(studies[-1].setting)]),
            Section("How the numbers were made", [Text(_METHODS)]),
            Section("Run it again", [Code(setting.command), Facts(setting.versions)]),
        ],
        footer="Made by firstlight. Fingerprints " + ", ".join(s.setting.fingerprint[:12] for s in studies) + ".",
    )


_METHODS = [
    "Each size is a study of its own: every initialization at every learning rate from every seed, the rate chosen on "
    "the validation split, the test split read once. The splits for validation and test are the same at all sizes; a "
    "larger training split holds the examples of the smaller ones. Choosing the rate on a whole validation split is a "
    "luxury that few examples seldom come with, and all initializations have it alike.",
    "Arms that start from trained weights share one source network for each seed, trained on the source task at the "
    "learning rate that its own validation split chose.",
    "Intervals are 95 % bootstrap intervals of the mean over seeds (BCa, 9,999 resamples).",
]


def _figures(sizes: Sequence[int], studies: Sequence[Shown], style: Style) -> list[Block]:
    found = {arm: [_arm(s, arm) for s in studies] for arm in style}

    def series(pick: Callable[[ArmSummary], Interval | None]) -> list[Series]:
        rows = []
        for arm, summaries in found.items():
            points = [(n, i) for n, a in zip(sizes, summaries, strict=True) if (i := pick(a)) is not None]
            ends = [i for _, i in points]
            rows.append(
                Series(
                    arm,
                    style[arm],
                    [n for n, _ in points],
                    [i.mean for i in ends],
                    [i.low for i in ends],
                    [i.high for i in ends],
                )
            )
        return rows

    x = Axis("Training examples of each class", log=True, ticks=sizes)
    accuracy = lines(
        "Test accuracy against training examples",
        "Mean test accuracy at each number of training examples for each initialization, with 95 % intervals.",
        x,
        Axis("Test accuracy", percent=True),
        series(lambda a: a.test),
        markers=True,
        reference=(studies[0].setting.chance, f"chance, {text.percent(studies[0].setting.chance)}"),
    )
    speed = lines(
        "Steps to the target against training examples",
        "Mean steps until validation accuracy reaches the target, over the seeds that reach it.",
        x,
        Axis("Steps to target"),
        series(lambda a: a.steps_to_target),
        markers=True,
    )
    header = ("Initialization", *(f"{n:,} a class" for n in sizes))

    def table(caption: str, show: Callable[[ArmSummary], Cell]) -> Table:
        rows = [(Cell(arm, style=style[arm]), *map(show, summaries)) for arm, summaries in found.items()]
        return Table(caption, header, rows)

    at = text.percent(studies[0].setting.target)
    tested = table(
        "Mean test accuracy with its 95 % interval.",
        lambda a: Cell(text.percent(a.test.mean), note=text.span(a.test.low, a.test.high)),
    )
    counts = table(f"Mean steps to {at} on validation, and how many seeds got there.", steps)
    return [
        *drawn(accuracy, "Each at its own learning rate: mean over seeds with its 95 % interval.", tested),
        *drawn(
            speed,
            f"The first evaluated step with {at} validation accuracy; seeds that never got there have none.",
            counts,
        ),
    ]


def _arm(study: Shown, arm: str) -> ArmSummary:
    return next(a for a in study.arms if a.arm == arm)
