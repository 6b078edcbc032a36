"""Columns of a log: values with the steps they stand at, however sparse. The readers of ``logs`` make them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

STEP_NAMES = ("step", "global_step", "steps", "iteration", "iterations", "iter", "update", "batch", "it", "epoch")


@dataclass(slots=True)
class Column:
    """The finite or infinite numbers of one name, in the file's order, and the step of each."""

    steps: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def columns_of(rows: Sequence[Mapping[str, float]]) -> dict[str, Column]:
    """Rows of whatever numbers they hold, as columns over the best column of steps.

    That is the first of the usual names that never goes back (a step that starts anew each epoch does), else the row's
    number.

    >>> columns_of([{"step": 10, "loss": 2.0}, {"step": 20, "val": 1.0}])["loss"].steps
    [10.0]
    """
    names = {n.lower(): n for row in rows for n in row}
    step = next((names[n] for n in STEP_NAMES if n in names and _ascends(rows, names[n])), None)
    columns: dict[str, Column] = {}
    reached = 0.0
    for i, row in enumerate(rows, start=1):
        reached = row.get(step, reached) if step is not None else float(i)
        for name, value in row.items():
            if name.lower() not in STEP_NAMES:
                column = columns.setdefault(name, Column())
                column.steps.append(float(reached))
                column.values.append(float(value))
    return columns


def _ascends(rows: Sequence[Mapping[str, float]], name: str) -> bool:
    """Whether the column counts up: it moves and never goes back; epochs that many rows share tell too little."""
    values = [row[name] for row in rows if name in row]
    if not all(map(math.isfinite, values)) or any(a > b for a, b in pairwise(values)):
        return False
    kinds = len(set(values))
    return kinds > len(values) // 2 if name.lower() == "epoch" else kinds > 1 or len(values) < 2
