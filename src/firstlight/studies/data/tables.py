"""Tables with a label column: CSV, TSV and Parquet, of numbers or of images as Hugging Face stores them.

pyarrow is an extra.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, MissingExtraError
from .parts import Array, Part, Parts
from .pictures import decode

_LABELS = ("label", "labels", "target", "class", "y", "fine_label")


def read_table(path: Path, label: str | None, size: int | None) -> Parts:
    """The examples of one table.

    Args:
        path: .csv, .tsv or .parquet; in Parquet, a folder of files of one part.
        label: the label column; ``label``, ``target``, ``class`` or ``y`` unless given.
        size: pixels a side to resize images to.

    Raises:
        DataError: the file is broken, has no such column, or columns that are no numbers.
        MissingExtraError: pyarrow is not installed.
    """
    table, names = _read(path)
    if not table.num_rows:
        raise DataError(f"{str(path)!r} has no rows")
    doubled = sorted({n for n in names if names.count(n) > 1})
    if doubled:
        raise DataError(f"{str(path)!r} has more than one column {doubled[0]!r}: name each column differently")
    label = _label(path, names, label)
    labels = _labels(path, table, label)
    classes = _class_names(table, label)
    images = [n for n in names if n != label and _is_image(table.schema.field(n).type)]
    if images:
        return Parts(Part(_images(path, table, images[0], size), labels, classes))
    return Parts(Part(_numbers(path, table, [n for n in names if n != label]), labels, classes))


def _read(path: Path) -> tuple[Any, list[str]]:
    """The table, and its columns' names, which need not be text in a broken file."""
    try:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError.of("reading tables", "data") from error
    try:
        if path.suffix.lower() == ".parquet":
            table = pa.parquet.read_table(path)
        else:
            delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
            table = pa.csv.read_csv(path, parse_options=pa.csv.ParseOptions(delimiter=delimiter))
        return table, list(table.column_names)
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
        first = (str(error).splitlines() or [repr(error)])[0]
        raise DataError(f"{str(path)!r} is no intact {path.suffix[1:].upper()} table ({first})") from error


def _label(path: Path, names: list[str], label: str | None) -> str:
    if label is not None:
        if label not in names:
            raise DataError(f"{str(path)!r} has no column {label!r}; its columns are {_some(names)}")
        return label
    found = [n for n in names if n.lower() in _LABELS]
    if len(found) != 1:
        what = "no label column" if not found else f"more than one that may be the label ({', '.join(found)})"
        raise DataError(f"{str(path)!r} has {what}; name it with label= (--label). Its columns are {_some(names)}")
    return found[0]


def _labels(path: Path, table: Any, label: str) -> Array:
    column = table[label].combine_chunks()
    if column.null_count:
        raise DataError(f"{column.null_count} rows of {str(path)!r} have no {label!r}: fill or drop them")
    if str(column.type).startswith("dictionary"):
        column = column.dictionary_decode()
    values = np.asarray(column.to_numpy(zero_copy_only=False))
    if values.dtype.kind == "O" and not all(isinstance(v, str) for v in values):
        raise DataError(f"the label column {label!r} of {str(path)!r} holds {column.type}: give names or whole numbers")
    if values.dtype.kind in "iub" and values.size and (values.min() > 0):
        # Classes that are numbered from 1, or by codes, are names.
        return values.astype(str)
    return values.astype(str) if values.dtype.kind == "O" else values


def _numbers(path: Path, table: Any, names: list[str]) -> Array:
    if not names:
        raise DataError(f"{str(path)!r} has a label and no other column: there is nothing to learn from")
    columns = []
    for name in names:
        column, kind = table[name].combine_chunks(), str(table.schema.field(name).type)
        if not kind.startswith(("int", "uint", "float", "double", "half", "bool", "decimal")):
            raise DataError(
                f"the column {name!r} of {str(path)!r} holds {kind}, not numbers: encode it as numbers or drop it"
            )
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise DataError(f"the column {name!r} of {str(path)!r} is empty in row {row + 1}: fill or drop such rows")
        values = np.asarray(column.to_numpy(zero_copy_only=False)).astype(np.float64)
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise DataError(
                f"the column {name!r} of {str(path)!r} holds {values[row]} in row {row + 1}: fill or drop it"
            )
        columns.append(values.astype(np.float32))
    return np.stack(columns, axis=1)


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


def _class_names(table: Any, label: str) -> tuple[str, ...] | None:
    """The classes' names in the schema's metadata: where Hugging Face keeps them, or a list under ``classes``."""
    metadata = table.schema.metadata or {}
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, ValueError, TypeError):
        names = metadata.get(b"classes", b"").decode("utf-8", "replace").split(",")
    if isinstance(names, dict):
        names = [names[k] for k in sorted(names, key=int)]
    return tuple(str(n).strip() for n in names) if isinstance(names, list) and all(names) else None


def _some(names: list[str]) -> str:
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
