"""Charts from plain data, as plotly figures without colours: the page paints them for its light and dark scheme.

A verb's page builds charts here and ``page`` draws them in the browser. Every series keeps one look, by its place in
the study, in every chart and table.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from . import text

# The page's style sheet has so many series colours, light and dark. The first five are drawn solid and the next five
# dashed: within each five, colours stay apart for red-green blind eyes too (OKLab distance ≥ 0.07 as simulated).
COLOURS = 10
_DASHES = ("solid", "7px,4px", "2px,3px", "9px,3px,2px,3px")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up")
_HEIGHT = 380


@dataclass(frozen=True, slots=True)
class Look:
    """How one series is drawn: the number of its colour in the style sheet, its dash and its marker."""

    colour: int
    dash: str
    symbol: str


def look(position: int) -> Look:
    """The look of the series at a position, the same in every chart; twenty differ.

    >>> look(0)
    Look(colour=0, dash='solid', symbol='circle')
    >>> look(12)
    Look(colour=2, dash='2px,3px', symbol='diamond')
    """
    turn = position // 5 % len(_DASHES)
    return Look(position % COLOURS, _DASHES[turn], _SYMBOLS[turn])


@dataclass(frozen=True, slots=True)
class Series:
    """One line: points (x, y), with bounds around y where there are some.

    ``style`` is the series' position for ``look``. Values that are not finite, or not above 0 on a logarithmic axis,
    are left out.
    """

    name: str
    style: int
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """One row of a strip: single values, and their mean with its interval."""

    name: str
    style: int
    values: Sequence[float]
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its title, whether it is logarithmic, whether it counts in percent, and the ticks if they are given."""

    title: str
    log: bool = False
    percent: bool = False
    ticks: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart ready to draw.

    Args:
        title: what it shows.
        words: the same in a sentence, for who cannot see it.
        data, layout: plotly's, without colours; a trace's ``meta`` has its style, and whether it is a band.
        legend: names and styles of the series; empty where the axis names them.
        reference: the name of the horizontal line, if there is one.
    """

    title: str
    words: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    legend: tuple[tuple[str, int], ...] = ()
    reference: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is no point to draw."""
        return all(v is None for trace in self.data for v in trace["y"])


def lines(
    title: str,
    words: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    *,
    bands: bool = True,
    markers: bool = False,
    reference: tuple[float, str] | None = None,
) -> Chart:
    """Lines over x; intervals as bands, or as bars on each point.

    Args:
        title: what the chart shows.
        words: the same in a sentence, for screen readers.
        x, y: the axes.
        series: the lines.
        bands: draw ``low`` to ``high`` as a band; as error bars otherwise.
        markers: mark the points; few points are marked anyway.
        reference: a horizontal line at this height, and its name.
    """
    # All bands first: no band then covers another series' line.
    shaded = [_band(s, y) for s in series if bands and s.low is not None and s.high is not None]
    data = shaded + [_line(s, y, bars=not bands, markers=markers or len(s.x) < 3) for s in series]
    layout = _layout(_axis(x, [v for s in series for v in s.x]), _axis(y, [v for t in data for v in t["y"]]))
    if reference is not None:
        layout["shapes"] = [_level(reference[0])]
    legend = tuple((s.name, s.style) for s in series)
    return Chart(title, words, data, layout, legend, reference[1] if reference is not None else "")


def strip(title: str, words: str, x: Axis, rows: Sequence[Spread]) -> Chart:
    """One row for each series, first at the top: single values as dots, their mean with its interval above them."""
    data: list[dict[str, Any]] = []
    for place, row in enumerate(rows):
        dots = [v for v in row.values if math.isfinite(v)]
        data.append(
            _trace(row.name, row.style, dots, [place + 0.17] * len(dots))
            | {"mode": "markers", "opacity": 0.45, "hovertemplate": f"%{{x:.1%}} {_plain(row.name)}<extra></extra>"}
        )
        if math.isfinite(row.mean):
            mean = _trace(row.name, row.style, [row.mean], [place - 0.17]) | {"mode": "markers"}
            mean["error_x"] = _bars([row.mean], [row.low], [row.high]) | {"thickness": 2}
            mean["hovertemplate"] = (
                f"{text.percent(row.mean)} ({text.span(row.low, row.high)}) {_plain(row.name)}<extra></extra>"
            )
            data.append(mean)
    layout = _layout(_axis(x, []), {"automargin": True, "zeroline": False, "showgrid": False})
    layout["yaxis"] |= {
        "tickmode": "array",
        "tickvals": list(range(len(rows))),
        "ticktext": [_plain(row.name) for row in rows],
        "range": [len(rows) - 0.5, -0.5],
    }
    layout |= {"height": 70 + 36 * len(rows), "hovermode": "closest"}
    return Chart(title, words, data, layout)


def _trace(name: str, style: int, x: Iterable[float], y: Iterable[float | None]) -> dict[str, Any]:
    shown = look(style)
    return {
        "type": "scatter",
        "name": _plain(name),
        "meta": {"style": style, "band": False},
        "x": list(x),
        "y": list(y),
        "line": {"dash": shown.dash, "width": 2},
        "marker": {"symbol": shown.symbol, "size": 7},
        "showlegend": False,
    }


def _line(s: Series, y: Axis, *, bars: bool, markers: bool) -> dict[str, Any]:
    trace = _trace(s.name, s.style, s.x, (_shown(v, y) for v in s.y))
    trace["mode"] = "lines+markers" if markers else "lines"
    trace["hovertemplate"] = "%{y:.1%}" if y.percent else "%{y:.3g}"
    trace["connectgaps"] = False
    if bars and s.low is not None and s.high is not None:
        trace["error_y"] = _bars(s.y, s.low, s.high)
    return trace


def _bars(middle: Sequence[float], low: Sequence[float], high: Sequence[float]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [_finite(h - v) for v, h in zip(middle, high, strict=True)],
        "arrayminus": [_finite(v - b) for v, b in zip(middle, low, strict=True)],
        "thickness": 1.2,
        "width": 3,
    }


def _band(s: Series, y: Axis) -> dict[str, Any]:
    """The area between the bounds."""
    places = [(x, _shown(low, y), _shown(high, y)) for x, low, high in zip(s.x, s.low or (), s.high or (), strict=True)]
    kept = [p for p in places if p[1] is not None and p[2] is not None]
    there_and_back = [*((p[0], p[2]) for p in kept), *((p[0], p[1]) for p in reversed(kept))]
    trace = _trace(s.name, s.style, (p[0] for p in there_and_back), (p[1] for p in there_and_back))
    return trace | {
        "mode": "lines",
        "meta": {"style": s.style, "band": True},
        "line": {"width": 0},
        "fill": "toself",
        "hoverinfo": "skip",
    }


def _level(height: float) -> dict[str, Any]:
    line = {"dash": "2px,3px", "width": 1.2}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height, "line": line}


def _layout(x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    return {
        "xaxis": x,
        "yaxis": y,
        "hovermode": "x unified",
        "showlegend": False,
        "margin": {"l": 62, "r": 20, "t": 10, "b": 46},
        "height": _HEIGHT,
    }


def _axis(axis: Axis, values: Iterable[float | None]) -> dict[str, Any]:
    shown: dict[str, Any] = {"title": {"text": axis.title, "standoff": 8}, "automargin": True, "zeroline": False}
    shown["ticklabeloverflow"] = "allow"
    ticks, labels = axis.ticks, [f"{t:g}" for t in axis.ticks or ()]
    if axis.percent:
        shown |= {"tickformat": ".0%", "dtick": 0.2, "range": [-0.02, 1.02]}
    if axis.log:
        shown |= {"type": "log", "hoverformat": ".3g"}
        positive = [v for v in values if v is not None and math.isfinite(v) and v > 0]
        if positive:
            low, high = math.log10(min(positive)), math.log10(max(positive))
            margin = max(0.05 * (high - low), 0.08)
            shown["range"] = [low - margin, high + margin]
            if ticks is None:
                ticks = _log_ticks(low - margin, high + margin)
                labels = [text.magnitude(t) for t in ticks]
    if ticks is not None:
        shown |= {"tickmode": "array", "tickvals": list(ticks), "ticktext": labels}
    return shown


def _log_ticks(low: float, high: float) -> list[float]:
    """Ticks between two powers of ten: 1, 2, 5 within a decade or two, whole powers over more, at most about eight."""
    if high - low <= 2.2:
        mantissas = (1, 2, 5)
        exponents = range(math.floor(low), math.ceil(high) + 1)
        return [m * 10.0**e for e in exponents for m in mantissas if low <= math.log10(m) + e <= high]
    step = next(s for s in (1, 2, 3, 5, 10, 20, 50, 100) if (high - low) / s <= 8 or s == 100)
    return [10.0**e for e in range(math.ceil(low), math.floor(high) + 1) if e % step == 0]


def _shown(value: float, axis: Axis) -> float | None:
    return value if math.isfinite(value) and (value > 0 or not axis.log) else None


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _plain(name: str) -> str:
    """A name as plotly shows it letter by letter; it reads some HTML."""
    return html.escape(name, quote=False)
