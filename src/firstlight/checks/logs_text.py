"""Tables of text: a header and rows, or numbers alone; the delimiter is found."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from ..errors import DataError
from .logs_columns import Column, columns_of

# What C's printf and a printed tensor leave behind.
_ODD = re.compile(r"[+-]?(?:nan\(\w*\)|1\.#(?:qnan|snan|ind|(?P<inf>inf))\d*)", re.IGNORECASE)
_NAMED = re.compile(r"tensor\((?P<value>[^,()]+)(?:,.*)?\)")
_MISSING = frozenset({"", "-", "–", "na", "n/a", "none", "null"})


def read_table(text: str, path: Path) -> Mapping[str, Column]:
    """The columns of a table; cells that are empty are left out, cells that hold words make no column.

    Raises:
        DataError: a line has more cells than the header, or a cell of a column of numbers is a word.
    """
    lines = text.splitlines()
    start = _header_at(lines)
    delimiter = _delimiter(lines[start])
    table = _cells(lines, start, delimiter, path)
    header = [cell.strip() for cell in table[0][1]]
    if header and header[0].startswith("#"):
        header = [h for h in [header[0].lstrip("# "), *header[1:]] if h]
    body = table[1:]
    if all(_number(cell, delimiter) is not None for cell in header):
        body, header = table, ["loss"] if len(header) == 1 else ["step", "loss", *map(str, range(3, len(header) + 1))]
    return columns_of(_rows(header, body, delimiter, path))


def _header_at(lines: list[str]) -> int:
    """The first line; a comment only where numbers follow it, which it then names."""
    full = [i for i, line in enumerate(lines) if line.strip()]
    for at, after in pairwise(full):
        named = _number(re.split(r"[,;\t| ]", lines[after].strip())[0], ";") is not None
        if not lines[at].lstrip().startswith("#") or named:
            return at
    return full[-1]


def _delimiter(line: str) -> str:
    """Of the usual ones, the one that splits the first line most often; spaces where none does."""
    best = max(",;\t|", key=line.count)
    return best if line.count(best) else " "


def _cells(lines: list[str], start: int, delimiter: str, path: Path) -> list[tuple[int, list[str]]]:
    """The cells of each line that is neither empty nor a comment, with its number."""
    kept = [
        (i, line)
        for i, line in enumerate(lines, start=1)
        if i > start and line.strip() and (i == start + 1 or not line.lstrip().startswith("#"))
    ]
    if delimiter == " ":
        return [(i, line.split()) for i, line in kept]
    table = []
    for i, line in kept:
        try:
            table.append((i, next(csv.reader(io.StringIO(line), delimiter=delimiter, strict=True))))
        except (csv.Error, StopIteration) as error:
            raise DataError(f"{str(path)!r}, line {i}: {error or 'nothing on it'}") from None
    return table


def _rows(header: list[str], body: list[tuple[int, list[str]]], delimiter: str, path: Path) -> list[dict[str, float]]:
    rows: list[dict[str, float]] = []
    words = _worded(header, body, delimiter)
    for i, cells in body:
        if len([c for c in cells if c.strip()]) > len(header):
            raise DataError(f"{str(path)!r}, line {i}: {len(cells)} cells, and the header has {len(header)}")
        row = {}
        for name, cell in zip(header, cells, strict=False):
            if name in words or cell.strip().lower() in _MISSING:
                continue
            value = _number(cell, delimiter)
            if value is None:
                raise DataError(f"{str(path)!r}, line {i}: {cell.strip()[:40]!r} in column {name!r} is no number")
            row[name] = value
        rows.append(row)
    return rows


def _worded(header: list[str], body: list[tuple[int, list[str]]], delimiter: str) -> set[str]:
    """The columns that hold words: dates, names of phases. One whose first cells are numbers is meant to be numbers."""
    words = set()
    for j, name in enumerate(header):
        cells = [c[j] for _, c in body if j < len(c) and c[j].strip().lower() not in _MISSING][:5]
        if cells and all(_number(c, delimiter) is None for c in cells):
            words.add(name)
    return words


def _number(cell: str, delimiter: str) -> float | None:
    """The number a cell holds; a decimal comma is one where commas do not separate."""
    text = cell.strip()
    if named := _NAMED.fullmatch(text):
        text = named["value"]
    elif odd := _ODD.fullmatch(text):
        return math.inf if odd["inf"] else math.nan
    if delimiter != "," and text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None
