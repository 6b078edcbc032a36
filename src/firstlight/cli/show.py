"""A finished study on the terminal: the ranked table, the verdict, where the report is."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..reports import text
from ..studies import Study
from ..studies.study import steps_to_target


def show_study(console: Console, study: Study) -> None:
    """Print the table, the verdict and the report's path; fewer columns on a narrow terminal."""
    console.print()
    console.print(_ranking(study, wide=console.width >= 100))
    console.print()
    for i, sentence in enumerate(study.verdict):
        console.print(escape(sentence), style="bold" if i == 0 else "", highlight=False)
    console.print()
    console.print(f"Report: {escape(_shortest(study.folder / 'report.html'))}", highlight=False, soft_wrap=True)


def _ranking(study: Study, *, wide: bool) -> Table:
    p_values = {c.arm: text.p_value(c.p_holm) for c in study.comparisons}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("initialization", overflow="fold", ratio=1)
    for name in ("test accuracy", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        for name in ("learning rate", "rates that work"):
            table.add_column(name, justify="right", no_wrap=True)
    table.add_column("steps to target", justify="right")
    if len(study.arms) > 1:
        table.add_column(f"p against {escape(study.setting.baseline)}", justify="right")
    for arm in study.arms:
        cells = [escape(arm.arm), text.percent(arm.test.mean)]
        cells.append(f"{text.percent(arm.test.low)} – {text.percent(arm.test.high)}")
        if wide:
            cells += [text.rate(arm.learning_rate), text.rates(arm.working_rates)]
        cells.append(steps_to_target(arm))
        if len(study.arms) > 1:
            cells.append(p_values.get(arm.arm, "baseline"))
        table.add_row(*cells, style="dim" if arm.at_chance + arm.failed == arm.trials else "")
    return table


def _shortest(path: Path) -> str:
    """Relative to where one stands, if it is below."""
    absolute = path.resolve()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)
