"""A page from blocks: well formed, whole in itself, every string escaped, readable without its charts."""

from __future__ import annotations

import json

import pytest

from firstlight.reports.charts import Axis, Chart, Series, lines
from firstlight.reports.page import Cell, Code, Facts, Plot, Section, Table, Text, render_page
from reports.page_outline import Outline

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


def chart(name: str = "he_normal") -> Chart:
    return lines(name, name, Axis(name), Axis(name), [Series(name, 0, [1, 2], [0.1, 0.2])], reference=(0.1, name))


def page(words: str) -> str:
    table = Table(words, (words, words), [(Cell(words, style=3, note=words), Cell(words))])
    blocks = [Text([words], lead=True), table, Facts([(words, words)]), Code(words), Plot(chart(words), words, table)]
    return render_page(words, words, [Section(words, blocks), Section("Second", [Text(["plain"])])], words)


@pytest.fixture(scope="module")
def evil() -> Outline:
    return Outline(page(EVIL))


def test_every_element_is_closed(evil: Outline) -> None:
    assert not evil.unclosed


def test_no_string_becomes_markup(evil: Outline) -> None:
    assert not evil.of("img")
    # The library, the figures and the page's own script; nothing that a string brought along.
    assert len(evil.of("script")) == 3
    assert not any(k.startswith("on") for _, attributes in evil.elements for k in attributes)
    assert EVIL in evil.texts["h1"][0]


def test_strings_in_the_figures_cannot_leave_their_script(evil: Outline) -> None:
    figures = json.loads(evil.texts["script"][1])
    assert figures[0]["data"][0]["name"].startswith("&lt;/script&gt;")
    assert figures[0]["layout"]["xaxis"]["title"]["text"] == EVIL


def test_nothing_is_loaded_and_the_policy_forbids_it(evil: Outline) -> None:
    assert not evil.loads
    policy = next(a["content"] for a in evil.of("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_plotly_is_there_once_and_only_with_charts() -> None:
    with_charts = render_page("t", "s", [Section("a", [Plot(chart()), Plot(chart())])], "f")
    without = render_page("t", "s", [Section("a", [Text(["words"])])], "f")
    assert with_charts.count("plotly.js v") == 1
    assert len(without) < 30_000
    assert len(Outline(without).of("div")) == 2


def test_headings_tables_and_charts_have_names() -> None:
    outline = Outline(page("he_normal"))
    assert len(outline.of("h1")) == 1
    headings = {a["id"] for a in outline.of("h2")}
    assert all(a["aria-labelledby"] in headings for a in outline.of("section"))
    assert all(a.get("scope") in ("col", "row") for a in outline.of("th"))
    charts = [a for a in outline.of("div") if a.get("class") == "chart"]
    assert charts
    assert all(a["role"] == "img" and a["aria-label"] for a in charts)
    assert all(a.get("aria-hidden") == "true" for a in outline.of("svg"))


def test_a_legend_key_points_at_its_series() -> None:
    outline = Outline(page("he_normal"))
    keys = [a for a in outline.of("button") if "data-style" in a]
    assert [(a["data-style"], a["aria-pressed"]) for a in keys] == [("0", "true")]


def test_numbers_and_their_percent_sign_stay_together() -> None:
    assert "95.6\u00a0% of" in render_page("t", "s", [Section("a", [Text(["95.6 % of"])])], "f")


def test_the_same_words_give_the_same_page() -> None:
    assert page("x") == page("x")
