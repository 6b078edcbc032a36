"""Net2WiderNet: a wider network that computes what the narrow one did.

New unit j is a copy of old unit g(j) = j mod n. Whatever reads the units gives each copy a share of the old weight:
W'[:, j] = s_j W[:, g(j)] with Σ_{g(j)=i} s_j = 1 (Chen et al. 2016, arXiv 1511.05641). Copies get unequal
shares (1 : 2 : 3 …), so that training can tell them apart without noise; ``"even"`` divides evenly.

The function is kept to rounding through elementwise activations, batch norm, convolution and pooling; through layer or
RMS norm where the new width is a multiple of the old; through attention where the heads keep their width and their
number grows by that multiple. A table tied to an output layer cannot be widened so, and stays fresh.
"""

from __future__ import annotations

import torch

from ...errors import UnknownNameError
from ...fields import Key
from ...graphs.records import Role
from ..records import Reader, Step
from .axes import is_input, stacked, unit_axes
from .base import Adaptation, Answer, Case, Fresh, sizes

_MODES = ("uneven", "even")


def adapt_widening(case: Case) -> Answer:
    """Copies along the outputs, shares along the inputs."""
    mode = "uneven" if case.option is True else case.option
    if mode not in _MODES:
        raise UnknownNameError.of("choice for adapt={'widen': ...}", str(mode), _MODES)
    axes = unit_axes(case)
    if axes is None or len(case.given) != len(case.wanted):
        return None
    out, in_ = (a if a is not None and case.given[a] < case.wanted[a] and not is_input(case, a) else None for a in axes)
    if out is None and in_ is None:
        return None
    parameter = case.target.parameter
    if parameter.role is Role.EMBEDDING and set(parameter.tied_roles) - {Role.EMBEDDING}:
        return Fresh("a table tied to an output layer cannot be widened and compute the same")
    blocks = stacked(case)
    if parameter.layout.blocks > 1 and parameter.role is Role.CONV and blocks > 1:
        return Fresh("a grouped convolution cannot be widened: its groups would mix")
    shape = tuple(case.wanted[a] if a in (out, in_) else n for a, n in enumerate(case.given))

    def apply(values: torch.Tensor, key: Key, read: Reader) -> torch.Tensor:  # noqa: ARG001 - nothing is drawn
        made = values
        if out is not None:
            made = made.index_select(out, copied(values.shape[out], shape[out], blocks if out == 0 else 1))
        if in_ is not None:
            source = copied(values.shape[in_], shape[in_])
            share = shares(source, even=mode == "even").reshape([-1 if a == in_ else 1 for a in range(values.dim())])
            made = (made.index_select(in_, source).double() * share).to(values.dtype)
        return made

    words = f"widened {sizes(case.given)} → {sizes(shape)}, copies sharing {mode}ly"
    return Step("widen", words, shape, apply, WIDEN.reference)


def copied(old: int, new: int, blocks: int = 1) -> torch.Tensor:
    """The old unit that each new one copies, block by block.

    >>> copied(3, 5).tolist(), copied(4, 8, blocks=2).tolist()
    ([0, 1, 2, 0, 1], [0, 1, 0, 1, 2, 3, 2, 3])
    """
    n, m = old // blocks, new // blocks
    one = torch.arange(m) % n
    return torch.cat([one + n * b for b in range(blocks)])


def shares(source: torch.Tensor, *, even: bool = False) -> torch.Tensor:
    """Each copy's share of its unit's outgoing weight; those of one unit add up to one.

    >>> shares(torch.tensor([0, 1, 0])).tolist()
    [0.3333333333333333, 1.0, 0.6666666666666666]
    """
    rank = torch.zeros(len(source), dtype=torch.float64)
    seen: dict[int, int] = {}
    for j, unit in enumerate(source.tolist()):
        seen[unit] = seen.get(unit, 0) + 1
        rank[j] = 1.0 if even else seen[unit]
    total = torch.zeros(int(source.max()) + 1, dtype=torch.float64).index_add(0, source, rank)
    return rank / total[source]


WIDEN = Adaptation("widen", adapt_widening, "Chen et al. 2016, arXiv 1511.05641", asked=True)
