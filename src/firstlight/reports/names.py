"""Paths of a network's parts as a table shows them: those that differ in a layer's number alone stand as one.

The tables of plans, probes and transfers group their rows by ``unnumbered`` and write a group's name with ``in_one``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def unnumbered(path: str) -> str:
    """A path without its numbers: equal for layers that stand together.

    >>> unnumbered("h.11.attn.weight")
    'h.#.attn.weight'
    """
    return re.sub(r"\d+", "#", path)


def in_one(paths: Sequence[str]) -> str:
    """Paths that differ in numbers alone, as one; the first where they differ in more.

    >>> in_one(["h.0.attn.weight", "h.1.attn.weight", "h.11.attn.weight"])
    'h.0–11.attn.weight'
    """
    pieces = [re.split(r"(\d+)", p) for p in paths]
    if len(paths) == 1 or any(len(p) != len(pieces[0]) for p in pieces):
        return paths[0]
    out = []
    for i, column in enumerate(zip(*pieces, strict=True)):
        numbers = sorted({int(c) for c in column}) if i % 2 else []
        out.append(f"{numbers[0]}–{numbers[-1]}" if len(numbers) > 1 else column[0])
    return "".join(out)


def cut_front(name: str, room: int) -> str:
    """A name whose beginning is cut off where it is too long: its end tells one from another.

    >>> cut_front("transformer.h.0.attn.weight", 12)
    '…attn.weight'
    """
    return name if len(name) <= room else f"…{name[len(name) - room + 1 :]}"
