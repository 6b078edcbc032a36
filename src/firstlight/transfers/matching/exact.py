"""Matching by exact name: the parameter's canonical name, or another name of the same tied tensor.

Wrappers that leave segments of their own in a name (``_orig_mod``, ``_fsdp_wrapped_module``) are taken off the
source's names first, as the graph takes them off the model's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...graphs.names import WRAPPERS
from ..records import Match, Piece, Shape, Target


def unwrapped(name: str) -> str:
    """A name without the segments that only wrappers have.

    >>> unwrapped("_orig_mod.layers.0._checkpoint_wrapped_module.weight")
    'layers.0.weight'
    """
    return ".".join(s for s in name.split(".") if s not in WRAPPERS)


def exact(targets: Sequence[Target], shapes: Mapping[str, Shape]) -> Iterator[Match]:
    """The matches by name, one for a target.

    Args:
        targets: what is wanted.
        shapes: the source's tensors.
    """
    plain = {unwrapped(name): name for name in shapes if unwrapped(name) not in shapes}
    for target in targets:
        found = _first(target.parameter.names, shapes)
        if found is not None:
            yield Match(target.name, (Piece(found, shapes[found]),), "exact", _under(target, found))
            continue
        found = _first(target.parameter.names, plain)
        if found is not None:
            name = plain[found]
            yield Match(target.name, (Piece(name, shapes[name]),), "prefix", f"a wrapper's segments off {name!r}")


def _first(names: Iterable[str], known: Mapping[str, object]) -> str | None:
    return next((n for n in names if n in known), None)


def _under(target: Target, found: str) -> str:
    return "same name" if found == target.name else f"the tied tensor's other name {found!r}"
