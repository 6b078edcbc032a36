"""What one sees while a study runs: a live table on a terminal, plain lines elsewhere.

Observers of ``compare``; they only look.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..reports import text
from ..studies import Observer
from ..studies.records import Result, Setting
from .show import unbroken

_EVERY = 0.05
_NARROW, _TINY = 72, 46
_GAP = 3
_SHORTEST, _LONGEST = 6, 24


@dataclass(slots=True)
class _Row:
    """How far one arm is."""

    total: int
    done: int
    diverged: int = 0
    at_chance: int = 0
    failed: int = 0
    best: dict[float, list[float]] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        self.done += 1
        self.diverged += result.status == "diverged"
        self.failed += result.status == "failed"
        self.at_chance += result.at_chance and result.status == "finished"
        accuracy = result.validation_accuracy
        self.best.setdefault(result.trial.learning_rate, []).append(0.0 if math.isnan(accuracy) else accuracy)

    @property
    def lost(self) -> int:
        """Trials that gave no trained network."""
        return self.at_chance + self.diverged + self.failed

    @property
    def best_accuracy(self) -> float:
        """The best mean over the seeds seen, among the learning rates; NaN before any."""
        return max((sum(v) / len(v) for v in self.best.values()), default=math.nan)


@dataclass(slots=True)
class _Board:
    """Every arm's row, and the time."""

    rows: dict[str, _Row] = field(default_factory=dict)
    started: float = 0.0
    already: int = 0

    def start(self, totals: Mapping[str, int], done: Mapping[str, int]) -> None:
        # The source comes first: it is trained before the arm that starts from it.
        order = sorted(totals, key=lambda arm: arm != "source")
        self.rows = {arm: _Row(totals[arm], done.get(arm, 0)) for arm in order}
        self.started, self.already = time.monotonic(), sum(done.values())

    def add(self, result: Result) -> None:
        self.rows["source" if result.trial.stage == "source" else result.trial.arm].add(result)

    @property
    def total(self) -> int:
        return sum(r.total for r in self.rows.values())

    @property
    def done(self) -> int:
        return sum(r.done for r in self.rows.values())

    def clock(self) -> str:
        elapsed = time.monotonic() - self.started
        new = self.done - self.already
        left = (
            f", about {text.seconds(elapsed / new * (self.total - self.done))} left"
            if new and self.done < self.total
            else ""
        )
        return f"{self.done} of {self.total} trials, {text.seconds(elapsed)}{left}"

    def trouble(self) -> str:
        """What went wrong so far, as the end of a line."""
        counts = ((sum(getattr(r, k) for r in self.rows.values()), k) for k in ("at_chance", "diverged", "failed"))
        shown = [f"{n} {name.replace('_', ' ')}" for n, name in counts if n]
        return f"; {', '.join(shown)}" if shown else ""


class LiveTable:
    """A table with a progress bar for each arm, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._board = _Board()
        self._live: Live | None = None

    def on_start(self, setting: Setting, totals: Mapping[str, int], done: Mapping[str, int]) -> None:
        """Print the question and open the table."""
        _headline(self._console, setting)
        self._board.start(totals, done)
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True)
        self._live.start()

    def on_result(self, result: Result) -> None:
        """Count it."""
        self._board.add(result)

    def on_end(self, completed: bool) -> None:
        """Close the table."""
        if self._live is not None:
            self._live.stop()
        word = "Finished" if completed else "Stopped"
        self._console.print(f"{word}: {self._board.clock()}.", highlight=False)

    def _render(self) -> RenderableType:
        return Group(_table(self._board.rows, self._console.width), Text(self._board.clock(), style="dim"))


class PlainLines:
    """A line each time another twentieth of the trials is done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._board = _Board()
        self._next = 0.0

    def on_start(self, setting: Setting, totals: Mapping[str, int], done: Mapping[str, int]) -> None:
        """Print the question, and what is already there."""
        _headline(self._console, setting)
        self._board.start(totals, done)
        if self._board.done:
            self._say(f"{self._board.done} of {self._board.total} trials are done from before")
        self._next = self._board.done / max(1, self._board.total) + _EVERY

    def on_result(self, result: Result) -> None:
        """Say so now and then."""
        self._board.add(result)
        share = self._board.done / self._board.total
        if share >= self._next:
            self._say(self._board.clock() + self._board.trouble())
            self._next = share + _EVERY

    def on_end(self, completed: bool) -> None:
        """The last line."""
        self._say(f"{'finished' if completed else 'stopped'}: {self._board.clock()}{self._board.trouble()}")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def make_observer(console: Console, *, plain: bool) -> Observer:
    """The live table on a terminal, plain lines where it is not one or where they are asked for."""
    return PlainLines(console) if plain or not console.is_terminal else LiveTable(console)


def _table(rows: Mapping[str, _Row], width: int) -> Table:
    """A line for each arm; a narrow terminal gets shorter bars and one column for all that went wrong."""
    if width >= _NARROW:
        lost = {"at chance": [r.at_chance for r in rows.values()], "diverged": [r.diverged for r in rows.values()]}
        failed = [r.failed for r in rows.values()]
        lost |= {"failed": failed} if any(failed) else {}
    else:
        lost = {"lost": [r.lost for r in rows.values()]} if width >= _TINY else {}
    done = [f"{r.done}/{r.total}" for r in rows.values()]
    numbers = {"done": done, "best": [text.percent(r.best_accuracy) for r in rows.values()]}
    numbers |= {name: [str(n or "") for n in counts] for name, counts in lost.items()}
    widths = {name: max(map(len, [*cells, name])) for name, cells in numbers.items()}
    room = width - sum(widths.values()) - _GAP * (len(numbers) + 1)
    name_width = min(max(map(cell_len, [*rows, "initialization"]), default=0), max(12, room - _SHORTEST))
    bar = max(_SHORTEST, min(_LONGEST, room - name_width))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("initialization", overflow="ellipsis", no_wrap=True, width=name_width)
    table.add_column("trials", width=bar)
    for name, size in widths.items():
        table.add_column(name, justify="right", no_wrap=True, width=size)
    for i, (arm, row) in enumerate(rows.items()):
        progress = ProgressBar(total=row.total, completed=row.done, width=bar)
        # What pretrained starts from learns another task: its accuracy is not one of the comparison's.
        style = "dim" if arm == "source" else ""
        table.add_row(Text(arm), progress, *(cells[i] for cells in numbers.values()), style=style)
    return table


def _headline(console: Console, setting: Setting) -> None:
    console.print(
        f"[bold]{escape(setting.network)}[/bold] ({setting.parameters:,} parameters) on "
        f"[bold]{escape(setting.task.partition(':')[0])}[/bold] ({setting.train_size:,} training examples, "
        f"{setting.classes} classes): {text.counted(len(setting.arms), 'initialization')} × "
        f"{text.counted(len(setting.learning_rates), 'learning rate')} × {text.counted(len(setting.seeds), 'seed')}, "
        f"{text.counted(setting.steps, 'step')} of {setting.optimizer}",
        highlight=False,
        soft_wrap=unbroken(console),
    )
