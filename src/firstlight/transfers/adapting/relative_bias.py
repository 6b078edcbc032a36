"""Relative-position bias tables of windowed attention, for another window.

A window of side w has offsets −(w−1) … w−1 in both directions: a table of (2w−1)² rows, one column a head. Each
head's table is a picture of side 2w−1 and is resampled bicubically (Liu et al. 2021, Swin). Rows beyond the square, as
BEiT's three for its class token, stay.
"""

from __future__ import annotations

import torch

from ...errors import UnknownNameError
from ...fields import Key
from ...graphs.records import Role
from ..matching.words import role as claimed
from ..records import Reader, Step
from .base import Adaptation, Answer, Case
from .grids import resized, square

_MODES = ("bicubic", "bilinear")


def adapt_relative_bias(case: Case) -> Answer:
    """The table for another window."""
    mode = "bicubic" if case.option is True else case.option
    if mode not in _MODES:
        raise UnknownNameError.of("choice for adapt={'relative_bias': ...}", str(mode), _MODES)
    parameter = case.target.parameter
    named = claimed(parameter.name.removesuffix(".weight").split("."), "lone") == "relative bias"
    if not (parameter.role is Role.RELATIVE_BIAS or (parameter.role is Role.UNKNOWN and named)):
        return None
    if len(case.given) != 2 or len(case.wanted) != 2 or case.differing != (0,):
        return None
    found = _sides(case.given[0], case.wanted[0])
    if found is None:
        return None
    extra, old, new = found

    def apply(values: torch.Tensor, key: Key, read: Reader) -> torch.Tensor:  # noqa: ARG001 - nothing is drawn
        cells = values[: old * old]
        made = resized(cells.T.reshape(-1, old, old), (new, new), str(mode)).reshape(values.shape[1], -1).T
        return torch.cat([made.to(values.dtype), values[old * old :]])

    words = f"offsets {old}×{old} → {new}×{new}, {mode}" + (f", {extra} further rows kept" if extra else "")
    return Step("relative_bias", words, case.wanted, apply, RELATIVE_BIAS.reference)


def _sides(old: int, new: int) -> tuple[int, int, int] | None:
    """Rows beyond the square, and both squares' odd sides."""
    for extra in (0, 3):
        a, b = square(old - extra), square(new - extra)
        if a is not None and b is not None and a % 2 and b % 2:
            return extra, a, b
    return None


RELATIVE_BIAS = Adaptation("relative_bias", adapt_relative_bias, "Liu et al. 2021, arXiv 2103.14030")
