"""The report in a real browser: every chart drawn, no error, nothing asked of the network, on a desk and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clouds import QUICK, blobs
from firstlight.studies import compare, task_from_arrays

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "run"
    task = task_from_arrays(*blobs(), name="blobs")
    compare("mlp", task, ["torch", "he_normal", "zeros"], out=folder, workers=0, **QUICK)
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


def opened(browser: Any, report: Path, width: int, scheme: str, **options: Any) -> tuple[Any, list[str]]:
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options).new_page()
    faults: list[str] = []
    page.on(
        "console", lambda m: faults.append(f"console {m.type}: {m.text}") if m.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda e: faults.append(f"page error: {e}"))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else faults.append(r.url))
    page.goto(report.resolve().as_uri())
    page.wait_for_timeout(300)
    return page, faults


@pytest.mark.parametrize("width", [375, 768, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_is_drawn_without_a_fault(
    browser: Any, report: Path, width: int, scheme: str, tmp_path: Path
) -> None:
    page, faults = opened(browser, report, width, scheme)
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length === 5")
    drawn = page.evaluate(
        "[...document.querySelectorAll('.chart')].map(c => c.querySelectorAll('.scatterlayer .trace path').length)"
    )
    assert len(drawn) == 5
    assert all(n >= 2 for n in drawn), drawn  # an arm that is exactly zero has no place on a log axis
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert not faults


def contrast(page: Any) -> float:
    return page.evaluate(
        """() => {
          const lum = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
            .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
            return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
          const back = lum(getComputedStyle(document.body).backgroundColor);
          return Math.min(...[...document.querySelectorAll('p, td, th, dt, small, .caption')].map(e => {
            const a = lum(getComputedStyle(e).color), hi = Math.max(a, back), lo = Math.min(a, back);
            return (hi + 0.05) / (lo + 0.05); }));
        }"""
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(browser: Any, report: Path, scheme: str) -> None:
    assert contrast(opened(browser, report, 1280, scheme)[0]) >= 4.5


def test_the_toggle_turns_page_and_charts(browser: Any, report: Path) -> None:
    page, faults = opened(browser, report, 1280, "light")
    ink = "getComputedStyle(document.querySelector('.xtick text')).fill"
    before = page.evaluate(ink)
    page.click("button.theme")
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate(ink) != before
    page.emulate_media(color_scheme="dark")
    page.click("button.theme")
    page.wait_for_timeout(300)
    assert page.evaluate(ink) == before
    assert not faults


def test_without_scripts_the_words_and_tables_are_there(browser: Any, report: Path) -> None:
    page, _ = opened(browser, report, 1280, "light", java_script_enabled=False)
    assert page.locator("table tbody tr").count() >= 3
    assert page.locator("noscript").count() == 5
