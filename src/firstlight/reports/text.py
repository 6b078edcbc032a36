"""Numbers and tables as text: one way to write them, in the terminal and on the page.

Takes words and numbers; the verdict, the tables and the pages of studies use it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

MISSING = "–"


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage.

    >>> percent(0.9731), percent(float("nan"))
    ('97.3 %', '–')
    """
    return MISSING if math.isnan(share) else f"{100 * share:.{digits}f} %"


def points(difference: float) -> str:
    """A difference of shares in percentage points, signed.

    >>> points(0.052), points(-0.4)
    ('+5.2', '−40.0')
    """
    if math.isnan(difference):
        return MISSING
    sign = "−" if difference < 0 else "+"
    return f"{sign}{abs(100 * difference):.1f}"


def rate(value: float) -> str:
    """A learning rate, as people write it.

    >>> rate(0.003), rate(3e-05), rate(0.1)
    ('0.003', '3e-5', '0.1')
    """
    return f"{value:.6g}" if value >= 1e-4 else f"{value:.3g}".replace("e-0", "e-")


def rates(values: Sequence[float]) -> str:
    """A range of learning rates: its ends, or the one there is.

    >>> rates([0.01, 0.03, 0.1]), rates([0.01]), rates([])
    ('0.01 … 0.1', '0.01', 'none')
    """
    if not values:
        return "none"
    return rate(values[0]) if len(values) == 1 else f"{rate(values[0])} … {rate(values[-1])}"


def count(value: float) -> str:
    """A whole number with separators; a mean of counts is rounded.

    >>> count(79429.6), count(float("nan"))
    ('79,430', '–')
    """
    return MISSING if math.isnan(value) else f"{round(value):,}"


def p_value(p: float) -> str:
    """A p value, never as 0.

    >>> p_value(0.0312), p_value(0.00004)
    ('0.031', '< 0.001')
    """
    return MISSING if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def seconds(value: float) -> str:
    """A duration.

    >>> seconds(7.2), seconds(134)
    ('7 s', '2 min 14 s')
    """
    whole = round(value)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def listing(words: Sequence[str]) -> str:
    """Words as a sentence lists them.

    >>> listing(["a", "b", "c"]), listing(["a"])
    ('a, b and c', 'a')
    """
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A plain table, columns as wide as they need; the first ``left`` columns to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = (c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), "  ".join("─" * w for w in widths), *map(line, rows)])
