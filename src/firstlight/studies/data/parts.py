"""What a reader gives: the arrays of a file or folder, already cut into parts or not, and the task they make.

What one file cannot know is decided here, over all parts: the classes, the order of columns, grey or colour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..labels import in_order, plain, some
from ..tasks import Task, task_from_arrays, task_from_splits

Array = NDArray[np.generic]

# How folders and files call the parts.
PART_NAMES: Mapping[str, str] = MappingProxyType(
    {"train": "train", "training": "train", "test": "test", "testing": "test"}
    | {"val": "validation", "valid": "validation", "validation": "validation"}
)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Inputs and labels of one part.

    Args:
        inputs, labels: as ``task_from_arrays`` takes them.
        classes: the classes' names, by number, where the file has them; without, a label's number is its name.
        columns: the names of the inputs' columns, in a table.
    """

    inputs: Array
    labels: Array
    classes: tuple[str, ...] | None = None
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What was read: all examples as ``train``, or parts that the file already tells apart."""

    train: Part
    test: Part | None = None
    validation: Part | None = None

    def named(self) -> dict[str, Part]:
        """The parts there are."""
        every = {"train": self.train, "test": self.test, "validation": self.validation}
        return {name: part for name, part in every.items() if part is not None}


def with_test(parts: Parts, test: Parts | None) -> Parts:
    """The parts with another file as the test part; DataError where there is one already."""
    if test is None:
        return parts
    if parts.test is not None or test.test is not None:
        raise DataError("the data has a test part of its own, so test= (--test-data) is one too many: leave it out")
    if test.validation is not None:
        raise DataError("the test data (test=, --test-data) is cut into parts itself: give the part to test on")
    return Parts(parts.train, test.train, parts.validation)


def make(parts: Parts, name: str, description: str, limit: int | None, split_seed: int) -> Task:
    """The task the parts make: cut at random where they are not cut yet."""
    if parts.validation is not None and parts.test is None:
        raise DataError(f"{name!r} has a validation part and no test part: add one, or give one file to be cut")
    classes = _shared_classes(parts)
    named = _in_one_mode(_in_one_order(parts.named()))
    labels = {p: part.labels for p, part in named.items()} if classes is not None else _as_names(named)
    pairs = {p: (part.inputs, labels[p]) for p, part in named.items()}
    if "test" not in pairs:
        inputs, whole = pairs["train"]
        return task_from_arrays(
            inputs,
            whole,
            name=name,
            description=description,
            classes=classes,
            split_seed=split_seed,
            limit=limit,
        )
    return task_from_splits(
        pairs["train"],
        pairs["test"],
        pairs.get("validation"),
        name=name,
        description=description,
        classes=classes,
        split_seed=split_seed,
        limit=limit,
    )


def _shared_classes(parts: Parts) -> tuple[str, ...] | None:
    """The classes' names, by number, where any part has them: the same in every part that does."""
    found = [p.classes for p in parts.named().values() if p.classes is not None]
    if len(set(found)) > 1:
        raise DataError(f"the parts have different classes: {' and '.join(some(n) for n in found[:2])}")
    return found[0] if found else None


def _as_names(named: Mapping[str, Part]) -> dict[str, Array]:
    """Labels as names: in a file that names no classes a number is a code, and may start from 1 or leave gaps."""
    what = {"train": "the training part" if len(named) > 1 else "the data", "test": "the test part"}
    labels = {p: plain(part.labels, what.get(p, f"the {p} part")).astype(np.str_) for p, part in named.items()}
    codes = in_order(str(name) for part in labels.values() for name in np.unique(part))
    # Two classes may be -1 and 1; where there are more, a negative number most often marks what has no label.
    if len(codes) > 2 and codes[0].startswith("-") and codes[0][1:].isdigit():
        raise DataError(
            f"the label {codes[0]} beside {some(codes[1:])} may be a class or mark what is not labelled: drop such "
            "examples, or give the class a name"
        )
    return dict(labels)


def _in_one_order(named: dict[str, Part]) -> dict[str, Part]:
    """The parts with the training part's columns, in its order."""
    wanted = named["train"].columns
    if wanted is None:
        return named
    aligned = {}
    for name, part in named.items():
        if part.columns is not None and part.columns != wanted:
            _refuse_other_columns(name, part.columns, wanted)
            order = [part.columns.index(column) for column in wanted]
            part = replace(part, inputs=part.inputs[:, order], columns=wanted)
        aligned[name] = part
    return aligned


def _refuse_other_columns(name: str, columns: tuple[str, ...], wanted: tuple[str, ...]) -> None:
    missing, strange = ([c for c in a if c not in b] for a, b in ((wanted, columns), (columns, wanted)))
    if missing or strange:
        lacks = f"lacks {some([repr(c) for c in missing])}" if missing else ""
        has = f"has {some([repr(c) for c in strange])} besides" if strange else ""
        raise DataError(
            f"the {name} part {' and '.join(filter(None, (lacks, has)))}, unlike the training part: give both the same "
            "columns, under the same names"
        )


def _in_one_mode(named: dict[str, Part]) -> dict[str, Part]:
    """Pictures in grey as colour, where those of another part are in colour."""
    shapes = {part.inputs.shape[1:] for part in named.values() if part.inputs.dtype == np.uint8}
    if {s[0] for s in shapes if len(s) == 3} != {1, 3}:
        return named
    grey = {name: part for name, part in named.items() if part.inputs.ndim == 4 and part.inputs.shape[1] == 1}
    return named | {name: replace(part, inputs=np.repeat(part.inputs, 3, axis=1)) for name, part in grey.items()}
