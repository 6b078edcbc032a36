"""Curves in the terminal: a line of blocks, or a few lines of them with an axis. Takes plain numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median

_BLOCKS = "▁▂▃▄▅▆▇█"
_LOST = "×"


def sparkline(values: Iterable[float], width: int = 60) -> str:
    """Values as a line of blocks, medians where there are more than fit; "×" is NaN or Inf.

    >>> sparkline([3, 2, 1, float("nan")])
    '█▅▁×'
    """
    levels = _levels(list(values), width)
    low, span = _span(levels)
    return "".join(_LOST if v is None else _BLOCKS[round((v - low) / span * 7)] for v in levels)


def sketch(values: Iterable[float], first: float, last: float, width: int = 72, height: int = 8) -> str:
    """Values as a small chart: their medians as columns of blocks, the axes' ends as numbers.

    Args:
        values: in order; NaN and Inf stand as "×" on the axis.
        first, last: what the ends of the horizontal axis are called, steps.

    >>> print(sketch([4.0, 3.0, 2.0, 1.0], 1, 4, height=2))
            4 ┤█▃
            1 ┤██▆▁
              └────
               1  4
    """
    levels = _levels(list(values), width)
    low, span = _span(levels)
    eighths = [None if v is None else 1 + round((v - low) / span * (8 * height - 1)) for v in levels]
    lines = []
    for row in range(height - 1, -1, -1):
        cells = "".join(_cell(e, row) for e in eighths).rstrip()
        label = _short(low + span) if row == height - 1 else _short(low) if row == 0 else ""
        lines.append(f"{label:>9} {'┤' if label else '│'}{cells}")
    lines.append(f"{'':>10}└{'─' * len(levels)}")
    ends = _short(first), _short(last)
    return "\n".join([*lines, f"{'':>11}{ends[0]}{ends[1].rjust(max(1, len(levels) - len(ends[0])))}"])


def _cell(eighths: int | None, row: int) -> str:
    if eighths is None:
        return _LOST if row == 0 else " "
    left = eighths - 8 * row
    return " " if left <= 0 else _BLOCKS[min(left, 8) - 1]


def _levels(values: list[float], width: int) -> list[float | None]:
    """Medians of as many neighbours as fall on one column; ``None`` where one of them is not finite."""
    n, columns = len(values), min(width, len(values))
    parts = (values[i * n // columns : (i + 1) * n // columns] for i in range(columns))
    return [median(p) if all(map(math.isfinite, p)) else None for p in parts]


def _span(levels: list[float | None]) -> tuple[float, float]:
    finite = [v for v in levels if v is not None]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    return low, (high - low) or 1.0


def _short(value: float) -> str:
    return f"{value:.4g}"
