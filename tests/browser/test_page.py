"""A full-sized report in a real browser: drawn, quiet, offline, on any width, in both schemes, on paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from example_study import ARMS, example_study, failed_study
from firstlight.studies.page import render

pytestmark = pytest.mark.browser

CHARTS = 6


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(example_study()), encoding="utf-8")
    return path.as_uri()


@contextmanager
def opened(browser: Any, address: str, width: int = 1280, scheme: str = "light", **options: Any) -> Iterator[Any]:
    """The page, opened offline; afterwards, that it complained of nothing and asked for nothing."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, **options
    )
    page = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.wait_for_load_state("load")
    page.wait_for_timeout(150)
    yield page
    context.close()
    assert not complaints
    assert [r for r in requests if not r.startswith("data:")] == [address]


def drawn(page: Any) -> int:
    """How many charts have a non-empty drawing with visible traces."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".js-plotly-plot")].filter(div => {
            const box = div.querySelector("svg.main-svg").getBoundingClientRect();
            return box.width > 100 && box.height > 100
                && div.querySelectorAll(".scatterlayer .trace path").length > 0;
        }).length"""
    )


def overflow(page: Any) -> int:
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def paper(page: Any) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def ink_of_charts(page: Any) -> set[str]:
    return set(
        page.evaluate(
            """[...document.querySelectorAll(".js-plotly-plot .xtick text")].map(t => getComputedStyle(t).fill)"""
        )
    )


def colours_of_lines(page: Any) -> set[str]:
    return set(
        page.evaluate(
            """[...document.querySelectorAll(".js-plotly-plot .scatterlayer path.js-line")]
            .map(t => getComputedStyle(t)).filter(style => style.strokeOpacity > 0).map(style => style.stroke)"""
        )
    )


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (375, "light"), (375, "dark"), (320, "light")]
)
def test_every_chart_is_drawn_and_nothing_overflows(
    browser: Any, address: str, shots: Path, width: int, scheme: str
) -> None:
    with opened(browser, address, width, scheme) as page:
        assert drawn(page) == CHARTS
        assert overflow(page) <= 0
        page.screenshot(path=str(shots / f"report-{width}-{scheme}.png"), full_page=True)


def test_wide_tables_scroll_in_their_own_box(browser: Any, address: str) -> None:
    with opened(browser, address, 375) as page:
        inner, outer = page.evaluate(
            "(() => { const box = document.querySelector('.scroll'); return [box.scrollWidth, box.clientWidth]; })()"
        )
        assert inner > outer


def test_the_toggle_changes_the_page_and_the_charts(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        button = page.locator("button.theme")
        before = paper(page), ink_of_charts(page), colours_of_lines(page)
        assert button.text_content() == "Dark"
        button.click()
        after = paper(page), ink_of_charts(page), colours_of_lines(page)
        assert button.text_content() == "Light"
        assert before[0] != after[0]
        assert not before[1] & after[1]
        assert not before[2] & after[2]
        button.click()
        assert (paper(page), ink_of_charts(page), colours_of_lines(page)) == before


def test_the_system_may_change_its_scheme_while_the_page_is_open(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        light = paper(page), ink_of_charts(page)
        page.emulate_media(color_scheme="dark")
        page.wait_for_timeout(150)
        dark = paper(page), ink_of_charts(page)
        assert light[0] != dark[0]
        assert not light[1] & dark[1]
        assert page.locator("button.theme").text_content() == "Light"


def test_charts_follow_the_width_of_the_window(browser: Any, address: str) -> None:
    with opened(browser, address, 1280) as page:
        page.set_viewport_size({"width": 375, "height": 800})
        page.wait_for_timeout(400)
        assert overflow(page) <= 0
        widths = page.evaluate("[...document.querySelectorAll('.main-svg')].map(s => s.getBoundingClientRect().width)")
        assert max(widths) <= 375


def test_a_legend_key_hides_its_series_everywhere(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        lines = page.locator(".js-plotly-plot .scatterlayer .trace")
        all_of_them = lines.count()
        keys = page.locator(".legend button[data-style='5']")
        keys.first.click()
        assert lines.count() < all_of_them
        assert set(keys.evaluate_all("ks => ks.map(k => k.getAttribute('aria-pressed'))")) == {"false"}
        keys.last.click()
        assert lines.count() == all_of_them


def test_a_series_has_one_colour_in_the_table_the_legend_and_the_charts(browser: Any, address: str) -> None:
    with opened(browser, address) as page:
        keys = page.evaluate(
            """[...document.querySelectorAll("table .named, .legend button")].map(
            e => [e.textContent.trim(), getComputedStyle(e.querySelector("svg")).color])"""
        )
        colours = {name: {c for n, c in keys if n == name} for name in ARMS}
        assert all(len(found) == 1 for found in colours.values())
        assert colours_of_lines(page) == set.union(*colours.values())


def test_text_stands_out_from_the_paper(browser: Any, address: str) -> None:
    """WCAG 2.1 AA: 4.5:1, for every element that has text of its own, in both schemes."""
    for scheme in ("light", "dark"):
        with opened(browser, address, scheme=scheme) as page:
            pairs = page.evaluate(
                """() => {
                const own = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
                const solid = e => { for (; e; e = e.parentElement) {
                    const c = getComputedStyle(e).backgroundColor; if (!c.endsWith(", 0)")) return c; } };
                return [...document.querySelectorAll("body *")].filter(e => own(e) && e.checkVisibility()
                    && !["SCRIPT", "STYLE", "NOSCRIPT"].includes(e.tagName))
                    .map(e => [e.tagName, e.namespaceURI.endsWith("svg") ? getComputedStyle(e).fill
                        : getComputedStyle(e).color, solid(e)]);
                }"""
            )
            assert len(pairs) > 100
            assert not [p for p in pairs if contrast(p[1], p[2]) < 4.5]


def test_without_javascript_the_words_and_tables_are_there(browser: Any, address: str, shots: Path) -> None:
    for scheme in ("light", "dark"):
        with opened(browser, address, scheme=scheme, java_script_enabled=False) as page:
            assert page.locator("table").first.is_visible()
            assert "highest mean test accuracy" in (page.locator("main").text_content() or "")
            assert not page.locator(".chart").first.is_visible()
            assert not page.locator("button.theme").is_visible()
            page.screenshot(path=str(shots / f"report-without-javascript-{scheme}.png"), full_page=True)


def test_on_paper_it_is_light_and_fits_and_comes_back(browser: Any, address: str, shots: Path) -> None:
    with opened(browser, address, scheme="dark") as page:
        before = paper(page), page.locator(".main-svg").first.bounding_box()["width"]
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert luminance(paper(page)) > 0.9
        assert max(page.evaluate("[...document.querySelectorAll('.main-svg')].map(s => s.clientWidth)")) <= 680
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        page.pdf(path=str(shots / "report.pdf"), format="A4")
        page.wait_for_timeout(300)
        assert (paper(page), page.locator(".main-svg").first.bounding_box()["width"]) == before


@pytest.mark.parametrize(
    ("study", "charts"),
    [(example_study(("he_normal",), (0.003,), 1), 6), (failed_study(), 2)],
    ids=["one of everything", "everything failed"],
)
def test_the_least_and_the_worst_study(browser: Any, tmp_path: Path, shots: Path, study: Any, charts: int) -> None:
    path = tmp_path / "report.html"
    path.write_text(render(study), encoding="utf-8")
    with opened(browser, path.as_uri(), 375) as page:
        assert drawn(page) == charts
        assert overflow(page) <= 0
        page.screenshot(path=str(shots / f"report-least-{charts}.png"), full_page=True)


def contrast(one: str, other: str) -> float:
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
