"""Small charts of characters for the terminal: points over depth on a logarithmic axis.

Takes names and numbers; a probe's profile and the comparison of several schemes use it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .text import magnitude

SYMBOLS = "●○■□▲△◆◇"
_ZERO, _LOST, _AXIS = "0", "!", 9


def profile(series: Mapping[str, Sequence[float]], width: int, height: int = 8) -> str:
    """Each series as points, spread evenly from left to right; values that are 0 stand as ``0`` at the bottom, what is
    not finite as ``!`` at the top; where points of several series meet, the first is shown.

    Args:
        series: the values by name, from the inputs to the outputs; at most eight names.
        width, height: in characters at most; the axis takes nine.

    >>> print(profile({"a": [1.0, 0.1, 0.01]}, width=30, height=3))
          1 ┤●
        0.1 ┤          ●
       0.01 ┤                   ●
    """
    shown = [v for values in series.values() for v in values if math.isfinite(v) and v > 0]
    low, high, height = _range(shown, height)
    room = max(width - _AXIS - 1, 8)
    grid = [[" "] * room for _ in range(height)]
    for symbol, values in reversed(list(zip(SYMBOLS, series.values(), strict=False))):
        for i, value in enumerate(values):
            column = round(i * (room - 1) / max(len(values) - 1, 1)) if len(values) > 1 else 0
            line, mark = _place(value, symbol, low, high, height)
            grid[line][column] = mark
    step = (high - low) / max(height - 1, 1)
    lines = []
    for i, row in enumerate(grid):
        label = magnitude(float(f"{10 ** (high - i * step):.1g}"))
        lines.append(f"{label:>{_AXIS - 2}} ┤{''.join(row)}".rstrip())
    return "\n".join(lines)


def _range(values: Sequence[float], height: int) -> tuple[float, float, int]:
    """The powers of ten at the bottom and the top row, whole ones or tenths where values lie close; the rows needed."""
    if not values:
        return -1.0, 1.0, height
    low, high = math.log10(min(values)), math.log10(max(values))
    rows = max(height - 1, 1)
    step = next(s for s in (0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 50, 100) if _covers(low, high, s, rows) or s == 100)
    top = math.ceil(high / step - 1e-9) * step
    needed = min(max(math.ceil((top - low) / step - 0.5), 2), rows)
    return top - needed * step, top, needed + 1


def _covers(low: float, high: float, step: float, rows: int) -> bool:
    return math.ceil(high / step - 1e-9) * step - rows * step <= low + step / 2


def _place(value: float, symbol: str, low: float, high: float, height: int) -> tuple[int, str]:
    if not math.isfinite(value):
        return 0, _LOST
    if value <= 0:
        return height - 1, _ZERO
    row = round((high - math.log10(value)) / (high - low) * (height - 1))
    return min(max(row, 0), height - 1), symbol
