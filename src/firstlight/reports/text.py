"""Numbers and tables as text: one way to write them, in the terminal and on the page.

Takes words and numbers; the verdict, the tables and the pages of studies use it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

MISSING = "–"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage.

    >>> percent(0.9731), percent(float("nan"))
    ('97.3 %', '–')
    """
    return MISSING if math.isnan(share) else f"{100 * share:.{digits}f} %"


def span(low: float, high: float, digits: int = 1) -> str:
    """An interval of shares, as percentages.

    >>> span(0.951, 0.9624), span(float("nan"), 1.0)
    ('95.1 – 96.2 %', '–')
    """
    if math.isnan(low) or math.isnan(high):
        return MISSING
    return f"{100 * low:.{digits}f} – {100 * high:.{digits}f} %"


def points(difference: float) -> str:
    """A difference of shares in percentage points, signed.

    >>> points(0.052), points(-0.4), points(-0.0001)
    ('+5.2', '−40.0', '0.0')
    """
    if math.isnan(difference):
        return MISSING
    size = f"{abs(100 * difference):.1f}"
    if float(size) == 0:
        return size
    return f"{'−' if difference < 0 else '+'}{size}"


def rate(value: float) -> str:
    """A learning rate, as people write it.

    >>> rate(0.003), rate(3e-05), rate(0.1)
    ('0.003', '3e-5', '0.1')
    """
    return f"{value:.6g}" if value >= 1e-4 else f"{value:.3g}".replace("e-0", "e-")


def rates(values: Sequence[float], tried: Sequence[float] = ()) -> str:
    """A range of learning rates: its ends, or the one there is; each of them where one between was tried and is not in.

    >>> rates([0.01, 0.03, 0.1]), rates([0.01]), rates([])
    ('0.01 … 0.1', '0.01', 'none')
    >>> rates([0.01, 0.1], tried=[0.01, 0.03, 0.1])
    '0.01, 0.1'
    """
    if not values:
        return "none"
    if any(values[0] < t < values[-1] and t not in values for t in tried):
        return ", ".join(map(rate, values))
    return rate(values[0]) if len(values) == 1 else f"{rate(values[0])} … {rate(values[-1])}"


def count(value: float) -> str:
    """A whole number with separators; a mean of counts is rounded.

    >>> count(79429.6), count(float("nan"))
    ('79,430', '–')
    """
    return MISSING if math.isnan(value) else f"{round(value):,}"


def counted(n: int, what: str) -> str:
    """A count and its noun, in the plural where it is one.

    >>> counted(1, "seed"), counted(1200, "seed")
    ('1 seed', '1,200 seeds')
    """
    return f"{n:,} {what}{'s' * (n != 1)}"


def p_value(p: float) -> str:
    """A p value, never as 0.

    >>> p_value(0.0312), p_value(0.00004)
    ('0.031', '< 0.001')
    """
    return MISSING if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def equals_p(p: float) -> str:
    """A p value as a sentence has it.

    >>> equals_p(0.0312), equals_p(0.00004)
    ('p = 0.031', 'p < 0.001')
    """
    shown = p_value(p)
    return f"p {shown}" if shown.startswith("<") else f"p = {shown}"


def magnitude(value: float) -> str:
    """A tick of a logarithmic axis; powers of ten far from 1 as powers.

    >>> magnitude(0.05), magnitude(1.0), magnitude(1e-14), magnitude(20000.0)
    ('0.05', '1', '10⁻¹⁴', '2·10⁴')
    """
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    exponent = math.floor(math.log10(value) + 1e-9)
    mantissa = f"{value / 10.0**exponent:.2g}"
    power = f"10{str(exponent).translate(_SUPERSCRIPT)}"
    return power if mantissa == "1" else f"{mantissa}·{power}"


def seconds(value: float) -> str:
    """A duration.

    >>> seconds(7.2), seconds(134), seconds(7400)
    ('7 s', '2 min 14 s', '2 h 3 min')
    """
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


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
