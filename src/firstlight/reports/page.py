"""One self-contained HTML page from words, tables and charts: opens offline, light and dark, on a phone, on paper.

A verb's page composes ``Section``s of blocks; ``render_page`` puts them into the template with plotly's script inlined.
Everything a user wrote is escaped. Without JavaScript everything but the charts is there, their numbers included.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import jinja2
from plotly.offline import get_plotlyjs

from .charts import Chart, look


@final
@dataclass(frozen=True, slots=True)
class Text:
    """Paragraphs; ``lead`` sets them larger."""

    paragraphs: Sequence[str]
    lead: bool = False


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """A table's cell; ``style`` puts the key of a chart's series before the text, ``note`` small print under it."""

    text: str
    style: int | None = None
    note: str = ""


@final
@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first ``left`` columns are words, the others numbers. A row's first cell is its header."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    left: int = 1


@final
@dataclass(frozen=True, slots=True)
class Facts:
    """Pairs of a name and a value."""

    pairs: Sequence[tuple[str, str]]


@final
@dataclass(frozen=True, slots=True)
class Code:
    """Text to copy, as it stands."""

    text: str


@final
@dataclass(frozen=True, slots=True)
class Plot:
    """A chart, a sentence on how to read it, and its numbers for who cannot see it."""

    chart: Chart
    caption: str = ""
    numbers: Table | None = None


Block = Text | Table | Facts | Code | Plot


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Block]


def render_page(title: str, subtitle: str, sections: Sequence[Section], footer: str) -> str:
    """The page as HTML.

    Args:
        title: the heading.
        subtitle: a line under it.
        sections: what the page says, in order.
        footer: a line at the end.
    """
    charts = [b.chart for s in sections for b in s.blocks if isinstance(b, Plot)]
    figures = json.dumps([{"data": c.data, "layout": c.layout} for c in charts], allow_nan=False)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=title,
            subtitle=subtitle,
            sections=sections,
            footer=footer,
            numbers={id(c): i for i, c in enumerate(charts)},
            # A string in the data must not be able to close the script it stands in.
            figures=figures.replace("<", "\\u003c"),
            plotly=get_plotlyjs() if charts else "",
            kind=lambda block: type(block).__name__,
            key=id,
            look=look,
        )
    )


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("firstlight.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["together"] = _together
    environment.filters["slug"] = _slug
    return environment


def _together(words: str) -> str:
    """A number and its percent sign stay on one line."""
    return re.sub(r"(?<=\d) %", "\u00a0%", words)


def _slug(words: str) -> str:
    """A heading as an address within the page."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
