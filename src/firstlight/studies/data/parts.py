"""What a reader gives: the arrays of a file or folder, already cut into parts or not, and the task they make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..tasks import Task, task_from_arrays, task_from_splits

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Inputs and labels of one part; ``classes`` where the file names them."""

    inputs: Array
    labels: Array
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What was read: all examples as ``train``, or parts that the file already tells apart."""

    train: Part
    test: Part | None = None
    validation: Part | None = None


def with_test(parts: Parts, test: Parts | None) -> Parts:
    """The parts with another file as the test part; DataError where there is one already."""
    if test is None:
        return parts
    if parts.test is not None or test.test is not None:
        raise DataError("the data has a test part of its own, so test= (--test-data) is one too many: leave it out")
    return Parts(parts.train, test.train, parts.validation)


def make(parts: Parts, name: str, description: str, limit: int | None, split_seed: int) -> Task:
    """The task the parts make: cut at random where they are not cut yet."""
    train, test, validation = parts.train, parts.test, parts.validation
    classes = _shared_classes(parts)
    if test is not None:
        return task_from_splits(
            (train.inputs, train.labels),
            (test.inputs, test.labels),
            (validation.inputs, validation.labels) if validation is not None else None,
            name=name,
            description=description,
            classes=classes,
            split_seed=split_seed,
            limit=limit,
        )
    if validation is not None:
        raise DataError(f"{name!r} has a validation part and no test part: add one, or give one file to be cut")
    return task_from_arrays(
        train.inputs,
        train.labels,
        name=name,
        description=description,
        classes=classes,
        split_seed=split_seed,
        limit=limit,
    )


def _shared_classes(parts: Parts) -> tuple[str, ...] | None:
    """The classes' names, the same in every part; names seen in any part where a file lists only its own."""
    named = [p.classes for p in (parts.train, parts.test, parts.validation) if p is not None and p.classes is not None]
    if not named:
        return None
    if len({tuple(n) for n in named}) > 1:
        raise DataError(f"the parts have different classes: {' and '.join(', '.join(n[:12]) for n in named[:2])}")
    return named[0]
