"""Charts from plain data: valid for plotly, without colours, without what cannot be drawn; looks that stay apart."""

from __future__ import annotations

import json
import math
import re
from importlib.resources import files

import plotly.graph_objects as go
import pytest

from firstlight.reports.charts import COLOURS, Axis, Chart, Series, Spread, lines, look, strip

NAN, INF = math.nan, math.inf


def by_depth(*values: float) -> Chart:
    return lines("t", "w", Axis("x"), Axis("y", log=True), [Series("a", 0, list(range(len(values))), values)])


def every_chart() -> list[Chart]:
    return [
        lines(
            "Accuracy",
            "words",
            Axis("Step"),
            Axis("Accuracy", percent=True),
            [Series("a <b>", 0, [1, 2], [0.1, NAN], [0.0, NAN], [0.2, NAN]), Series("c", 1, [1, 2], [0.5, 0.6])],
            reference=(0.6, "target"),
        ),
        lines(
            "Rates",
            "words",
            Axis("Rate", log=True, ticks=[0.01, 0.1]),
            Axis("Accuracy", percent=True),
            [Series("a", 0, [0.01, 0.1], [0.1, NAN], [0.0, NAN], [0.2, NAN])],
            bands=False,
            markers=True,
        ),
        by_depth(1.0, 1e-30, 0.0, INF),
        strip("Spread", "words", Axis("Accuracy", percent=True), [Spread("a", 0, [0.1, NAN], 0.05, 0.0, 0.1)]),
        strip("Nothing", "words", Axis("Accuracy", percent=True), [Spread("a", 0, [NAN], NAN, NAN, NAN)]),
    ]


@pytest.mark.parametrize("chart", every_chart(), ids=lambda c: c.title)
def test_plotly_accepts_every_chart_and_json_every_number(chart: Chart) -> None:
    go.Figure(data=chart.data, layout=chart.layout)  # raises on an unknown or malformed property
    json.dumps([chart.data, chart.layout], allow_nan=False)


@pytest.mark.parametrize("chart", every_chart(), ids=lambda c: c.title)
def test_charts_bring_no_colours_but_say_whose_they_are(chart: Chart) -> None:
    assert not re.search(r"#[0-9a-fA-F]{6}|rgba?\(|color", json.dumps([chart.data, chart.layout]))
    assert all(isinstance(trace["meta"]["style"], int) for trace in chart.data)


def test_what_cannot_be_drawn_is_left_out() -> None:
    assert by_depth(1.0, 0.0, -1.0, INF, NAN, 2.0).data[0]["y"] == [1.0, None, None, None, None, 2.0]
    assert not by_depth(1.0, 0.0).empty
    assert by_depth(0.0, NAN).empty
    assert every_chart()[-1].empty


@pytest.mark.parametrize(("low", "high"), [(1e-50, 1.0), (0.02, 2.0), (0.5, 0.7), (1e-7, 1e7), (3.0, 3.0)])
def test_logarithmic_axes_have_a_few_ticks_within_their_range(low: float, high: float) -> None:
    axis = by_depth(low, high).layout["yaxis"]
    bottom, top = axis["range"]
    assert bottom < math.log10(low) <= math.log10(high) < top
    assert all(bottom <= math.log10(t) <= top for t in axis["tickvals"])
    assert len(axis["tickvals"]) == len(axis["ticktext"]) <= 9
    assert len(axis["tickvals"]) >= 2 or high / low < 2


def test_one_point_is_marked_for_no_line_shows_it() -> None:
    assert by_depth(1.0).data[0]["mode"] == "lines+markers"


def test_bands_lie_under_all_lines() -> None:
    band = ([0.0, 0.0], [0.2, 0.2])
    series = [Series(n, i, [1, 2], [0.1, 0.1], *band) for i, n in enumerate("ab")]
    assert [t["meta"]["band"] for t in lines("t", "w", Axis("x"), Axis("y"), series).data] == [True, True, False, False]


def test_names_are_shown_letter_by_letter() -> None:
    chart = strip("t", "w", Axis("x"), [Spread("<b>bold</b> & co", 0, [0.5], 0.5, 0.5, 0.5)])
    assert "<b>" not in json.dumps([chart.data, chart.layout])
    assert chart.layout["yaxis"]["ticktext"] == ["&lt;b&gt;bold&lt;/b&gt; &amp; co"]


def test_twenty_looks_differ() -> None:
    assert len({look(i) for i in range(20)}) == 20


def test_the_style_sheet_has_every_colour_and_they_stand_out_from_the_paper() -> None:
    """WCAG 2.1: 3:1 for lines and marks, 4.5:1 for text, in both schemes."""
    schemes = re.findall(r"{% set (\w+) %}(.*?){% endset %}", _sheet(), re.DOTALL)
    assert [name for name, _ in schemes] == ["light", "dark"]
    for _, body in schemes:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", body))
        for series in (f"s{i}" for i in range(COLOURS)):
            assert contrast(colours[series], colours["paper"]) >= 3
        for words in ("ink", "soft", "accent"):
            assert contrast(colours[words], colours["paper"]) >= 4.5
            assert contrast(colours[words], colours["panel"]) >= 4.5


def test_the_script_knows_how_many_colours_there_are() -> None:
    script = (files("firstlight.reports") / "templates" / "page.js").read_text()
    assert f"colours = {COLOURS}," in script


def _sheet() -> str:
    return (files("firstlight.reports") / "templates" / "page.css").read_text()


def contrast(one: str, other: str) -> float:
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
