"""A ``Light``'s places as columns: for a table of one's own, or a pandas frame."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError
from .parts import Backward, Forward

if TYPE_CHECKING:
    from .records import Light

_PLACE = (
    "index",
    "module",
    "module_type",
    "op",
    "kind",
    "weight",
    "node",
    "position",
    "depth",
    "shape",
    "dtype",
    "calls",
)


def columns_of(light: Light) -> dict[str, list[Any]]:
    """One list for each number, one entry for each place; of gradients under ``grad_…``."""
    found: dict[str, list[Any]] = {name: [getattr(p, name) for p in light.places] for name in _PLACE}
    found["kind"] = [str(k) for k in found["kind"]]
    for f in fields(Forward):
        found[f.name] = [None if p.forward is None else getattr(p.forward, f.name) for p in light.places]
    for f in fields(Backward):
        found[f"grad_{f.name}"] = [None if p.backward is None else getattr(p.backward, f.name) for p in light.places]
    return found


def frame_of(light: Light) -> Any:
    """The columns as a pandas ``DataFrame``."""
    try:
        import pandas as pd  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise MissingExtraError.of("Light.to_frame() (a pandas DataFrame; .columns() needs none)", "pandas") from error
    return pd.DataFrame(columns_of(light))
