"""Tables with a label column: CSV, TSV and Parquet, of numbers or of images as Hugging Face stores them.

pyarrow is an extra.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, MissingExtraError
from ..labels import clean, some
from .parts import Array, Part, Parts
from .pictures import decode

_LABELS = ("label", "labels", "target", "class", "y", "fine_label")
# A column without a name, as pandas writes an index: it counts rows and tells nothing about them.
_INDEX = re.compile(r"|Unnamed: 0|__index_level_\d+__")
_NUMBERS = ("int", "uint", "float", "double", "half", "bool", "decimal")


def read_table(path: Path, label: str | None, size: int | None) -> Parts:
    """The examples of one table.

    Args:
        path: .csv, .tsv or .parquet.
        label: the label column; ``label``, ``target``, ``class`` or ``y`` unless given.
        size: pixels a side to resize images to.

    Raises:
        DataError: the file is broken, has no such column, or columns that are no numbers.
        MissingExtraError: pyarrow is not installed.
    """
    arrow = _pyarrow()
    if path.suffix.lower() == ".parquet":
        with _intact(arrow, path):
            table = arrow.parquet.read_table(path)
            names = list(table.column_names)
        label = _label(path, names, label)
    else:
        table, label = _read_csv(arrow, path, label)
        names = list(table.column_names)
    if not table.num_rows:
        raise DataError(f"{str(path)!r} has no rows")
    labels, classes = _labels(path, table, label), _class_names(path, table, label)
    inputs = [n for n in names if n != label and not _INDEX.fullmatch(n)]
    images = [n for n in inputs if _is_image(table.schema.field(n).type)]
    if len(images) > 1:
        raise DataError(f"{str(path)!r} has more than one column of images ({', '.join(images)}): keep one")
    if images:
        return Parts(Part(_images(path, table, images[0], size), labels, classes))
    return Parts(Part(_numbers(path, table, inputs), labels, classes, tuple(inputs)))


def _pyarrow() -> Any:
    try:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError.of("reading tables", "data") from error
    return pa


@contextlib.contextmanager
def _intact(arrow: Any, path: Path) -> Iterator[None]:
    try:
        yield
    except (arrow.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
        first = (str(error).splitlines() or [repr(error)])[0]
        raise DataError(f"{str(path)!r} is no intact {path.suffix[1:].upper()} table ({first})") from error


def _read_csv(arrow: Any, path: Path, label: str | None) -> tuple[Any, str]:
    """The table and its label column, which stays text: what a type is guessed from differs from file to file."""
    with _intact(arrow, path):
        parsing = arrow.csv.ParseOptions(delimiter=_delimiter(path))
        with arrow.csv.open_csv(path, parse_options=parsing) as reader:
            written = list(reader.schema.names)
    names = [clean(name) for name in written]
    _refuse_no_header(path, names)
    label = _label(path, names, label)
    conversion = arrow.csv.ConvertOptions(
        column_types={written[names.index(label)]: arrow.string()},
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    with _intact(arrow, path):
        return arrow.csv.read_csv(path, parse_options=parsing, convert_options=conversion).rename_columns(names), label


def _delimiter(path: Path) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    with path.open("rb") as file:
        header = file.readline(1 << 20)
    return ";" if b";" in header and b"," not in header else ","


def _refuse_no_header(path: Path, names: list[str]) -> None:
    """Numbers for names are the first example, unless they count the columns as pandas does."""
    counted = [[str(i + first) for i in range(len(names))] for first in (0, 1)]
    if len(names) > 1 and names not in counted and all(_number(name) is not None for name in names):
        raise DataError(
            f"{str(path)!r} starts with numbers ({some(names)}) and has no header: add a row of names of columns"
        )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _label(path: Path, names: list[str], label: str | None) -> str:
    doubled = sorted({n for n in names if names.count(n) > 1})
    if doubled:
        raise DataError(f"{str(path)!r} has more than one column {doubled[0]!r}: name each column differently")
    if label is not None:
        if label not in names:
            raise DataError(f"{str(path)!r} has no column {label!r}; its columns are {some(names)}")
        return label
    found = [n for n in names if n.lower() in _LABELS]
    if len(found) != 1:
        what = "no label column" if not found else f"more than one that may be the label ({', '.join(found)})"
        raise DataError(f"{str(path)!r} has {what}; name it with label= (--label). Its columns are {some(names)}")
    return found[0]


def _labels(path: Path, table: Any, label: str) -> Array:
    column, what = table[label].combine_chunks(), f"the label column {label!r} of {str(path)!r}"
    if str(column.type).startswith("dictionary"):
        column = column.dictionary_decode()
    if column.null_count:
        raise DataError(
            f"{column.null_count} rows of {str(path)!r} have no {label!r}: fill or drop them (in a CSV file, quote a "
            "name such as NA)"
        )
    values = np.asarray(column.to_numpy(zero_copy_only=False))
    if values.dtype.kind in "biuf":
        return values
    if not all(isinstance(v, str) for v in values):
        raise DataError(f"{what} holds {column.type}: give names or whole numbers")
    values = values.astype(np.str_)
    return values if path.suffix.lower() == ".parquet" else _text_labels(values, what)


def _text_labels(values: Array, what: str) -> Array:
    """Labels of a CSV file: names, and whole numbers in the one form 1 for 1, +1, 1. and 1.0."""
    distinct, places = np.unique(values, return_inverse=True)
    names = [clean(str(name)) for name in distinct]
    numbers = [_number(name) for name in names]
    strange = next((n for n in numbers if n is not None and not (math.isfinite(n) and n == math.floor(n))), None)
    if strange is not None and None not in numbers:
        raise DataError(f"{what} holds {strange}; its numbers are no whole numbers, so they are no classes")
    forms = [re.fullmatch(r"\+?(-?[0-9]+)(?:\.0*)?", name) for name in names]
    return np.array([form[1] if form else name for form, name in zip(forms, names, strict=True)])[places]


def _numbers(path: Path, table: Any, names: list[str]) -> Array:
    if not names:
        raise DataError(f"{str(path)!r} has a label and no other column: there is nothing to learn from")
    return np.stack([_column(path, table, name) for name in names], axis=1)


def _column(path: Path, table: Any, name: str) -> Array:
    column, kind = table[name].combine_chunks(), str(table.schema.field(name).type)
    where = f"the column {name!r} of {str(path)!r}"
    if not kind.startswith(_NUMBERS):
        raise DataError(f"{where} holds {kind}, not numbers: encode it as numbers or drop it")
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"{where} is empty in row {row + 1}: fill or drop such rows")
    values = np.asarray(column.to_numpy(zero_copy_only=False)).astype(np.float64)
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    if not np.isfinite(single).all():
        row = int(np.flatnonzero(~np.isfinite(single))[0])
        raise DataError(f"{where} holds {values[row]} in row {row + 1}, not finite in float32: fill or drop it")
    return single


def _is_image(kind: Any) -> bool:
    """Hugging Face's image: a struct of bytes and path, or plain bytes."""
    text = str(kind)
    return (text.startswith("struct<") and "bytes:" in text) or text in ("binary", "large_binary")


def _images(path: Path, table: Any, name: str, size: int | None) -> Array:
    named = []
    for i, value in enumerate(table[name].to_pylist()):
        data = value.get("bytes") if isinstance(value, dict) else value
        if data is None:
            raise DataError(
                f"row {i + 1} of {str(path)!r} has no image bytes in {name!r} (only a path?): embed the images"
            )
        named.append((f"in row {i + 1} of {path.name}", data))
    return decode(named, size)


def _class_names(path: Path, table: Any, label: str) -> tuple[str, ...] | None:
    """The classes' names in the schema's metadata: where Hugging Face keeps them, or a list under ``classes``."""
    metadata = table.schema.metadata or {}
    try:
        found = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, ValueError, TypeError):
        found = metadata.get(b"classes", b"").decode("utf-8", "replace").split(",")
    if isinstance(found, dict):
        numbered = {str(k): found[k] for k in found}
        found = [numbered.get(str(i)) for i in range(len(numbered))]
        if None in found:
            raise DataError(f"{str(path)!r} numbers its classes {some(list(numbered))}, not from 0 without gaps")
    names = tuple(clean(str(n)) for n in found) if isinstance(found, list) else ()
    if not names or not all(names):
        return None
    doubled = next((n for n in names if names.count(n) > 1), None)
    if doubled is not None:
        raise DataError(f"{str(path)!r} has two classes of the name {doubled!r}: name each class differently")
    return names
