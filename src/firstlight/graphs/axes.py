"""``Axes``: how a user declares what the axes of an unknown weight are, and the patterns rules are written in.

``structure`` reads axes when no table knows a module; ``plans.rules`` matches initializers by the same patterns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, final

from torch import nn

from ..errors import ArgumentError
from ..initializers.layout import Layout


@final
@dataclass(frozen=True, slots=True)
class Axes:
    """Declares a weight: which axis counts its outputs and which its inputs; all others are its kernel.

    Given as a rule, the scheme then treats the parameter like any other weight.

    Args:
        out: the output axis.
        in_: the input axis.
        blocks: how many independent maps are stacked along axis 0 (fused q/k/v: 3).

    >>> Axes(out=1, in_=0).layout("c_attn.weight", (64, 192)).fan_in
    64
    """

    out: int
    in_: int
    blocks: int = 1

    def layout(self, name: str, shape: tuple[int, ...]) -> Layout:
        """The layout of the parameter ``name`` of this ``shape``; ArgumentError where they do not fit."""
        try:
            return Layout.mapping(shape, self.out, self.in_, self.blocks)
        except ArgumentError as error:
            raise ArgumentError(f"the rule for {name!r} does not fit: {error}") from None


def matches(pattern: str, name: str, module_types: tuple[str, ...], local_name: str) -> bool:
    """Whether a rule's pattern means this parameter.

    A pattern is a glob over the canonical name (``"blocks.*.gamma"``) or over ``ModuleType.parameter``
    (``"RMSNorm.weight"``), where a module is also met by the names of its base classes.
    """
    return fnmatchcase(name, pattern) or any(fnmatchcase(f"{t}.{local_name}", pattern) for t in module_types)


def type_names(module: nn.Module) -> tuple[str, ...]:
    """The names a rule may call a module by: its class, then its bases, nearest first; FSDP2's own are left out."""
    return _names(type(module))  # type: ignore[arg-type]


@lru_cache(256)
def _names(kind: Any) -> tuple[str, ...]:
    bases = (t for t in kind.__mro__ if issubclass(t, nn.Module) and t is not nn.Module)
    return tuple(t.__name__ for t in bases if not t.__module__.startswith("torch.distributed.fsdp"))


def matching_axes(axes: Mapping[str, Axes], name: str, module_types: tuple[str, ...], local_name: str) -> Axes | None:
    """The first declaration whose pattern means this parameter."""
    return next((a for p, a in axes.items() if matches(p, name, module_types, local_name)), None)
