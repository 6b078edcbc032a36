"""Charts from plain data, as plotly figures without colours of their own paper: the page themes them.

A verb's page builds charts here; ``page`` draws them in the browser. Every series keeps one look, by its place in the
study, in every chart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Okabe & Ito's colour-blind-safe palette without yellow and black, which fade on white and on dark.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
_DASHES = ("solid", "dash", "dot")
_SYMBOLS = ("circle", "square", "diamond")


@dataclass(frozen=True, slots=True)
class Look:
    """How one series is drawn: colour, and dash and marker once the colours repeat."""

    colour: str
    dash: str
    symbol: str


def look(position: int) -> Look:
    """The look of the series at a position, the same in every chart."""
    turn, place = divmod(position, len(_COLOURS))
    return Look(_COLOURS[place], _DASHES[turn % len(_DASHES)], _SYMBOLS[turn % len(_SYMBOLS)])


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
class Chart:
    """A chart ready to draw: plotly's data and layout, a title, and words for who cannot see it."""

    title: str
    words: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its title, whether it is logarithmic, whether it counts in percent, and the ticks if they are given."""

    title: str
    log: bool = False
    percent: bool = False
    ticks: Sequence[float] | None = None


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
        markers: mark the points.
        reference: a horizontal line at this height, and its name.
    """
    data: list[dict[str, Any]] = []
    for s in series:
        if bands and s.low is not None and s.high is not None:
            data.append(_band(s, y))
        data.append(_line(s, y, bars=not bands, markers=markers))
    layout = _layout(x, y)
    if reference is not None:
        height, name = reference
        layout["shapes"] = [
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": height,
                "y1": height,
                "line": {"dash": "dot", "width": 1},
            }
        ]
        layout["annotations"] = [
            {
                "xref": "paper",
                "x": 1,
                "y": height,
                "text": name,
                "showarrow": False,
                "xanchor": "right",
                "yanchor": "bottom",
            }
        ]
    return Chart(title, words, data, layout)


def _line(s: Series, y: Axis, *, bars: bool, markers: bool) -> dict[str, Any]:
    style = look(s.style)
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines+markers" if markers else "lines",
        "name": s.name,
        "legendgroup": s.name,
        "x": list(s.x),
        "y": [_shown(v, y) for v in s.y],
        "line": {"color": style.colour, "dash": style.dash, "width": 2},
        "marker": {"color": style.colour, "symbol": style.symbol, "size": 7},
        "hovertemplate": "%{y:.1%}" if y.percent else "%{y:.3g}",
        "connectgaps": False,
    }
    if bars and s.low is not None and s.high is not None:
        up = [h - v for v, h in zip(s.y, s.high, strict=True)]
        down = [v - low for v, low in zip(s.y, s.low, strict=True)]
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [_finite(v) for v in up],
            "arrayminus": [_finite(v) for v in down],
            "color": style.colour,
            "thickness": 1.2,
            "width": 3,
        }
    return trace


def _band(s: Series, y: Axis) -> dict[str, Any]:
    """The area between the bounds, which belongs to the line's entry in the legend."""
    places = [(x, _shown(low, y), _shown(high, y)) for x, low, high in zip(s.x, s.low or (), s.high or (), strict=True)]
    kept = [p for p in places if p[1] is not None and p[2] is not None]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [p[0] for p in kept] + [p[0] for p in reversed(kept)],
        "y": [p[2] for p in kept] + [p[1] for p in reversed(kept)],
        "fill": "toself",
        "fillcolor": _faint(look(s.style).colour),
        "line": {"width": 0, "color": "rgba(0,0,0,0)"},
        "hoverinfo": "skip",
        "legendgroup": s.name,
        "showlegend": False,
        "name": s.name,
    }


def _layout(x: Axis, y: Axis) -> dict[str, Any]:
    return {
        "xaxis": _axis(x),
        "yaxis": _axis(y) | ({"range": [-0.02, 1.02]} if y.percent else {}),
        "hovermode": "x unified",
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0, "font": {"size": 12}},
        "margin": {"l": 62, "r": 12, "t": 12, "b": 48},
        "height": 430,
    }


def _axis(axis: Axis) -> dict[str, Any]:
    shown: dict[str, Any] = {"title": {"text": axis.title, "standoff": 8}, "automargin": True, "zeroline": False}
    if axis.log:
        shown |= {"type": "log", "exponentformat": "power"}
    if axis.percent:
        shown["tickformat"] = ".0%"
    if axis.ticks is not None:
        shown |= {"tickmode": "array", "tickvals": list(axis.ticks), "ticktext": [f"{t:g}" for t in axis.ticks]}
    return shown


def _shown(value: float, axis: Axis) -> float | None:
    return value if math.isfinite(value) and (value > 0 or not axis.log) else None


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.14)"
