"""``load_task``: from what a user names to a task, by the reader that fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...errors import ArgumentError, DataError, ModelError, UnknownNameError
from ..tasks import Task, task_from_arrays, task_from_splits
from .digits import digits, digits10
from .factories import is_factory, load_factory
from .images import read_folder, read_zip
from .npz import read_npz
from .parts import PART_NAMES, Part, Parts, make, with_test
from .tables import read_table

DATASETS: Mapping[str, Callable[[], Task]] = MappingProxyType({"digits": digits, "digits10": digits10})
_TABLES = (".csv", ".tsv", ".parquet")


def load_task(
    spec: Task | str | Path | Sequence[Any],
    *,
    test: str | Path | None = None,
    label: str | None = None,
    image_size: int | None = None,
    limit: int | None = None,
    split_seed: int = 0,
) -> Task:
    """The task that ``spec`` names.

    Args:
        spec: ``"digits"`` or ``"digits10"``; a path (.npz, .csv, .tsv, .parquet, .zip of images by class, a folder of
            images by class, or a folder with train.parquet and test.parquet); ``"file.py:function"``, which gives a
            task, ``(inputs, labels)``, or a dict of such pairs with the keys train, test and perhaps validation;
            ``(inputs, labels)`` itself; or a task.
        test: the test part, where it is a file of its own.
        label: the label column of a table; its values are classes' numbers where the file names them, else names.
        image_size: pixels a side to resize images to.
        limit: at most so many training and validation examples, each class in its share.
        split_seed: decides how data that is not cut yet is cut: 50 % to train, 20 % to validate, 30 % to test.

    Raises:
        UnknownNameError: it is neither a file nor an embedded data set; the nearest are shown.
        DataError: it cannot be read, or there is nothing in it to learn.
        MissingExtraError: the reader needs pyarrow or Pillow.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ArgumentError(f"limit={limit!r} should be a whole number from 1")
    options = {"test": test, "label": label, "image_size": image_size, "limit": limit}
    if isinstance(spec, Task):
        return _whole(spec, options)
    if not isinstance(spec, str | Path):
        return _whole(_from_value(spec, "the data"), options)
    text = str(spec)
    if text in DATASETS:
        return _whole(DATASETS[text](), options)
    path = Path(text)
    if not path.exists() and is_factory(text):
        return _whole(_from_factory(text), options)
    parts = with_test(_read(path, label, image_size), _read(Path(test), label, image_size) if test else None)
    about = path.name + (f" and {Path(test).name}" if test else "")
    try:
        return make(parts, path.stem, f"{about}.", limit, split_seed)
    except DataError as error:
        raise DataError(f"{about}: {error}") from error


def _whole(task: Task, options: Mapping[str, object]) -> Task:
    """A task that is already cut takes no options of readers."""
    for name, value in options.items():
        if value is not None:
            raise ArgumentError(f"{name}={value!r} is for files; the task {task.name!r} is already made")
    return task


def _read(path: Path, label: str | None, size: int | None) -> Parts:
    suffix = path.suffix.lower()
    if not path.exists():
        raise UnknownNameError.of("data set, and no such file,", str(path), DATASETS)
    if path.is_dir():
        return _read_directory(path, label, size)
    if not path.stat().st_size:
        raise DataError(f"{str(path)!r} is empty")
    _refuse_unused(path, {"label": (label, _TABLES), "image_size": (size, (".parquet", ".zip"))})
    if suffix == ".npz":
        return read_npz(path)
    if suffix in _TABLES:
        return read_table(path, label, size)
    if suffix == ".zip":
        return read_zip(path, size)
    raise DataError(
        f"{str(path)!r} is of no kind that is read: .npz, {', '.join(_TABLES)}, .zip, or a folder of images"
    )


def _refuse_unused(path: Path, options: Mapping[str, tuple[object, tuple[str, ...]]]) -> None:
    for name, (value, kinds) in options.items():
        if value is not None and path.suffix.lower() not in kinds:
            raise ArgumentError(f"{name}={value!r} is for {', '.join(kinds)} files, and {str(path)!r} is none")


def _read_directory(path: Path, label: str | None, size: int | None) -> Parts:
    tables = sorted(path.glob("*.parquet"))
    if not tables:
        return read_folder(path, size)
    held = ", ".join(t.name for t in tables)
    found: dict[str, Part] = {}
    for table in tables:
        named = {PART_NAMES[word] for word in re.split("[^a-z]+", table.stem.lower()) if word in PART_NAMES}
        if len(named) != 1 or not named.isdisjoint(found):
            raise DataError(
                f"{str(path)!r} holds {held}: it should hold one train.parquet and one test.parquet, and perhaps one "
                f"validation.parquet, by names such as set-train-0.parquet; {table.name} is none of them"
            )
        found[named.pop()] = read_table(table, label, size).train
    if "train" not in found or "test" not in found:
        raise DataError(f"{str(path)!r} should hold one train.parquet and one test.parquet; it has {held}")
    return Parts(found["train"], found["test"], found.get("validation"))


def _from_factory(spec: str) -> Task:
    function = load_factory(spec)
    try:
        value = function()
    except Exception as error:
        raise ModelError(f"{spec!r} raised {type(error).__name__}: {error}") from error
    return _from_value(value, spec.rpartition(":")[2])


def _from_value(value: Any, name: str) -> Task:
    if isinstance(value, Task):
        return value
    if isinstance(value, Mapping):
        strange = set(value) - {"train", "test", "validation"}
        if strange or "train" not in value or "test" not in value:
            raise DataError(
                f"{name} gave a dict with {', '.join(map(str, value))}: its keys should be train, test, validation"
            )
        return task_from_splits(value["train"], value["test"], value.get("validation"), name=name)
    if isinstance(value, list | tuple) and len(value) == 2:
        return task_from_arrays(value[0], value[1], name=name)
    raise DataError(f"{name} is {type(value).__name__}: give a Task, (inputs, labels), or a dict of such pairs")
