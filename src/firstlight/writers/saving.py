"""A receipt as JSON and back, exactly. Reading checks every field's type and runs nothing."""

from __future__ import annotations

import json
import math
import types
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ..errors import ArgumentError

VERSION = 1
_KEY = "firstlight_receipt"
_FITS: dict[Any, Callable[[object], bool]] = {
    str: lambda v: isinstance(v, str),
    int: lambda v: isinstance(v, int) and not isinstance(v, bool) and abs(v) < 2**64,
    float: lambda v: isinstance(v, float | int) and not isinstance(v, bool) and abs(v) < 1.7e308,
    types.NoneType: lambda v: v is None,
}


def dumped(receipt: Any) -> str:
    """The JSON text of a receipt."""
    return json.dumps({_KEY: VERSION, **_finite(asdict(receipt))}, indent=1, allow_nan=False)


def loaded(cls: type, text: str | Path) -> Any:
    """The receipt, a ``cls``, from its text or from a file.

    Raises:
        ArgumentError: the text is no receipt, of another version, or something in it has no such type.
    """
    try:
        whole = json.loads(text.read_text(encoding="utf-8") if isinstance(text, Path) else text)
    except (OSError, ValueError, RecursionError, TypeError) as error:
        raise ArgumentError(f"this is no receipt's JSON: {error}") from error
    if not isinstance(whole, dict) or _KEY not in whole:
        raise ArgumentError(f"this JSON is no receipt: it has no key {_KEY!r}")
    version = whole.pop(_KEY)
    if version != VERSION or isinstance(version, bool):
        raise ArgumentError(f"the receipt has version {version!r}; this firstlight reads version {VERSION}")
    return _record(cls, whole, "the receipt")


def _finite(value: Any) -> Any:
    """The value with NaN and infinities as words, which JSON's numbers have none for."""
    match value:
        case dict():
            return {k: _finite(v) for k, v in value.items()}
        case tuple() | list():
            return [_finite(v) for v in value]
        case float() if not math.isfinite(value):
            return str(value)
        case _:
            return value


def _record(cls: type, value: object, where: str) -> Any:
    known = [f.name for f in fields(cls)]
    if not isinstance(value, dict) or set(value) != set(known):
        raise ArgumentError(f"{where} should have exactly the keys {', '.join(known)}")
    hints = get_type_hints(cls)
    return cls(**{name: _value(hints[name], value[name], f"{where}: {name}") for name in known})


def _value(hint: Any, value: Any, where: str) -> Any:
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ArgumentError(f"{where} is {value!r}, which is no list")
        return tuple(_value(get_args(hint)[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if is_dataclass(hint) and isinstance(hint, type):
        return _record(hint, value, where)
    if hint is float and value in ("nan", "inf", "-inf"):
        return math.nan if value == "nan" else float(value)
    options = get_args(hint) or (hint,)
    if not any(_FITS[option](value) for option in options):
        raise ArgumentError(f"{where} is {value!r}, which is no {hint}")
    return float(value) if hint is float else value
