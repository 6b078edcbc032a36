"""``learning_curve``: the same comparison with fewer and more training examples, one study for each size.

The question of pretraining: how many examples of the target a start from other weights is worth. The sources' networks
are trained once, beside the studies, and serve all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import torch

from ..errors import ArgumentError, StoreError
from ..initializers import Initializer
from ..reports import text
from . import export
from .curve_page import render
from .cuts import taken
from .data import load_task
from .experiment import checked_workers, run_study
from .models import ModelSource
from .observer import Observer, Silent
from .question import Options, default_folder, settle
from .store import clear
from .study import Study, load_study
from .tasks import Split, Task, make_task

_SHARED = "sources"


@dataclass(frozen=True, slots=True, eq=False)
class LearningCurve:
    """Studies that differ in the number of training examples alone.

    Args:
        examples: training examples of each class, ascending.
        studies: a study for each.
        folder: where they are.
    """

    examples: tuple[int, ...]
    studies: tuple[Study, ...]
    folder: Path

    def __iter__(self) -> Iterator[tuple[int, Study]]:
        return iter(zip(self.examples, self.studies, strict=True))

    def report(self, path: str | Path | None = None) -> Path:
        """Write the report, one HTML file that opens offline; into the folder unless told where."""
        return export.write(Path(path) if path is not None else self.folder / "report.html", render(self))

    def __str__(self) -> str:
        header = ("arm", *(f"{n} a class" for n in self.examples))
        arms = self.studies[0].setting.arms
        found = [{a.arm: a for a in s.arms} for s in self.studies]
        rows = [
            (
                arm,
                *(f"{text.percent(f[arm].test.mean)} ({text.span(f[arm].test.low, f[arm].test.high)})" for f in found),
            )
            for arm in arms
        ]
        said = [f"{text.counted(n, 'example')} a class: {s.verdict[0]}" for n, s in self]
        return "\n".join([text.table(header, rows), "", *said])


def learning_curve(
    model: ModelSource = "mlp",
    task: Task | str | Path | tuple[object, object] = "digits",
    schemes: str | Initializer | Sequence[str | Initializer] | None = None,
    *,
    examples: Sequence[int],
    out: str | Path | None = None,
    fresh: bool = False,
    workers: int | None = None,
    observer: Observer | None = None,
    command: str | None = None,
    **options: Unpack[Options],
) -> LearningCurve:
    """Compare schemes at several numbers of training examples a class: what is a good start worth in data?

    Each size is a study of its own, in a folder of its own; validation and test splits are the same for all, and larger
    sizes hold the examples of smaller ones.

    Args:
        model, task, schemes: as ``compare`` takes them.
        examples: training examples of each class, such as ``[10, 50, 250]``.
        out: the folder of the studies; ``runs/<task>-<network>-<fingerprint>-curve`` unless given.
        fresh, workers, observer, command: as ``compare`` takes them.
        options: ``learning_rates``, ``seeds``, ``optimizer``, ``steps``, ``epochs``, ``batch_size``, ``target``,
            ``baseline``, ``rules`` and ``teacher``, as ``compare`` takes them.

    Returns:
        The studies, whose ``report()`` is one page with one figure; it is in the folder.

    Raises:
        ArgumentError: no sizes, or one the training split does not have.
        FirstlightError: as ``compare``.
    """
    whole = load_task(task)
    sizes = _sizes(examples, whole)
    processes = checked_workers(workers)
    asked = [settle(model, few(whole, n), schemes, **options) for n in sizes]
    usual = default_folder(asked[-1])
    folder = Path(out) if out is not None else usual.with_name(f"{usual.name}-curve")
    if fresh:
        clear(folder / _SHARED)
    studies = tuple(
        run_study(
            question,
            folder / _named(n),
            processes,
            fresh=fresh,
            observer=observer or Silent(),
            command=command or "firstlight.learning_curve(…)",
            shared=folder / _SHARED if question.sources else None,
        )
        for n, question in zip(sizes, asked, strict=True)
    )
    curve = LearningCurve(sizes, studies, folder)
    curve.report()
    return curve


def load_learning_curve(folder: str | Path) -> LearningCurve:
    """The studies below a folder of ``learning_curve``.

    Raises:
        StoreError: there are none, or one is damaged or not finished.
    """
    folder = Path(folder)
    found = sorted((int(p.name.split("-")[0]), p) for p in folder.glob("*-a-class") if p.name.split("-")[0].isdigit())
    if not found:
        raise StoreError(f"there is no learning curve in {str(folder)!r} (no folder such as {_named(10)!r})")
    return LearningCurve(tuple(n for n, _ in found), tuple(load_study(p) for _, p in found), folder)


def few(task: Task, examples: int, seed: int = 0) -> Task:
    """The task with so many training examples of each class; validation, test and constants stay as they are.

    Raises:
        ArgumentError: a class has fewer.
    """
    counts = torch.bincount(task.train.labels, minlength=len(task.classes)).tolist()
    for name, count in zip(task.classes, counts, strict=True):
        if count < examples:
            raise ArgumentError(
                f"examples={examples}: the class {name!r} of {task.name!r} has {count} training examples; ask for fewer"
            )
    index = taken(task.train.labels, [examples] * len(task.classes), seed)[1]
    train = Split(task.train.inputs[index], task.train.labels[index])
    about = f"{task.description} {text.counted(examples, 'training example')} a class.".strip()
    parts = [train, task.validation, task.test]
    return make_task(task.name, about, parts, task.classes, constants=(task.mean, task.scale), source=task.source)


def _sizes(examples: Sequence[int], task: Task) -> tuple[int, ...]:
    sizes = tuple(sorted(set(examples)))
    if not sizes or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in sizes):
        raise ArgumentError(f"examples={examples!r} should be whole numbers above 0, such as [10, 50, 250]")
    few(task, sizes[-1])
    return sizes


def _named(examples: int) -> str:
    return f"{examples}-a-class"
