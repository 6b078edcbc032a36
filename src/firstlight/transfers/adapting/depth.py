"""Blocks that a deeper model has more than its source: which they are, for the two rules that supply them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..records import Match, Target


def extra_blocks(targets: Sequence[Target], matches: Mapping[str, Match]) -> dict[str, tuple[str, str, int, int]]:
    """Tensors of blocks without any match whose series begins with matched blocks.

    Returns:
        For each such tensor the name's part before the block's number, the part after it, the number, and how many
        blocks of the series, from 0, are matched.
    """
    # For each place where a number stands in a name: the numbers below which something is matched, or nothing is.
    held: dict[str, set[int]] = {}
    for target in targets:
        if target.name in matches:
            for above, number, _ in _places(target.name):
                held.setdefault(above, set()).add(number)
    found: dict[str, tuple[str, str, int, int]] = {}
    for target in targets:
        if target.name in matches:
            continue
        for above, number, below in _places(target.name):
            first = held.get(above, set())
            if first and number not in first and first == set(range(len(first))) and number >= len(first):
                found[target.name] = (above, below, number, len(first))
                break
    return found


def _places(name: str) -> list[tuple[str, int, str]]:
    """Each number among a name's segments, with what stands before and after it."""
    parts = name.split(".")
    return [
        ("".join(f"{p}." for p in parts[:i]), int(part), "".join(f".{p}" for p in parts[i + 1 :]))
        for i, part in enumerate(parts)
        if part.isdigit()
    ]
