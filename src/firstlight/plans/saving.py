"""A plan as JSON and back, exactly: records field by field, decisions by their type's name.

Reading builds only the types listed here, checks every field's type, and runs nothing.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch

from .. import initializers
from ..errors import ArgumentError, FirstlightError
from ..initializers import Initializer
from .records import Entry, Keep, NormOf, OwnReset

VERSION = 1
_LARGEST = 1.7e308  # JSON's numbers have no end, Python's whole ones neither
_DECISIONS: Mapping[str, type] = {
    cls.__name__: cls
    for cls in (Keep, NormOf, OwnReset, *vars(initializers).values())
    if isinstance(cls, type) and is_dataclass(cls) and (issubclass(cls, Initializer) or cls in (Keep, NormOf, OwnReset))
}


def dumped(scheme: str, entries: Sequence[Entry]) -> str:
    """The JSON text.

    Raises:
        ArgumentError: a decision is of a type that holds more than numbers, such as weights from a file.
    """
    whole = {"firstlight_plan": VERSION, "scheme": scheme, "entries": [written(e) for e in entries]}
    return json.dumps(whole, indent=1, allow_nan=False)


def loaded(text: str) -> tuple[str, tuple[Entry, ...]]:
    """The scheme's text and the entries.

    Raises:
        ArgumentError: the text is no plan, of another version, or something in it has no such type.
    """
    try:
        whole = json.loads(text)
    except (json.JSONDecodeError, RecursionError, UnicodeDecodeError, TypeError) as error:
        raise ArgumentError(f"this is no plan's JSON: {error}") from error
    if not isinstance(whole, dict) or "firstlight_plan" not in whole:
        raise ArgumentError("this JSON is no plan: it has no key 'firstlight_plan'")
    if whole["firstlight_plan"] != VERSION:
        raise ArgumentError(
            f"the plan has version {whole['firstlight_plan']!r}; this firstlight reads version {VERSION}"
        )
    entries = whole.get("entries")
    if not isinstance(entries, list) or not isinstance(whole.get("scheme"), str):
        raise ArgumentError("the plan lacks its scheme or its entries")
    return whole["scheme"], tuple(_entry(e, f"entries[{i}]") for i, e in enumerate(entries))


def written(value: object) -> Any:
    """A record as JSON's own types: dataclasses as objects, tuples as lists, numbers that JSON lacks as words."""
    if is_dataclass(value) and not isinstance(value, type):
        out = {f.name: written(getattr(value, f.name)) for f in fields(value)}
        if isinstance(value, Initializer | Keep | NormOf | OwnReset):
            name = type(value).__name__
            if _DECISIONS.get(name) is not type(value):
                raise ArgumentError(f"{value!r} cannot be saved: it is more than numbers. Override it first.")
            return {"type": name, **out}
        return out
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [written(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _entry(value: object, where: str) -> Entry:
    return record(Entry, value, where)  # type: ignore[no-any-return]


def record(cls: type, value: object, where: str) -> Any:
    """A record from a JSON object, every field read by its type; ``where`` it stands is for messages."""
    if not isinstance(value, dict):
        raise ArgumentError(f"{where} should be an object that describes a {cls.__name__}")
    hints = get_type_hints(cls)
    known = {f.name for f in fields(cls)}
    strange = set(value) - known - {"type"}
    missing = known - set(value)
    if strange or missing:
        what = f"has {sorted(strange)[0]!r} besides" if strange else f"lacks {sorted(missing)[0]!r}"
        raise ArgumentError(f"{where} {what}: a {cls.__name__} has {', '.join(sorted(known)) or 'no fields'}")
    read = {name: _value(hints[name], value[name], f"{where}.{name}") for name in sorted(known)}
    try:
        return cls(**read)
    except FirstlightError as error:
        raise ArgumentError(f"{where}: {error}") from error


def _value(hint: Any, value: object, where: str) -> Any:
    origin, options = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _one_of(options, value, where)
    if origin is Literal:
        return _checked(value in options and isinstance(value, str | int), value, where, hint)
    if origin is tuple:
        listed: list[object] = _checked(isinstance(value, list), value, where, "list")
        return tuple(_value(options[0], v, f"{where}[{i}]") for i, v in enumerate(listed))
    if hint is float:
        if value in ("inf", "-inf", "nan"):
            return float(str(value))
        number = isinstance(value, float | int) and not isinstance(value, bool) and abs(value) <= _LARGEST
        return _checked(number, value, where, "number")
    if hint is torch.dtype:
        found = getattr(torch, value, None) if isinstance(value, str) else None
        return _checked(isinstance(found, torch.dtype), found, where, "dtype")
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(_checked(value in [m.value for m in hint], value, where, hint.__name__))
    if isinstance(hint, type) and is_dataclass(hint):
        return record(hint, value, where)
    if hint is int:
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        return _checked(whole, value, where, "whole number")
    return _checked(isinstance(value, hint), value, where, getattr(hint, "__name__", hint))


def _one_of(options: Sequence[Any], value: object, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    if any(isinstance(o, type) and issubclass(o, Initializer) for o in options):
        name = value.get("type") if isinstance(value, dict) else None
        if not isinstance(name, str) or name not in _DECISIONS:
            raise ArgumentError(f"{where} is of the type {name!r}; known are {', '.join(sorted(_DECISIONS))}")
        return record(_DECISIONS[name], value, where)
    return _value(next(o for o in options if o is not type(None)), value, where)


def _checked(fits: bool, value: Any, where: str, wanted: object) -> Any:
    if not fits:
        raise ArgumentError(f"{where} is {value!r}, which is no {wanted}")
    return value
