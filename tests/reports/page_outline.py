"""Reads a page as its parts, for tests: elements with attributes, the text of each kind, what it would load."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input", "path", "line", "rect", "circle"}


class Outline(HTMLParser):
    """Elements in order, and the text that stands in each kind of element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.unclosed: list[str] = []
        self.feed(page)
        self.close()
        self.unclosed += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.unclosed.append(tag)

    def handle_data(self, data: str) -> None:
        for tag in set(self._open):
            self.texts[tag][-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def loads(self) -> list[str]:
        """Every address that a browser would fetch."""
        links = [a.get("href") or "" for a in self.of("link")]
        sources = [v or "" for _, a in self.elements for k, v in a.items() if k in ("src", "srcset", "data", "poster")]
        return [address for address in links + sources if not address.startswith("data:")]

    @property
    def words(self) -> str:
        """What a person reads: the body's text without scripts."""
        whole = " ".join(self.texts["body"])
        for hidden in self.texts.get("script", []):
            whole = whole.replace(hidden, " ")
        return " ".join(whole.replace("\u00a0", " ").split())
