"""What differs between two plans of one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..reports.text import counted, table
from .records import Entry
from .table import described, std_of


@dataclass(frozen=True, slots=True)
class Difference:
    """The parameters that only one plan has, and those that get something else.

    Args:
        removed, added: names that only the first, or only the second plan has.
        changed: the entries that decide differently, as they were and as they are.
    """

    removed: tuple[str, ...]
    added: tuple[str, ...]
    changed: tuple[tuple[Entry, Entry], ...]

    def __bool__(self) -> bool:
        return bool(self.removed or self.added or self.changed)

    def __str__(self) -> str:
        if not self:
            return "the plans decide alike"
        lines = [f"- {name}" for name in self.removed] + [f"+ {name}" for name in self.added]
        if self.changed:
            rows = [(a.parameter.name, *_shown(a), "→", *_shown(b)) for a, b in self.changed]
            header = ("parameter", "was", "std", "", "is", "std")
            lines = [f"{counted(len(self.changed), 'decision')} differ", "", table(header, rows, left=6), *lines]
        return "\n".join(lines)


def difference(before: Sequence[Entry], after: Sequence[Entry]) -> Difference:
    """What differs from ``before`` to ``after``, by parameter name; reasons alone do not count."""
    old, new = ({e.parameter.name: e for e in entries} for entries in (before, after))
    both = [(old[n], new[n]) for n in old if n in new]
    return Difference(
        tuple(n for n in old if n not in new),
        tuple(n for n in new if n not in old),
        tuple((a, b) for a, b in both if a.decision != b.decision),
    )


def _shown(entry: Entry) -> tuple[str, str]:
    std = std_of(entry)
    return described(entry), "–" if std is None else f"{std:.3g}"
