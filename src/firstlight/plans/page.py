"""A plan as one page: the table, the reasons, and the works they cite. ``firstlight plan --html`` writes it."""

from __future__ import annotations

from ..reports.page import Cell, Code, Section, Table, Text, render_page
from ..reports.text import counted
from .plan import Plan
from .table import HEADER, rows_of


def plan_page(plan: Plan, model: str, footer: str) -> str:
    """The page of a plan for the model of this name, as HTML that opens offline."""
    rows = rows_of(plan.entries)
    reasons: dict[str, int] = {}
    body = []
    for row in rows:
        numbers = [reasons.setdefault(reason, len(reasons) + 1) for reason in row.reasons]
        body.append([Cell(c) for c in (*row.cells, ", ".join(map(str, numbers)))])
    values = sum(e.parameter.layout.numel for e in plan.entries)
    sections = [
        Section("Every parameter", [Table("Rows that differ in a number alone stand once.", HEADER, body)]),
        Section("Why", [Text([f"{n}. {reason}" for reason, n in reasons.items()])]),
    ]
    works = plan.cite()
    if works:
        sections.append(
            Section("What it rests on", [Text(["BibTeX of the works that the reasons cite."]), Code(works)])
        )
    return render_page(
        title=f"How {model} starts",
        subtitle=f"The plan of the scheme {plan.scheme}: {counted(len(plan), 'tensor')}, {counted(values, 'value')}.",
        sections=sections,
        footer=footer,
    )
