"""A finished study on the terminal: the ranked table, the verdict, where the report is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..reports import text
from ..studies import LearningCurve, Study
from ..studies.records import ArmSummary
from ..studies.study import steps_to_target

_WIDE = 160
_GAP = 3  # a space each side, and the box between
_NAME, _LONG_NAME = 16, 32  # a name may fold to the first, and is not waited for beyond the second


def stdout() -> Console:
    """Where commands print. What is no terminal has no width to keep to, unless COLUMNS says one."""
    console = Console()
    return Console(width=_WIDE) if unbroken(console) else console


def unbroken(console: Console) -> bool:
    """Whether a sentence stays on one line, however long: in a pipe, unless COLUMNS says how wide it is."""
    return not console.is_terminal and "COLUMNS" not in os.environ


def show_study(console: Console, study: Study, report: Path) -> None:
    """Print the table, the verdict and the report's path."""
    console.print()
    console.print(ranking(study, console.width))
    console.print()
    for i, sentence in enumerate(study.verdict):
        console.print(Text(sentence, style="bold" if i == 0 else ""), highlight=False, soft_wrap=unbroken(console))
    console.print()
    console.print(f"Report: {_shortest(report)}", highlight=False, markup=False, soft_wrap=True)


def show_curve(console: Console, curve: LearningCurve, report: Path) -> None:
    """Print accuracies by size, each size's verdict, and the report's path."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    table.add_column("initialization", overflow="fold", min_width=_NAME)
    for n in curve.examples:
        table.add_column(f"{n:,} a class", justify="right")
    found = [{a.arm: a for a in study.arms} for study in curve.studies]
    for arm in curve.studies[0].setting.arms:
        cells = (f"{text.percent(f[arm].test.mean)}\n{text.span(f[arm].test.low, f[arm].test.high)}" for f in found)
        table.add_row(Text(arm), *cells)
    console.print()
    console.print(table)
    for n, study in curve:
        sentence = f"{text.counted(n, 'example')} a class: {study.verdict[0]}"
        console.print(Text(sentence), highlight=False, soft_wrap=unbroken(console))
    console.print()
    console.print(f"Report: {_shortest(report)}", highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class _Column:
    """A column; of those that do not fit together, the one with the highest ``rank`` goes first."""

    name: str
    cells: Sequence[str]
    rank: int

    @property
    def width(self) -> int:
        return max(map(cell_len, [*self.cells, *self.name.split()]))


def ranking(study: Study, width: int) -> Table:
    """The ranked table with as many columns as fit into so many characters."""
    names = [a.arm for a in study.arms]
    columns = _columns(study)
    longest = min(_LONG_NAME, max(map(cell_len, [*names, "initialization"])))

    def needed(columns: Sequence[_Column], name: int) -> int:
        return name + sum(c.width + _GAP for c in columns)

    while needed(columns, longest) > width and max(c.rank for c in columns) > 2:
        columns.remove(max(columns, key=lambda c: c.rank))
    while needed(columns, _NAME) > width and len(columns) > 1:
        columns.remove(max(columns, key=lambda c: c.rank))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    table.add_column("initialization", overflow="fold", min_width=_NAME)
    for column in columns:
        table.add_column(column.name, justify="right", width=column.width)
    for i, arm in enumerate(study.arms):
        table.add_row(
            Text(arm.arm),
            *(c.cells[i] for c in columns),
            style="dim" if arm.at_chance + arm.failed >= arm.trials else "",
        )
    return table


def _columns(study: Study) -> list[_Column]:
    arms, tried = study.arms, study.setting.learning_rates
    p_values = {c.arm: text.p_value(c.p_holm) for c in study.comparisons}
    columns = [
        _Column("test accuracy", [text.percent(a.test.mean) for a in arms], 0),
        _Column("95 % interval", [text.span(a.test.low, a.test.high) for a in arms], 2),
        _Column("steps to target", [steps_to_target(a) for a in arms], 3),
        _Column("learning rate", [text.rate(a.learning_rate) for a in arms], 4),
        _Column("rates that work", [text.rates(a.working_rates, tried) for a in arms], 5),
        _Column("lost", [_lost(a) for a in arms], 6),
    ]
    if len(arms) > 1:
        columns.append(_Column(f"p vs {study.setting.baseline}", [p_values.get(a.arm, "baseline") for a in arms], 1))
    return columns


def _lost(arm: ArmSummary) -> str:
    """Runs that diverged, failed or stayed at chance, in words; one that diverged and ended at chance diverged."""
    stuck = max(0, arm.at_chance - arm.diverged)
    parts = ((arm.diverged, "diverged"), (arm.failed, "failed"), (stuck, "at chance"))
    return ", ".join(f"{n} {word}" for n, word in parts if n)


def _shortest(path: Path) -> str:
    """Relative to where one stands, if it is below."""
    absolute = path.resolve()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)
