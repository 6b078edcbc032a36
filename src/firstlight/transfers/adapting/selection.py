"""Weight selection: a smaller network starts from evenly spaced units of a larger one of its kind.

Of n units m are kept, those at ⌊i n / m⌋, i = 0 … m−1. The indices depend on n and m alone, so that the outputs of one
layer and the inputs of the next are the same units; of blocks the first are kept (Xu et al. 2023, Initializing Models
with Larger Ones, arXiv 2311.18823).
"""

from __future__ import annotations

import torch

from ...fields import Key
from ..records import Reader, Step
from .axes import is_input, stacked, unit_axes
from .base import Adaptation, Answer, Case, sizes


def adapt_selection(case: Case) -> Answer:
    """The evenly spaced units along each axis that counts units."""
    axes = unit_axes(case)
    if axes is None or len(case.given) != len(case.wanted):
        return None
    smaller = [a for a in axes if a is not None and case.given[a] > case.wanted[a] and not is_input(case, a)]
    if not smaller:
        return None
    blocks = stacked(case)
    shape = tuple(case.wanted[a] if a in smaller else n for a, n in enumerate(case.given))

    def apply(values: torch.Tensor, key: Key, read: Reader) -> torch.Tensor:  # noqa: ARG001 - nothing is drawn
        made = values
        for axis in smaller:
            made = made.index_select(axis, chosen(values.shape[axis], shape[axis], blocks if axis == 0 else 1))
        return made

    words = f"selected {sizes(case.given)} → {sizes(shape)}, evenly spaced"
    return Step("select", words, shape, apply, SELECT.reference, exact=True)


def chosen(old: int, new: int, blocks: int = 1) -> torch.Tensor:
    """The units kept, block by block.

    >>> chosen(8, 3).tolist(), chosen(8, 4, blocks=2).tolist()
    ([0, 2, 5], [0, 2, 4, 6])
    """
    n, m = old // blocks, new // blocks
    one = torch.arange(m) * n // m
    return torch.cat([one + n * b for b in range(blocks)])


SELECT = Adaptation("select", adapt_selection, "Xu et al. 2023, arXiv 2311.18823", asked=True)
