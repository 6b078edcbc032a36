"""A ``Light`` as JSON and back, exactly: the same reader that plans have, field by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ArgumentError
from ..plans.saving import record, written
from ..reports.files import into

if TYPE_CHECKING:
    from .records import Light

VERSION = 1
_LIVE = ("findings", "graph")


def dumped(light: Light, path: str | Path | None) -> str:
    """The JSON text, also written to a path."""
    fields = written(light.bare())
    kept = {k: v for k, v in fields.items() if k not in _LIVE}
    return into(path, json.dumps({"firstlight_light": VERSION, **kept}, indent=1))


def loaded(source: str | Path, cls: type[Light]) -> Light:
    """The record that a JSON text or file holds.

    Raises:
        ArgumentError: it is no record's, of another version, or something in it has no such type.
    """
    try:
        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        whole = json.loads(text)
    except OSError as error:
        raise ArgumentError(f"cannot read {str(source)!r}: {error.strerror}") from error
    except (json.JSONDecodeError, RecursionError, UnicodeDecodeError, TypeError) as error:
        raise ArgumentError(f"this is no probe's JSON: {error}. Give the text, or a pathlib.Path to a file") from error
    if not isinstance(whole, dict) or "firstlight_light" not in whole:
        raise ArgumentError("this JSON is no probe's: it has no key 'firstlight_light'")
    version = whole.pop("firstlight_light")
    if version != VERSION:
        raise ArgumentError(f"the probe's JSON has version {version!r}; this firstlight reads version {VERSION}")
    found: Light = record(cls, {**whole, "findings": [], "graph": None}, "the probe")
    return found
