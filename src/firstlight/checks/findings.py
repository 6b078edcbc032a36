"""Findings as a tuple that prints itself, and their JSON round trip.

``diagnose`` gives one; ``print(light.findings)`` shows it.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..reports.files import into
from .catalogue import CATALOGUE
from .records import Evidence, Finding, Severity

_WIDTH = 110
_MARKS = {Severity.ERROR: "✗", Severity.WARNING: "!", Severity.NOTE: "·"}


class Findings(tuple[Finding, ...]):
    """Findings, the most severe first, that print as a list.

    >>> print(Findings())
    nothing found: the signal gets through
    """

    __slots__ = ()

    def table(self, width: int = _WIDTH) -> str:
        """The findings as text of at most so many columns."""
        return shown(self, width)

    def __str__(self) -> str:
        return shown(self)

    def __repr__(self) -> str:
        inside = (f"{f.severity} {f.code} at {f.where or 'the model'}" for f in self)
        return f"Findings({', '.join(inside)})"

    @property
    def errors(self) -> Findings:
        """Those with which the model will not train."""
        return Findings(f for f in self if f.severity is Severity.ERROR)

    def of(self, code: str) -> Findings:
        """Those of one code."""
        return Findings(f for f in self if f.code == code)

    def to_json(self, path: str | Path | None = None) -> str:
        """The findings as JSON, without their repairs, written to ``path`` where one is given."""
        return into(path, json.dumps([as_dict(f) for f in self], indent=1, ensure_ascii=False))

    @classmethod
    def from_json(cls, text: str | Path) -> Findings:
        """The findings that ``to_json`` wrote; their ``fix()`` is the remedy's text.

        Raises:
            ArgumentError: it is no list of findings.
        """
        try:
            loaded = json.loads(text.read_text(encoding="utf-8") if isinstance(text, Path) else text)
            return cls(from_dict(d) for d in loaded)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArgumentError(f"this is no JSON of findings: {error!r}. Give what to_json wrote.") from error


def sorted_findings(findings: Iterable[Finding]) -> Findings:
    """The most severe first; among equals, in the order of the signal."""
    ranks = list(Severity)
    return Findings(sorted(findings, key=lambda f: (ranks.index(f.severity), f.position or 0.0)))


def shown(findings: Iterable[Finding], width: int = _WIDTH) -> str:
    """Findings as text: severity, code and place, then evidence, cause and fix."""
    parts = [one(f, width) for f in findings]
    return "\n\n".join(parts) if parts else "nothing found: the signal gets through"


def one(finding: Finding, width: int = _WIDTH) -> str:
    """One finding as text."""
    known = CATALOGUE.get(finding.code)
    where = finding.where or "the model"
    depth = "" if finding.position is None else f", {100 * finding.position:.0f} % deep"
    step = "" if finding.step is None else f", step {finding.step}"
    title = f": {known.title}" if known else ""
    head = f"{_MARKS[finding.severity]} {finding.severity} {finding.code} at {where}{depth}{step}{title}"
    lines = textwrap.wrap(head, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    label = "predicted" if finding.predicted else "measured"
    rows = [(label, "; ".join(_measured(e) for e in finding.evidence[:3]))] if finding.evidence else []
    rows += [("cause", finding.cause), ("fix", finding.remedy)]
    for name, text in rows:
        lines += textwrap.wrap(text, width, initial_indent=f"  {name:<9} ", subsequent_indent=" " * 12)
    return "\n".join(lines)


def _measured(evidence: Evidence) -> str:
    notes = [] if evidence.expected is None else [f"expected {_figure(evidence.expected)}"]
    if not evidence.source.startswith("exact"):
        notes.append(f"bound {_figure(evidence.threshold)}")
    return f"{evidence.quantity} {_figure(evidence.value)}" + (f" ({', '.join(notes)})" if notes else "")


def _figure(value: float) -> str:
    whole = abs(value) < 1e6 and value == round(value)
    return f"{value:,.0f}" if whole else f"{value:.3g}"


def as_dict(finding: Finding) -> dict[str, Any]:
    """A finding as plain numbers and words, without its repair."""
    return {
        "code": finding.code,
        "severity": str(finding.severity),
        "where": finding.where,
        "position": finding.position,
        "evidence": [
            {
                "quantity": e.quantity,
                "value": _plain(e.value),
                "threshold": _plain(e.threshold),
                "expected": None if e.expected is None else _plain(e.expected),
                "source": e.source,
            }
            for e in finding.evidence
        ],
        "cause": finding.cause,
        "remedy": finding.remedy,
        "step": finding.step,
        "predicted": finding.predicted,
    }


def _plain(value: float) -> float | str:
    """JSON knows no infinity: those stand as words."""
    return value if value - value == 0 else str(float(value))


def from_dict(saved: Mapping[str, Any]) -> Finding:
    """What ``as_dict`` gave; its repair is the remedy's text."""
    evidence = tuple(
        Evidence(
            e["quantity"],
            float(e["value"]),
            float(e["threshold"]),
            None if e["expected"] is None else float(e["expected"]),
            e["source"],
        )
        for e in saved["evidence"]
    )
    return Finding(
        saved["code"],
        Severity(saved["severity"]),
        saved["where"],
        saved["position"],
        evidence,
        saved["cause"],
        saved["remedy"],
        saved["remedy"],
        saved["step"],
        saved.get("predicted", False),
    )
