"""Kernels of pictures for clips: a 2-d kernel becomes a 3-d one.

``mean``: the kernel is repeated along time and divided by its length t, so that a clip of one still picture gives what
the picture gave (Carreira & Zisserman 2017, I3D, section 2.4). ``center``: the kernel stands in the middle frame, the
others are zero.
"""

from __future__ import annotations

import torch

from ...errors import UnknownNameError
from ...fields import Key
from ...graphs.records import Role
from ..records import Reader, Step
from .base import Adaptation, Answer, Case

_MODES = ("mean", "center")


def adapt_inflation(case: Case) -> Answer:
    """The kernel with an axis of time after its channels."""
    mode = "mean" if case.option is True else case.option
    if mode not in _MODES:
        raise UnknownNameError.of("choice for adapt={'inflate': ...}", str(mode), _MODES)
    given, wanted = case.given, case.wanted
    if case.target.parameter.role is not Role.CONV or (len(given), len(wanted)) != (4, 5):
        return None
    if (*wanted[:2], *wanted[3:]) != given:
        return None
    length = wanted[2]

    def apply(values: torch.Tensor, key: Key, read: Reader) -> torch.Tensor:  # noqa: ARG001 - nothing is drawn
        if mode == "mean":
            return (values.double() / length)[:, :, None].expand(wanted).to(values.dtype)
        made = values.new_zeros(wanted)
        made[:, :, length // 2] = values
        return made

    return Step("inflate", f"over {length} frames, {mode}", wanted, apply, INFLATE.reference)


INFLATE = Adaptation("inflate", adapt_inflation, "Carreira & Zisserman 2017, arXiv 1705.07750")
