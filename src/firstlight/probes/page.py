"""A ``Light`` as a plotly figure, and as one page: charts by depth, every place, every parameter, the findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from .. import __version__
from ..reports.charts import Axis, Chart, Series, lines
from ..reports.page import Block, Cell, Code, Plot, Section, Table, Text, render_page
from ..reports.text import counted
from .text import COLUMNS, backward_values, facts, forward_values, headline, legend, number, share

if TYPE_CHECKING:
    from .records import Light

_DEPTH = Axis("weights, from the inputs to the outputs")


def charts_of(lights: Mapping[str, Light]) -> list[Chart]:
    """E[x²] and E[g²] behind each weight, a line for each record."""
    found = []
    for title, words, values in (
        ("Forward", "E[x²] behind each weight", {n: forward_values(x) for n, x in lights.items()}),
        ("Backward", "E[g²] of the loss's gradient there", {n: backward_values(x) for n, x in lights.items()}),
    ):
        series = [Series(n, i, list(range(1, len(v) + 1)), v) for i, (n, v) in enumerate(values.items()) if v]
        if series:
            found.append(lines(title, words, _DEPTH, Axis(words, log=True), series, markers=True))
    return found


def figure_of(lights: Mapping[str, Light]) -> Any:
    """The charts as one plotly ``Figure``, one above the other."""
    charts = charts_of(lights)
    figure = go.Figure()
    for i, chart in enumerate(charts):
        number_ = "" if i == 0 else str(i + 1)
        low, high = (len(charts) - i - 1) / len(charts), (len(charts) - i) / len(charts) - 0.08
        for trace in chart.data:
            first = i == 0
            axes = {"xaxis": f"x{number_}", "yaxis": f"y{number_}", "showlegend": first and len(lights) > 1}
            figure.add_trace(go.Scatter(**{**trace, **axes, "legendgroup": trace["name"]}))
        figure.update_layout(
            {
                f"xaxis{number_}": {**chart.layout["xaxis"], "anchor": f"y{number_}"},
                f"yaxis{number_}": {**chart.layout["yaxis"], "domain": [low, high]},
            }
        )
    figure.update_layout(height=360 * max(len(charts), 1), margin={"t": 30})
    return figure


def light_page(light: Light) -> str:
    """The page of a record, as HTML that opens offline."""
    sections = [Section("The signal by depth", _plots({light.model: light}))]
    if light.findings:
        sections.insert(0, Section("What was found", [Code(str(light.findings))]))
    sections += [
        Section("Every place", [_places(light)]),
        Section("Every parameter", [_weights(light)]),
    ]
    return render_page(
        title=f"How the signal travels through {light.model}",
        subtitle=headline(light),
        sections=[Section("In short", [Text(facts(light) + [f"Note: {n}." for n in light.notes])]), *sections],
        footer=f"firstlight {__version__}",
    )


def comparison_page(
    lights: Mapping[str, Light], header: tuple[str, ...], rows: list[list[str]], found: Sequence[str]
) -> str:
    """The page of several records laid over one another; ``found`` says what was found in each."""
    table = Table("", header, [[Cell(row[0], style=i), *map(Cell, row[1:])] for i, row in enumerate(rows)])
    model = next(iter(lights.values())).model
    return render_page(
        title=f"How the signal travels through {model}",
        subtitle=f"{counted(len(lights), 'initialization')} on the same batch.",
        sections=[
            Section("In numbers", [table]),
            *([Section("What was found", [Text(found)])] if found else []),
            Section("The signal by depth", _plots(lights)),
        ],
        footer=f"firstlight {__version__}",
    )


def _plots(lights: Mapping[str, Light]) -> list[Block]:
    blocks: list[Block] = []
    for chart in charts_of(lights):
        numbers = Table(chart.title, ("weight", *(t["name"] for t in chart.data)), _numbers(chart))
        blocks.append(Plot(chart, f"{chart.title}: {chart.words}.", numbers))
    return blocks


def _numbers(chart: Chart) -> list[list[Cell]]:
    longest = max(len(t["x"]) for t in chart.data)
    rows = []
    for i in range(longest):
        values = (t["y"][i] if i < len(t["y"]) else None for t in chart.data)
        rows.append([Cell(str(i + 1)), *(Cell(number(v)) for v in values)])
    return rows


def _places(light: Light) -> Table:
    shown = [c for c in COLUMNS if any(c.cell(p) for p in light.places)]
    rows = [[Cell(c.cell(p)) for c in shown] for p in light.places]
    return Table(f"In execution order. {legend([c.title for c in shown])}.", [c.title for c in shown], rows, left=3)


def _weights(light: Light) -> Table:
    header = ("parameter", "role", "shape", "std", "gradient, rms", "gradient / value", "update / value", "zeros")
    rows = []
    for w in light.weights:
        gradient = None if w.grad_second is None else w.grad_second**0.5
        cells = (w.name, w.role, "×".join(map(str, w.shape)), number(w.std), number(gradient))
        rows.append([Cell(c) for c in (*cells, number(w.gradient_ratio), number(w.update_ratio), share(w.zeros))])
    return Table("rms: the root of the mean square.", header, rows, left=3)
