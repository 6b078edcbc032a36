"""JSON logs: one object a line, a list of them, an object of lists, or transformers' ``trainer_state.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError
from .logs_columns import Column, columns_of

_DEEPEST = 4


def read_json(text: str, path: Path) -> Mapping[str, Column]:
    """The columns of a JSON log; objects inside an object give ``outer/inner``.

    Raises:
        DataError: a line is no JSON, or what it holds is no log.
    """
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return columns_of([_row(value, path, i) for i, value in _lines(text, path)])
    if isinstance(whole, dict) and isinstance(whole.get("log_history"), list):
        whole = whole["log_history"]
    if isinstance(whole, list):
        if all(_numeric(v) or v is None for v in whole):
            return columns_of([{} if v is None else {"loss": _float(v)} for v in whole])
        return columns_of([_row(value, path, i, "entry") for i, value in enumerate(whole, start=1)])
    if isinstance(whole, dict):
        lists = {k: v for k, v in whole.items() if isinstance(v, list) and v and all(map(_numeric, v))}
        if lists:
            return columns_of(_transposed(lists))
        return columns_of([_row(whole, path, 1)])
    raise DataError(f"{str(path)!r} holds {type(whole).__name__}, not a log: objects with a loss, one a line")


def _lines(text: str, path: Path) -> list[tuple[int, Any]]:
    values = []
    for i, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                values.append((i, json.loads(line)))
            except ValueError as error:
                raise DataError(f"{str(path)!r}, line {i}: no JSON: {error}") from None
            except RecursionError:
                raise DataError(f"{str(path)!r}, line {i}: nested too deep") from None
    return values


def _row(value: Any, path: Path, number: int, kind: str = "line", prefix: str = "", depth: int = 0) -> dict[str, float]:
    """The numbers of one object."""
    if not isinstance(value, dict):
        if _numeric(value):
            return {"loss": _float(value)}
        raise DataError(f"{str(path)!r}, {kind} {number}: {str(value)[:40]!r} is no object with a loss")
    row: dict[str, float] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and depth < _DEEPEST:
            row |= _row(inner, path, number, kind, f"{prefix}{key}/", depth + 1)
        elif _numeric(inner):
            row[prefix + key] = _float(inner)
    return row


def _transposed(lists: Mapping[str, list[Any]]) -> list[dict[str, float]]:
    longest = max(map(len, lists.values()))
    return [{k: _float(v[i]) for k, v in lists.items() if i < len(v)} for i in range(longest)]


def _numeric(value: Any) -> bool:
    """A number, or a word that stands for one where JSON has none ("NaN")."""
    if isinstance(value, str):
        return value.strip().lower().lstrip("+-") in ("nan", "inf", "infinity")
    return isinstance(value, int | float) and not isinstance(value, bool)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
