"""A plan as a table that a person reads: what each parameter is, what it gets, and why.

Rows that differ in nothing but a layer's number stand once, with a count; reasons stand below, each once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from ..errors import FirstlightError
from ..graphs.records import Parameter, Status
from ..initializers.base import Initializer
from ..initializers.draws import moments
from ..initializers.elementwise import Normal
from ..initializers.orthogonal import Orthogonal
from ..reports.names import cut_front, in_one, unnumbered
from ..reports.text import table
from .records import Entry, Keep, NormOf, OwnReset

HEADER = ("parameter", "shape", "role", "fan in/out", "meets", "initializer", "std", "why")


@dataclass(frozen=True, slots=True)
class Row:
    """One line: the entries it stands for, and its cells but the last."""

    entries: tuple[Entry, ...]
    cells: tuple[str, ...]
    reasons: tuple[str, ...]


def rendered(scheme: str, entries: Sequence[Entry], *, width: int | None = None, collapse: bool = True) -> str:
    """The table and the reasons under it; ``width`` cuts the longest names."""
    rows = rows_of(entries, collapse=collapse)
    notes: dict[str, int] = {}
    lines = []
    for row in rows:
        numbers = [notes.setdefault(reason, len(notes) + 1) for reason in row.reasons]
        lines.append((*row.cells, ",".join(f"[{n}]" for n in numbers)))
    used = [i for i in range(len(HEADER)) if any(line[i] for line in lines)]
    header = [HEADER[i] for i in used]
    body = _fitted(header, [[line[i] for i in used] for line in lines], width)
    shown = table(header, body, left=len(header))
    parameters = sum(math.prod(e.parameter.layout.shape) for e in entries)
    title = f"{scheme}: {len(entries)} tensors, {parameters:,} values"
    below = [f"[{n}] {reason}" for reason, n in notes.items()]
    return "\n".join([title, "", shown, "", *below])


def rows_of(entries: Sequence[Entry], *, collapse: bool = True) -> list[Row]:
    """The rows, in the order of their first entries."""
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for i, entry in enumerate(entries):
        groups.setdefault(_kind(entry) if collapse else (i,), []).append(entry)
    return [_row(tuple(group)) for group in groups.values()]


def std_of(entry: Entry) -> float | None:
    """The standard deviation an entry's values have in theory; ``None`` where it is not known."""
    if not isinstance(entry.decision, Initializer):
        return None
    try:
        found = moments(entry.decision.draw(entry.parameter.layout))
    except FirstlightError:
        return None
    return None if found is None else found[1]


def described(entry: Entry) -> str:
    """A decision in few words."""
    match entry.decision:
        case None:
            return "undecided"
        case Keep():
            return "kept"
        case OwnReset():
            return "its module's own"
        case NormOf(direction):
            return f"‖{direction.rpartition('.')[2]}‖"
        case Normal(mean=0, std=std):
            return f"Normal({std:.3g})"
        case decision:
            values = [getattr(decision, f.name) for f in fields(decision)]  # type: ignore[arg-type]
            words = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in values)
            return f"{type(decision).__name__}({', '.join(words)})"


def why(entry: Entry) -> str:
    """The reason with its reference, and how the role is known where that is a caveat."""
    caveat = {
        Status.UNUSED: "not used in this forward; ",
        Status.GUESSED: "behind a guess; ",
        Status.OPAQUE: "used by a call nothing is known of; ",
    }.get(entry.parameter.status, "")
    return f"{caveat}{entry.reason}" + (f". {entry.reference}" if entry.reference else "")


def _kind(entry: Entry) -> tuple[object, ...]:
    """What rows that stand together have in common."""
    p = entry.parameter
    name = unnumbered(p.name)
    # Of these the scale may differ, and of reasons the numbers: the row shows their ranges.
    scaled = isinstance(entry.decision, Normal | Orthogonal)
    decision = type(entry.decision).__name__ if scaled else repr(entry.decision)
    reason = re.sub(r"[\d.]+(e-?\d+)?", "#", entry.reason)
    return name, p.layout.shape, p.role, p.status, _meets(p), decision, reason


def _row(group: tuple[Entry, ...]) -> Row:
    first, p = group[0], group[0].parameter
    count = f" ×{len(group)}" if len(group) > 1 else ""
    stds = [s for s in map(std_of, group) if s is not None]
    kinds = {described(e) for e in group}
    initializer = described(first) if len(kinds) == 1 else type(first.decision).__name__
    mapped = p.layout.out_axis is not None or p.layout.fan_in != 1
    cells = (
        in_one([e.parameter.name for e in group]) + count,
        "×".join(map(str, p.layout.shape)) or "scalar",
        p.role.value + (", head" if p.is_head and mapped else ""),
        f"{p.layout.fan_in:g} / {p.layout.fan_out:g}" if mapped else "",
        _meets(p),
        initializer,
        _range(stds),
    )
    reasons = why(first) if len(group) == 1 else _generic([why(e) for e in group])
    return Row(group, cells, (reasons,))


def _generic(reasons: Sequence[str]) -> str:
    """One reason for many: numbers that differ become their range."""
    pieces = [re.split(r"(\d+(?:\.\d+)?(?:e-?\d+)?)", r) for r in reasons]
    if any(len(p) != len(pieces[0]) for p in pieces):
        return reasons[0]
    out = []
    for i, column in enumerate(zip(*pieces, strict=True)):
        values = sorted(set(column), key=float) if i % 2 else [column[0]]
        out.append(values[0] if len(values) == 1 else f"{values[0]}–{values[-1]}")
    return "".join(out)


def _meets(p: Parameter) -> str:
    if p.layout.out_axis is None or not p.uses:
        return ""
    use = p.uses[0]
    joined = f"+ {use.branch.total} branches" if use.branch is not None and use.branch.total > 1 else ""
    return ", ".join(filter(None, ["norm" if use.normalized else "", use.meets, joined]))


def _range(stds: Sequence[float]) -> str:
    if not stds:
        return "–"
    low, high = f"{min(stds):.3g}", f"{max(stds):.3g}"
    return low if low == high else f"{low}–{high}"


def _fitted(header: Sequence[str], rows: Iterable[Sequence[str]], width: int | None) -> list[list[str]]:
    """The rows with the beginnings of long names cut off until the table fits."""
    body = [list(r) for r in rows]
    if width is None or not body:
        return body
    widths = [max(len(h), *(len(r[i]) for r in body)) for i, h in enumerate(header)]
    over = sum(widths) + 2 * (len(widths) - 1) - width
    room = max(16, widths[0] - over)
    for row in body:
        if over > 0:
            row[0] = cut_front(row[0], room)
    return body
